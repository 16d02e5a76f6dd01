//! The tokenizer inside a GGUF.
//!
//! llama.cpp defines the meaning of the keys: the regular expressions of each `tokenizer.ggml.pre`, the
//! tokens added to a text by default, and how scores join pieces.

mod pre;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use tokenizers::AddedToken;

use self::pre::Pre;
use super::bytes::byte_fallback;
use super::library;
use super::pieces::{Entry, MAX_VOCAB, Pieces};
use super::spelling::{self, Spelling};
use super::spm::{Parts, Spm};
use super::{Engine, Special, Tokenizer};
use crate::checkpoint::gguf::Metadata;
use crate::error::{Error, Result};

// The values of `tokenizer.ggml.token_type`.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Control tokens that end a turn or a text in the families that saescope runs. Files often name only one
/// of the two that a model uses, so llama.cpp also recognises them by text.
const ENDS: [&str; 7] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
];

/// The vocabulary in the file's order; the position of a token is its id.
struct Vocab<'a> {
    tokens: &'a [String],
    types: &'a [i32],
}

impl<'a> Vocab<'a> {
    fn read(metadata: &'a Metadata) -> Result<Vocab<'a>> {
        let key = "tokenizer.ggml.tokens";
        let tokens = metadata.strs(key)?.ok_or_else(|| metadata.missing(key))?;
        let types = metadata.i32s("tokenizer.ggml.token_type")?.unwrap_or(&[]);
        if !types.is_empty() && types.len() != tokens.len() {
            return Err(unequal("token_type", types.len(), tokens.len()));
        }
        if tokens.len() > MAX_VOCAB {
            let count = tokens.len();
            return Err(Error::Tokenizer(format!("{count} tokens are too many")));
        }
        Ok(Vocab { tokens, types })
    }

    fn kind(&self, id: usize) -> i32 {
        self.types.get(id).copied().unwrap_or(1)
    }

    fn is_special(&self, id: usize) -> bool {
        matches!(self.kind(id), UNKNOWN | CONTROL)
    }

    /// The id at `key`, or else `default`, if the vocabulary has it.
    fn id(&self, metadata: &Metadata, key: &str, default: Option<u32>) -> Result<Option<u32>> {
        let id = metadata.u32(&format!("tokenizer.ggml.{key}"))?.or(default);
        Ok(id.filter(|&id| (id as usize) < self.tokens.len()))
    }
}

fn unequal(key: &str, found: usize, tokens: usize) -> Error {
    Error::Tokenizer(format!(
        "tokenizer.ggml.{key} has {found} entries for {tokens} tokens"
    ))
}

pub(super) fn read(metadata: &Metadata) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.model";
    let model = metadata.str(key)?.ok_or_else(|| metadata.missing(key))?;
    let vocab = Vocab::read(metadata)?;
    let mut tokenizer = match model {
        "gpt2" => byte_level(metadata, &vocab)?,
        "llama" => sentence_piece(metadata, &vocab)?,
        other => {
            return Err(Error::Tokenizer(format!(
                "tokenizer.ggml.model is `{other}`; only `gpt2` (byte-level BPE) and `llama` \
                 (SentencePiece BPE) are supported"
            )));
        }
    };
    let template = metadata.str("tokenizer.chat_template")?;
    tokenizer.chat_template = template.map(str::to_owned);
    let template = metadata.str("tokenizer.chat_template.tool_use")?;
    tokenizer.tool_template = template.map(str::to_owned);
    Ok(tokenizer)
}

fn byte_level(metadata: &Metadata, vocab: &Vocab) -> Result<Tokenizer> {
    let name = metadata.str("tokenizer.ggml.pre")?.unwrap_or("default");
    let pre = Pre::named(name)?;
    let key = "tokenizer.ggml.merges";
    let merges = metadata.strs(key)?.ok_or_else(|| metadata.missing(key))?;
    let merges = merges
        .iter()
        .map(|line| {
            library::merge(line).ok_or_else(|| {
                Error::Tokenizer(format!("{key} has `{line}`, which is not a merge"))
            })
        })
        .collect::<Result<Vec<_>>>()?;

    // Tokens that pad a vocabulary to a round size may share a name; the name means the first.
    let mut ids = HashMap::with_capacity(vocab.tokens.len());
    for (id, token) in (0u32..).zip(vocab.tokens) {
        ids.entry(token.clone()).or_insert(id);
    }
    let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
    let mut library = library::byte_level_bpe(ids, merges, pre.ignore_merges).map_err(failed)?;
    library.with_pre_tokenizer(Some(pre.splitter()?));
    let whole = |id: usize| AddedToken::from(vocab.tokens[id].as_str(), vocab.is_special(id));
    let added: Vec<AddedToken> = (0..vocab.tokens.len())
        .filter(|&id| vocab.is_special(id) || vocab.kind(id) == USER_DEFINED)
        .map(|id| whole(id).normalized(false))
        .collect();
    library.add_tokens(&added);

    Ok(Tokenizer {
        pieces: spelling::pieces(&library, Spelling::ByteLevel, &HashSet::new())
            .map_err(Error::Tokenizer)?,
        engine: Engine::Library(Box::new(library)),
        special: special(metadata, vocab, None, pre.add_bos)?,
        chat_template: None,
        tool_template: None,
        kind: format!("byte-level BPE from GGUF, cut as `{name}`"),
    })
}

