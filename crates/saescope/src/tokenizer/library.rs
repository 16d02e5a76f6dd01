//! Tokenizers that the crate `tokenizers` runs: `tokenizer.json`, and GPT-2's vocabulary and merges.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer as Library};

use super::bytes::{byte_fallback, bytes_of};
use super::config::{CompanionFiles, Token};
use super::pieces::{Entry, Pieces};
use super::{Engine, Special, Tokenizer};
use crate::error::{Error, Result};

/// The token that begins and ends every document of GPT-2 and GPT-NeoX.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The spelling of tokens in a vocabulary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Bytes in GPT-2's alphabet.
    ByteLevel,
    /// Text with `▁` for a space and `<0x0A>` for a byte. With `dummy_space`, a text's first token begins
    /// with a space that is not in the text.
    Metaspace { dummy_space: bool },
}

pub(super) fn from_tokenizer_json(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    crate::stand_in::check_text(path, &bytes)?;
    let broken = |reason: String| Error::format(path, reason);
    let json: Value =
        serde_json::from_slice(&bytes).map_err(|error| broken(format!("not JSON: {error}")))?;
    let spelling = spelling(&json).map_err(broken)?;
    let around = around(&json["post_processor"]).map_err(broken)?;
    let mut library = Library::from_bytes(&bytes).map_err(|error| broken(error.to_string()))?;
    // Some files keep the truncation and padding of training; a prompt is never cut or padded silently.
    library
        .with_truncation(None)
        .map_err(|error| broken(error.to_string()))?;
    library.with_padding(None);
    library.with_post_processor(None::<PostProcessorWrapper>);
    let model = json["model"]["type"].as_str().unwrap_or("BPE");
    let name = match spelling {
        Spelling::ByteLevel => format!("byte-level {model}"),
        Spelling::Metaspace { .. } => format!("SentencePiece-like {model}"),
    };
    finish(
        library,
        spelling,
        around,
        path,
        &format!("{name} from tokenizer.json"),
    )
}

pub(super) fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Tokenizer> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Error::io(path, error));
    let tokens: HashMap<String, u32> = serde_json::from_slice(&read(vocab)?)
        .map_err(|error| Error::format(vocab, format!("not a map from tokens to ids: {error}")))?;
    let text =
        String::from_utf8(read(merges)?).map_err(|_| Error::format(merges, "not UTF-8 text"))?;
    let pairs = text
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| {
            merge(line).ok_or_else(|| Error::format(merges, format!("not a merge: `{line}`")))
        })
        .collect::<Result<Vec<_>>>()?;

    let folder = vocab.parent().unwrap_or(Path::new("."));
    let beside = CompanionFiles::read(folder)?;
    // These two files do not name their pre-tokenizer. GPT-2's is right for GPT-2 alone.
    if let Some(class) = beside.class.as_deref()
        && !class.starts_with("GPT2Tokenizer")
    {
        return Err(Error::Unsupported {
            path: folder.join("tokenizer_config.json"),
            reason: format!(
                "a `{class}` cannot be read from vocab.json and merges.txt, only GPT2Tokenizer \
                 can; save the tokenizer as tokenizer.json"
            ),
        });
    }
    let ends = tokens.contains_key(END_OF_TEXT);
    let broken = |error: tokenizers::Error| Error::format(merges, error.to_string());
    let mut library = byte_level_bpe(tokens, pairs, false).map_err(broken)?;
    library.with_pre_tokenizer(Some(ByteLevel::new(beside.add_prefix_space, true, true)));
    if ends {
        library.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
    }
    let kind = "byte-level BPE from vocab.json and merges.txt";
    finish(
        library,
        Spelling::ByteLevel,
        Affixes::default(),
        vocab,
        kind,
    )
}

/// The two sides of a line of merges.
pub(super) fn merge(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    if left.is_empty() || right.is_empty() || right.contains(' ') {
        return None;
    }
    Some((left.to_owned(), right.to_owned()))
}

/// A BPE over bytes that still lacks its pre-tokenizer.
pub(super) fn byte_level_bpe(
    tokens: HashMap<String, u32>,
    merges: Vec<(String, String)>,
    ignore_merges: bool,
) -> Result<Library, tokenizers::Error> {
    let bpe = BPE::builder()
        .vocab_and_merges(tokens.into_iter().collect::<Vocab>(), merges)
        .ignore_merges(ignore_merges)
        .build()?;
    let mut library = Library::new(bpe);
    library.with_decoder(Some(ByteLevel::default()));
    Ok(library)
}

