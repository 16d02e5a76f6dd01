//! From the spelling of tokens in a vocabulary to their bytes.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::Tokenizer as Library;

use super::bytes::{byte_fallback, bytes_of};
use super::pieces::{Entry, Pieces};

/// The spelling of tokens in a vocabulary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Bytes in GPT-2's alphabet.
    ByteLevel,
    /// Text with `▁` for a space and `<0x0A>` for a byte. With `dummy_space`, a text's first token begins
    /// with a space that is not in the text.
    Metaspace { dummy_space: bool },
    /// Words, and parts of words with `##` in front. A text's first word has no space before it.
    WordPiece,
}

/// The vocabulary of a library tokenizer as bytes.
pub(super) fn pieces(
    library: &Library,
    spelling: Spelling,
    special: &HashSet<&str>,
) -> Result<Pieces, String> {
    let added = library.get_added_tokens_decoder();
    let entries = library.get_vocab(true).into_iter().map(|(token, id)| {
        let added = added.get(&id);
        let special = added.is_some_and(|token| token.special) || special.contains(token.as_str());
        let bytes = match spelling {
            _ if special => token.into_bytes(),
            Spelling::ByteLevel if added.is_some() => token.into_bytes(),
            Spelling::ByteLevel => bytes_of(&token),
            Spelling::Metaspace { .. } => match byte_fallback(&token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
            Spelling::WordPiece => match token.strip_prefix("##") {
                Some(part) => part.as_bytes().to_vec(),
                None => format!(" {token}").into_bytes(),
            },
        };
        Entry { id, bytes, special }
    });
    let dummy_space = matches!(
        spelling,
        Spelling::Metaspace { dummy_space: true } | Spelling::WordPiece
    );
    Pieces::new(entries.collect(), dummy_space)
}

/// The spelling that the decoder implies. A decoder with any other step is refused.
pub(super) fn spelling(json: &Value) -> Result<Spelling, String> {
    let decoder = &json["decoder"];
    let kind = |value: &Value| value["type"].as_str().unwrap_or("none").to_owned();
    let steps: Vec<&Value> = match kind(decoder).as_str() {
        "Sequence" => decoder["decoders"]
            .as_array()
            .into_iter()
            .flatten()
            .collect(),
        _ => vec![decoder],
    };
    let mut found = None;
    let mut dummy_space = false;
    for step in steps {
        match kind(step).as_str() {
            "ByteLevel" => found = Some(Spelling::ByteLevel),
            "Metaspace" => {
                found = Some(Spelling::Metaspace { dummy_space });
                // `add_prefix_space` is the older form of `prepend_scheme`.
                let never = step["prepend_scheme"].as_str() == Some("never");
                dummy_space |= !never && step["add_prefix_space"].as_bool() != Some(false);
            }
            "Replace" if step["pattern"]["String"] == "▁" && step["content"] == " " => {
                found = Some(Spelling::Metaspace { dummy_space });
            }
            "Strip" if step["content"] == " " && step["stop"] == 0 => {
                dummy_space |= step["start"] != 0;
            }
            "WordPiece" if step["prefix"] == "##" => found = Some(Spelling::WordPiece),
            "ByteFallback" | "Fuse" => {}
            other => {
                return Err(format!(
                    "the decoder `{other}` is not supported; those of byte-level, SentencePiece-like and \
                     WordPiece tokenizers are"
                ));
            }
        }
    }
    match found {
        Some(Spelling::Metaspace { .. }) => Ok(Spelling::Metaspace { dummy_space }),
        Some(other) => Ok(other),
        None => Err("it has no decoder, so its tokens cannot be turned into text".to_owned()),
    }
}
