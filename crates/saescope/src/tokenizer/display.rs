//! Tokens as readable text: a character that spans several tokens is never cut.

use std::ops::Range;

use super::Tokenizer;
use super::pieces::strip_space;

/// A stretch of text and the tokens that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text. Bytes that are not UTF-8 even together become U+FFFD.
    pub text: String,
    /// Positions of the tokens; more than one where a character spans several.
    pub tokens: Range<usize>,
}

/// Length of the part of `bytes` that can be shown: up to a character that may still be completed.
fn complete(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        match std::str::from_utf8(&bytes[start..]) {
            Ok(_) => return bytes.len(),
            Err(error) => match error.error_len() {
                None => return start + error.valid_up_to(),
                Some(invalid) => start += error.valid_up_to() + invalid,
            },
        }
    }
}

/// Tokens as readable text, in order and without gaps; tokens that only together make a character are
/// shown joined. `piece_of` gives the bytes of a token, `is_special` tells if it is a control token.
pub fn readable_pieces<'a>(
    ids: &[u32],
    piece_of: impl Fn(u32) -> &'a [u8],
    is_special: impl Fn(u32) -> bool,
) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(ids.len());
    let mut pending: Vec<u8> = Vec::new();
    let mut first = 0;
    for (position, &id) in ids.iter().enumerate() {
        // A control token completes no character: pending bytes stay incomplete.
        if is_special(id) && !pending.is_empty() {
            pieces.push(piece(&pending, first..position));
            pending.clear();
            first = position;
        }
        pending.extend_from_slice(piece_of(id));
        if complete(&pending) == pending.len() {
            pieces.push(piece(&pending, first..position + 1));
            pending.clear();
            first = position + 1;
        }
    }
    if first < ids.len() {
        pieces.push(piece(&pending, first..ids.len()));
    }
    pieces
}

impl Tokenizer {
    /// The tokens as [`readable_pieces`].
    pub fn readable_pieces(&self, ids: &[u32]) -> Vec<Piece> {
        readable_pieces(ids, |id| self.piece(id), |id| self.is_special(id))
    }

    /// The text of every token; each of several tokens that only together make a character has that
    /// character.
    pub fn token_texts(&self, ids: &[u32]) -> Vec<String> {
        let pieces = self.readable_pieces(ids).into_iter();
        pieces
            .flat_map(|piece| std::iter::repeat_n(piece.text, piece.tokens.len()))
            .collect()
    }

    /// The text of a token by itself, a control token written out. Bytes that are no character alone
    /// become U+FFFD.
    pub fn token_text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.piece(id)).into_owned()
    }
}

fn piece(bytes: &[u8], tokens: Range<usize>) -> Piece {
    Piece {
        text: String::from_utf8_lossy(bytes).into_owned(),
        tokens,
    }
}

/// Decodes tokens one by one. Bytes of an incomplete character are held back.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
    text_before: bool,
}

impl<'a> StreamDecoder<'a> {
    /// Decodes a text from its beginning.
    pub fn new(tokenizer: &'a Tokenizer) -> StreamDecoder<'a> {
        StreamDecoder {
            tokenizer,
            pending: Vec::new(),
            text_before: false,
        }
    }

    /// Decodes what follows `prompt`: a first space belongs to the text if there is text before.
    pub fn after(tokenizer: &'a Tokenizer, prompt: &[u32]) -> StreamDecoder<'a> {
        StreamDecoder {
            text_before: prompt.iter().any(|&id| !tokenizer.is_special(id)),
            ..StreamDecoder::new(tokenizer)
        }
    }

    /// Takes the next token and returns the text that is complete now; control tokens add none.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokenizer.is_special(id) {
            return String::new();
        }
        let strip = self.tokenizer.pieces.dummy_space && !self.text_before;
        self.text_before = true;
        self.pending
            .extend_from_slice(strip_space(self.tokenizer.piece(id), strip));
        let rest = self.pending.split_off(complete(&self.pending));
        let shown = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// The bytes held back, which nothing completes, as U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Bos;

    #[test]
    fn tokens_of_one_character_all_have_its_text() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/tokenizers/gpt2"
        );
        let tokenizer = Tokenizer::from_folder(folder.as_ref()).unwrap();
        let ids = tokenizer.encode("a 안!", Bos::Never).unwrap();
        let texts = tokenizer.token_texts(&ids);
        let (last, character) = texts[1..].split_last().unwrap();
        assert_eq!((texts[0].as_str(), last.as_str()), ("a", "!"));
        assert!(character.len() > 1, "{texts:?}");
        assert!(character.iter().all(|text| text == " 안"), "{texts:?}");
        assert_eq!(tokenizer.token_text(ids[0]), "a");
        let incomplete = tokenizer.token_text(ids[1]);
        assert!(incomplete.contains('\u{fffd}'), "{incomplete}");
    }

    #[test]
    fn only_an_unfinished_character_is_held_back() {
        let korean = "안".as_bytes();
        assert_eq!(complete(b"abc"), 3);
        assert_eq!(complete(&[b"a", &korean[..2]].concat()), 1);
        assert_eq!(complete(&[b"\xff", korean].concat()), 4);
        assert_eq!(complete(&[b"\xff", &korean[..1]].concat()), 1);
        assert_eq!(complete(&[&korean[..2], b"a"].concat()), 3);
    }
}
