//! Tokens as text: what is shown, and what full text search sees.

use std::ops::Range;

use saescope::harvest::Vocabulary;
use saescope::tokenizer::Piece;

/// The tokens of a model as text.
#[derive(Clone, Copy)]
pub struct Tokens<'a>(pub(crate) &'a Vocabulary);

impl Tokens<'_> {
    /// The bytes of a token; none for an id without a token.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.0.piece(id)
    }

    /// True if a token is a control token and no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.is_special(id)
    }

    /// The text of a token by itself.
    pub fn text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.piece(id)).into_owned()
    }

    /// Tokens as readable text; those that only together make a character are joined.
    pub fn readable(&self, ids: &[u32]) -> Vec<Piece> {
        saescope::tokenizer::readable_pieces(ids, |id| self.piece(id), |id| self.is_special(id))
    }

    /// Tokens as one text, with a line break for each control token: what stands before it and what follows
    /// are two texts.
    pub fn join(&self, ids: &[u32]) -> String {
        let piece = |id: u32| {
            if self.is_special(id) {
                b"\n"
            } else {
                self.piece(id)
            }
        };
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| piece(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The places of `words` in tokens: the tokens of each, upper and lower case alike.
    pub fn find(&self, ids: &[u32], words: &str) -> Vec<Range<usize>> {
        let mut text = String::new();
        let mut ends = Vec::new(); // end of the text of each token
        for piece in self.readable(ids) {
            let special = piece.tokens.len() == 1 && self.is_special(ids[piece.tokens.start]);
            let before = text.len();
            if special {
                text.push('\n');
            } else {
                text.extend(piece.text.chars().flat_map(char::to_lowercase));
            }
            // Tokens of one character share its place.
            let end = text.len();
            ends.extend(piece.tokens.map(|_| (before, end)));
        }
        let words: String = words.chars().flat_map(char::to_lowercase).collect();
        let found = text
            .match_indices(&words)
            .filter(|(at, found)| is_word(&text, *at..at + found.len()));
        found
            .filter_map(|(at, found)| {
                let end = at + found.len();
                let inside = |&(from, to): &(usize, usize)| from < end && to > at;
                let first = ends.iter().position(inside)?;
                let last = ends.iter().rposition(inside)?;
                Some(first..last + 1)
            })
            .collect()
    }
}

/// True if a place is not in the middle of a word.
fn is_word(text: &str, place: Range<usize>) -> bool {
    let joins = |a: Option<char>, b: Option<char>| match (a, b) {
        (Some(a), Some(b)) => {
            a.is_alphanumeric() && b.is_alphanumeric() && !is_cjk(a) && !is_cjk(b)
        }
        _ => false,
    };
    let word = &text[place.clone()];
    let before = joins(text[..place.start].chars().next_back(), word.chars().next());
    let after = joins(word.chars().next_back(), text[place.end..].chars().next());
    !before && !after
}

/// True for Hangul, Han, Hiragana and Katakana: a word of these may be a single character.
pub(crate) fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11ff | 0x2e80..=0x2fdf | 0x3005..=0x3007 | 0x3040..=0x30ff | 0x3130..=0x318f
        | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff
        | 0xf900..=0xfaff | 0x1_f200..=0x1_f2ff | 0x2_0000..=0x3_ffff)
}

/// A text for the full text index: each character of [`is_cjk`] is a word of its own.
pub(crate) fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + text.len() / 4);
    for c in text.chars() {
        if is_cjk(c) {
            spaced.push(' ');
            spaced.push(c);
            spaced.push(' ');
        } else {
            spaced.push(c);
        }
    }
    spaced
}

/// The phrases of a query: its words, and its parts in quotation marks as they stand.
pub(crate) fn phrases(words: &str) -> Vec<String> {
    let mut phrases = Vec::new();
    for (number, part) in words.split('"').enumerate() {
        if number % 2 == 1 {
            phrases.push(part.trim().to_owned());
        } else {
            phrases.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    phrases.retain(|phrase| phrase.chars().any(char::is_alphanumeric));
    phrases
}

/// A query of the full text index for texts with all phrases of `words`.
pub(crate) fn query(words: &str) -> Option<String> {
    let phrases = phrases(words);
    let quoted: Vec<String> = phrases
        .iter()
        .map(|phrase| format!("\"{}\"", spaced(phrase)))
        .collect();
    (!quoted.is_empty()).then(|| quoted.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cjk_characters_are_words_and_queries_are_phrases() {
        assert_eq!(
            spaced("a기쁨 b").split_whitespace().collect::<Vec<_>>(),
            ["a", "기", "쁨", "b"]
        );
        assert_eq!(
            query("glad \"very sad\"").unwrap(),
            "\"glad\" AND \"very sad\""
        );
        assert_eq!(query("분노").unwrap(), "\" 분  노 \"");
        assert_eq!(query(" ... "), None);
        assert_eq!(query("x\" OR y").unwrap(), "\"x\" AND \"OR y\"");
    }

    #[test]
    fn words_are_found_over_tokens_and_not_within_words() {
        let pieces = ["un", "happ", "y", " Happy", ",", " 기", "쁨", "은"];
        let mut vocabulary = Vocabulary::default(); // no control token
        pieces
            .iter()
            .for_each(|piece| vocabulary.push(piece.as_bytes(), false));
        let tokens = Tokens(&vocabulary);
        let all: Vec<u32> = (0..8).collect();
        for (words, place) in [("happy", 3..4), ("unhappy", 0..3), ("기쁨", 5..7)] {
            assert_eq!(tokens.find(&all, words), vec![place], "{words}");
        }
        assert_eq!(tokens.join(&all), "unhappy Happy, 기쁨은");
    }
}
