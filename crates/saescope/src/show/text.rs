//! Texts of strangers as a terminal may show them: nothing in them moves the cursor, changes a setting or
//! reorders what is read.
//!
//! A text that a model wrote, a token, a name in a file may hold any character. Control characters (an
//! escape begins a command to the terminal) and those that override the direction of text are spelled
//! out, as `\u{1b}`; everything else stays as it is.

/// A text in one line: line breaks and tabs are spelled out too.
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut shown, c));
    shown
}

/// A text that keeps its line breaks and tabs.
pub fn multi_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c => push(&mut shown, c),
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        c if c.is_control() || overrides_direction(c) => shown.extend(c.escape_unicode()),
        c => shown.push(c),
    }
}

/// True for embeddings, overrides and isolates of the bidirectional algorithm, and their ends (Unicode
/// Standard Annex 9): with them a text reads in another order than it has.
fn overrides_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_and_overrides_of_direction_are_spelled_out() {
        let hostile = "a\u{1b}[2J\u{9b}1m\u{7f}\r\0\u{202e}b\u{2066}";
        let shown = "a\\u{1b}[2J\\u{9b}1m\\u{7f}\\r\\u{0}\\u{202e}b\\u{2066}";
        assert_eq!(one_line(hostile), shown);
        assert_eq!(multi_line(hostile), shown);
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        let text = "안녕 שלום é 👩‍🚀 \\n";
        assert_eq!(one_line(text), text);
        assert_eq!(multi_line(text), text);
        assert_eq!(one_line("a\n\tb"), "a\\n\\tb");
        assert_eq!(multi_line("a\n\tb"), "a\n\tb");
    }
}
