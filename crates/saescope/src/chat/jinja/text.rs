//! Texts and numbers as Python writes them.

use std::fmt::Write;

/// True for what Python's `str.isspace` takes as white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// True for what Python prints as it is.
pub(super) fn is_printable(c: char) -> bool {
    // A letter before it, since Rust escapes marks at the beginning of a text. Rust escapes the same
    // categories of characters as Python, and backslashes and quotes.
    let text = String::from_iter(['a', c]);
    matches!(c, '"' | '\'' | '\\') || text.escape_debug().count() == 2
}

/// A text as `repr` writes it.
pub(super) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if is_printable(c) => out.push(c),
            c => escape(&mut out, c),
        }
    }
    out.push(quote);
    out
}

/// Writes a character by its number.
pub(super) fn escape(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a text cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// A number as `repr` writes it: the shortest digits that are read back as the same.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

/// The mantissa and exponent of `%e`.
pub(super) fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// A number as `%g` writes it; `keeps_zeros` is its `#`.
pub(super) fn general(number: f64, precision: usize, keeps_zeros: bool) -> String {
    if number.is_nan() || number.is_infinite() {
        return float(number);
    }
    let precision = precision.max(1);
    let exponent = scientific(number, precision - 1);
    let exponent: i32 = exponent
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    let fixed = (-4..precision as i32).contains(&exponent);
    let text = if fixed {
        let places = (precision as i32 - 1 - exponent).max(0) as usize;
        format!("{number:.places$}")
    } else {
        scientific(number, precision - 1)
    };
    if keeps_zeros {
        return text;
    }
    let (digits, exponent) = match text.split_once('e') {
        Some((digits, exponent)) => (digits, format!("e{exponent}")),
        None => (text.as_str(), String::new()),
    };
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    };
    format!("{digits}{exponent}")
}

/// The lines of a text, as `str.splitlines` cuts them.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    while let Some(at) = rest.find(ends) {
        let end = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The first letter large, the others small.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    titled(first) + &chars.as_str().to_lowercase()
}

/// A letter as the first of a word.
pub(super) fn titled(c: char) -> String {
    let mut large = c.to_uppercase();
    let first = large.next().map(String::from).unwrap_or_default();
    first + &large.collect::<String>().to_lowercase()
}

/// Every word with a large first letter, as `str.title`.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out += &titled(c);
        }
        inside = c.is_alphabetic();
    }
    out
}

/// The byte that the character `index` begins at, or the end of the text.
pub(super) fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(at, _)| at)
}
