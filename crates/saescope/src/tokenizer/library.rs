//! Tokenizers that the crate `tokenizers` runs: `tokenizer.json`, and GPT-2's vocabulary and merges.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer as Library};

use super::added::add_tokens;
use super::config::{CompanionFiles, Token};
use super::habits::set_spaces;
use super::spelling::{Spelling, pieces, spelling};
use super::{Engine, Special, Tokenizer};
use crate::error::{Error, Result};

/// The token that begins and ends every document of GPT-2 and GPT-NeoX.
const END_OF_TEXT: &str = "<|endoftext|>";

pub(super) fn from_tokenizer_json(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let broken = |reason: String| Error::format(path, reason);
    let mut json: Value =
        serde_json::from_slice(&bytes).map_err(|error| broken(format!("not JSON: {error}")))?;
    if !json.is_object() {
        return Err(broken("expected a JSON object".to_owned()));
    }
    let beside = CompanionFiles::read(folder_of(path))?;
    let bytes = match set_spaces(&mut json, &beside) {
        true => json.to_string().into_bytes(),
        false => bytes,
    };
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
        Spelling::WordPiece => model.to_owned(),
    };
    add_tokens(&mut library, &beside)?;
    let mut special = special(&library, &beside);
    special.bos = special.bos.or(around.before.first().copied());
    (special.before, special.after) = (around.before, around.after);
    Ok(Tokenizer {
        pieces: pieces(&library, spelling, &beside.special()).map_err(broken)?,
        engine: Engine::Library(Box::new(library)),
        special,
        chat_template: beside.chat_template,
        kind: format!("{name} from tokenizer.json"),
    })
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

    let folder = folder_of(vocab);
    let beside = CompanionFiles::read(folder)?;
    // These two files do not name their pre-tokenizer. GPT-2's is right for GPT-2 alone.
    if let Some(class) = beside.class.as_deref()
        && class != "GPT2Tokenizer"
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
    library.with_pre_tokenizer(Some(ByteLevel::new(
        beside.add_prefix_space.unwrap_or(false),
        true,
        true,
    )));
    if ends {
        library.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
    }
    add_tokens(&mut library, &beside)?;
    let mut special = special(&library, &beside);
    // No file says what stands around a text, so the flags do.
    special
        .before
        .extend(special.bos.filter(|_| beside.add_bos));
    let end = special.eos.first().filter(|_| beside.add_eos);
    special.after.extend(end.copied());
    let pieces = pieces(&library, Spelling::ByteLevel, &beside.special());
    Ok(Tokenizer {
        pieces: pieces.map_err(|reason| Error::format(vocab, reason))?,
        engine: Engine::Library(Box::new(library)),
        special,
        chat_template: beside.chat_template,
        kind: "byte-level BPE from vocab.json and merges.txt".to_owned(),
    })
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
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
        Some("BertProcessing" | "RobertaProcessing") => {
            for (key, side) in [("cls", &mut around.before), ("sep", &mut around.after)] {
                let id = processor[key][1]
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok());
                side.push(id.ok_or_else(|| format!("its post-processor has no id for `{key}`"))?);
            }
        }
        Some(other) => return Err(format!("the post-processor `{other}` is not supported")),
    }
    Ok(around)
}

/// The special tokens by the files beside the tokenizer. Nothing stands around a text yet.
fn special(library: &Library, beside: &CompanionFiles) -> Special {
    // An id outside the vocabulary is a default of the model's class: GPT-2's configuration names 50256 by
    // itself, whatever the vocabulary.
    let id = |named: &Token| match named {
        Token::Id(id) => library.id_to_token(*id).map(|_| *id),
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
    Special {
        bos,
        eos,
        ..Special::default()
    }
}