fn sentence_piece(metadata: &Metadata, vocab: &Vocab) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata.f32s(key)?.ok_or_else(|| metadata.missing(key))?;
    if scores.len() != vocab.tokens.len() {
        return Err(unequal("scores", scores.len(), vocab.tokens.len()));
    }
    let dummy_space = metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let mut parts = Parts {
        merged: HashMap::with_capacity(vocab.tokens.len()),
        whole: Vec::new(),
        bytes: Box::new([None; 256]),
        unknown: vocab.id(metadata, "unknown_token_id", Some(0))?,
        dummy_space,
        metaspace: true,
    };
    let mut entries = Vec::with_capacity(vocab.tokens.len());
    for (id, token) in vocab.tokens.iter().enumerate() {
        let special = vocab.is_special(id);
        let number = id as u32;
        let byte = byte_fallback(token).filter(|_| vocab.kind(id) == BYTE);
        let bytes = match byte {
            Some(byte) => vec![byte],
            None if special => token.as_bytes().to_vec(),
            None => token.replace('▁', " ").into_bytes(),
        };
        if let Some(byte) = byte {
            parts.bytes[usize::from(byte)] = Some(number);
        } else {
            if special || vocab.kind(id) == USER_DEFINED {
                parts.whole.push((bytes.as_slice().into(), number));
            }
            if !special {
                let found = parts.merged.entry(bytes.as_slice().into());
                found.or_insert((number, scores[id]));
            }
        }
        entries.push(Entry {
            id: number,
            bytes,
            special,
        });
    }
    Ok(Tokenizer {
        pieces: Pieces::new(entries, dummy_space).map_err(Error::Tokenizer)?,
        engine: Engine::Spm(Box::new(Spm::new(parts))),
        special: special(metadata, vocab, Some((1, 2)), true)?,
        chat_template: None,
        tool_template: None,
        kind: "SentencePiece BPE from GGUF".to_owned(),
    })
}

/// `bos_eos` and `add_bos` are the defaults of this kind of tokenizer.
fn special(
    metadata: &Metadata,
    vocab: &Vocab,
    bos_eos: Option<(u32, u32)>,
    add_bos: bool,
) -> Result<Special> {
    let bos = vocab.id(metadata, "bos_token_id", bos_eos.map(|(bos, _)| bos))?;
    let mut eos = Vec::new();
    eos.extend(vocab.id(metadata, "eos_token_id", bos_eos.map(|(_, eos)| eos))?);
    eos.extend(vocab.id(metadata, "eot_token_id", None)?);
    eos.extend(vocab.id(metadata, "eom_token_id", None)?);
    let named = (0u32..)
        .zip(vocab.tokens)
        .filter(|&(id, token)| vocab.is_special(id as usize) && ENDS.contains(&token.as_str()));
    eos.extend(named.map(|(id, _)| id));
    let mut seen = Vec::new();
    eos.retain(|id| {
        let new = !seen.contains(id);
        seen.push(*id);
        new
    });
    let flag = |key: &str| metadata.bool(&format!("tokenizer.ggml.{key}"));
    let adds_bos = flag("add_bos_token")?.unwrap_or(add_bos);
    let adds_eos = flag("add_eos_token")?.unwrap_or(false);
    Ok(Special {
        bos,
        before: bos.filter(|_| adds_bos).into_iter().collect(),
        after: eos
            .first()
            .copied()
            .filter(|_| adds_eos)
            .into_iter()
            .collect(),
        eos,
        names: None,
    })
}