type Vocab = tokenizers::models::bpe::Vocab;

/// The vocabulary of a library tokenizer as bytes.
pub(super) fn pieces(library: &Library, spelling: Spelling) -> Result<Pieces, String> {
    let added = library.get_added_tokens_decoder();
    let entries = library.get_vocab(true).into_iter().map(|(token, id)| {
        let added = added.get(&id);
        let special = added.is_some_and(|token| token.special);
        let bytes = match spelling {
            _ if special => token.into_bytes(),
            Spelling::ByteLevel if added.is_some() => token.into_bytes(),
            Spelling::ByteLevel => bytes_of(&token),
            Spelling::Metaspace { .. } => match byte_fallback(&token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
        };
        Entry { id, bytes, special }
    });
    let dummy_space = spelling == Spelling::Metaspace { dummy_space: true };
    Pieces::new(entries.collect(), dummy_space)
}

/// The spelling that the decoder implies. A decoder with any other step is refused.
fn spelling(json: &Value) -> Result<Spelling, String> {
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
            "ByteFallback" | "Fuse" => {}
            other => {
                return Err(format!(
                    "the decoder `{other}` is not supported; byte-level and SentencePiece-like \
                     tokenizers are"
                ));
            }
        }
    }
    match found {
        Some(Spelling::Metaspace { .. }) => Ok(Spelling::Metaspace { dummy_space }),
        Some(Spelling::ByteLevel) => Ok(Spelling::ByteLevel),
        None => Err("it has no decoder, so its tokens cannot be turned into text".to_owned()),
    }
}

/// Tokens that a post-processor puts around a text.
#[derive(Default)]
struct Affixes {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// Reads them from the file, since the library panics over a template that names an undefined token.
fn around(processor: &Value) -> Result<Affixes, String> {
    let mut around = Affixes::default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match processor["type"].as_str() {
        None | Some("ByteLevel") => {}
        Some("Sequence") => {
            for step in list(&processor["processors"]) {
                let inner = self::around(&step)?;
                around.before.splice(0..0, inner.before);
                around.after.extend(inner.after);
            }
        }
        Some("TemplateProcessing") => {
            let mut text_seen = false;
            for piece in list(&processor["single"]) {
                text_seen |= piece.get("Sequence").is_some();
                let Some(token) = piece["SpecialToken"]["id"].as_str() else {
                    continue;
                };
                let ids = &processor["special_tokens"][token]["ids"];
                let ids: Vec<u32> = serde_json::from_value(ids.clone())
                    .map_err(|_| format!("its template names `{token}`, which has no id"))?;
                let side = if text_seen {
                    &mut around.after
                } else {
                    &mut around.before
                };
                side.extend(ids);
            }
        }
        Some(other) => return Err(format!("the post-processor `{other}` is not supported")),
    }
    Ok(around)
}

fn finish(
    library: Library,
    spelling: Spelling,
    around: Affixes,
    path: &Path,
    kind: &str,
) -> Result<Tokenizer> {
    let beside = CompanionFiles::read(path.parent().unwrap_or(Path::new(".")))?;
    let special = special(&library, &beside, around);
    let pieces = pieces(&library, spelling).map_err(|error| Error::format(path, error))?;
    Ok(Tokenizer {
        engine: Engine::Library(Box::new(library)),
        pieces,
        special,
        chat_template: beside.chat_template,
        kind: kind.to_owned(),
    })
}

fn special(library: &Library, beside: &CompanionFiles, around: Affixes) -> Special {
    let id = |token: &Token| match token {
        Token::Id(id) => Some(*id),
        Token::Text(text) => library.token_to_id(text),
    };
    let end_of_text = library.token_to_id(END_OF_TEXT);
    let bos = match &beside.bos {
        Some(named) => named.as_ref().and_then(id),
        None => end_of_text,
    };
    let mut eos: Vec<u32> = Vec::new();
    for end in beside.eos.iter().filter_map(id) {
        if !eos.contains(&end) {
            eos.push(end);
        }
    }
    if beside.eos.is_empty() {
        eos.extend(end_of_text);
    }

    let Affixes {
        mut before,
        mut after,
    } = around;
    if before.is_empty() && after.is_empty() {
        before.extend(bos.filter(|_| beside.add_bos == Some(true)));
        after.extend(eos.first().filter(|_| beside.add_eos == Some(true)));
    }
    Special {
        bos: bos.or(before.first().copied()),
        eos,
        before,
        after,
    }
}
