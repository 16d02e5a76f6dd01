//! llama2.c's `tokenizer.bin`: the longest length, then for each token its score, its length and its
//! bytes. Numbers are little-endian and 4 bytes wide. The model alone holds the number of tokens.

use std::collections::HashMap;
use std::path::Path;

use super::bytes::byte_fallback;
use super::pieces::{Entry, MAX_VOCAB, Pieces};
use super::spm::{Parts, Spm};
use super::{Engine, Special, Tokenizer};
use crate::error::{Error, Result};

// The file does not store these ids; llama2.c fixes them.
const BOS: u32 = 1;
const EOS: u32 = 2;
const FIRST_BYTE: u32 = 3;
const BYTES: usize = 256;

pub(super) fn read(path: &Path, d_vocab: usize) -> Result<Tokenizer> {
    let file = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let tokens = parse(&file, d_vocab).map_err(|reason| Error::format(path, reason))?;
    tokenizer(&tokens).map_err(|reason| Error::format(path, reason))
}

fn parse(file: &[u8], d_vocab: usize) -> Result<Vec<(f32, &[u8])>, String> {
    let first_text = FIRST_BYTE as usize + BYTES;
    if !(first_text..=MAX_VOCAB).contains(&d_vocab) {
        return Err(format!(
            "a vocabulary of {d_vocab} tokens; llama2.c's begins with {first_text} special ones"
        ));
    }
    let mut rest = file;
    let mut take = |len: usize, what: &str| {
        let (taken, left) = rest.split_at_checked(len).ok_or_else(|| {
            format!("the file ends within {what} of the {d_vocab} tokens expected")
        })?;
        rest = left;
        Ok::<&[u8], String>(taken)
    };
    let word = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap_or_default();
    take(4, "the header")?;
    let mut tokens = Vec::new();
    for id in 0..d_vocab {
        let score = f32::from_le_bytes(word(take(4, &format!("token {id}"))?));
        let len = i32::from_le_bytes(word(take(4, &format!("token {id}"))?));
        let len = usize::try_from(len).map_err(|_| format!("token {id} has the length {len}"))?;
        tokens.push((score, take(len, &format!("token {id}"))?));
    }
    if rest.is_empty() {
        Ok(tokens)
    } else {
        Err(format!(
            "{} bytes follow the {d_vocab} tokens of the model; the tokenizer belongs to another model",
            rest.len()
        ))
    }
}

fn tokenizer(tokens: &[(f32, &[u8])]) -> Result<Tokenizer, String> {
    let mut merged = HashMap::with_capacity(tokens.len());
    let mut bytes = Box::new([None; BYTES]);
    let mut entries = Vec::with_capacity(tokens.len());
    for (id, &(score, token)) in (0u32..).zip(tokens) {
        let byte = std::str::from_utf8(token).ok().and_then(byte_fallback);
        match byte {
            Some(byte) if (FIRST_BYTE..FIRST_BYTE + 256).contains(&id) => {
                bytes[usize::from(byte)] = Some(id);
            }
            _ if id > EOS => {
                merged.entry(token.into()).or_insert((id, score));
            }
            _ => {}
        }
        entries.push(Entry {
            id,
            bytes: byte.map_or_else(|| token.to_vec(), |byte| vec![byte]),
            special: id <= EOS,
        });
    }
    Ok(Tokenizer {
        engine: Engine::Spm(Box::new(Spm::new(Parts {
            merged,
            whole: Vec::new(),
            bytes,
            unknown: Some(0),
            dummy_space: true,
            metaspace: false,
        }))),
        pieces: Pieces::new(entries, true)?,
        special: Special {
            bos: Some(BOS),
            eos: vec![EOS],
            before: vec![BOS],
            after: Vec::new(),
            names: None,
        },
        chat_template: None,
        tool_template: None,
        kind: "SentencePiece BPE from llama2.c's tokenizer.bin".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Bos, StreamDecoder};

    /// A vocabulary in llama2.c's format: the special tokens, the bytes, then `words`.
    fn file(words: &[&str]) -> Vec<u8> {
        let mut tokens: Vec<String> = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned).into();
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        tokens.extend(words.iter().map(|&word| word.to_owned()));
        let mut file = 7i32.to_le_bytes().to_vec();
        for (at, token) in tokens.iter().enumerate() {
            file.extend((-(at as f32)).to_le_bytes());
            file.extend((token.len() as i32).to_le_bytes());
            file.extend(token.as_bytes());
        }
        file
    }

    fn read_bytes(file: &[u8], d_vocab: usize) -> Result<Tokenizer, String> {
        tokenizer(&parse(file, d_vocab)?)
    }

    #[test]
    fn text_begins_with_a_space_that_decoding_removes() {
        let words = [" ", "a", "b", " a", "ab"];
        let tokenizer = read_bytes(&file(&words), 264).unwrap();
        let ids = tokenizer.encode("ab a\n", Bos::Auto).unwrap();
        assert_eq!(ids, [1, 262, 261, 262, 13]);
        assert_eq!(tokenizer.decode(&ids), "ab a\n");
        assert_eq!(tokenizer.encode("", Bos::Auto).unwrap(), [1]);
        let mut rest = StreamDecoder::after(&tokenizer, &ids);
        assert_eq!(rest.push(262), " a");
    }

    #[test]
    fn files_that_do_not_fit_the_model_are_refused() {
        let good = file(&["a", "b"]);
        assert!(read_bytes(&good, 261).is_ok());
        for d_vocab in [0, 258, 260, 262, usize::MAX] {
            assert!(read_bytes(&good, d_vocab).is_err(), "{d_vocab}");
        }
        for len in 0..good.len() {
            assert!(read_bytes(&good[..len], 261).is_err());
        }
        let mut hostile = good;
        hostile[8..12].copy_from_slice(&(-1i32).to_le_bytes());
        assert!(read_bytes(&hostile, 261).is_err());
        hostile[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(read_bytes(&hostile, 261).is_err());
    }
}
