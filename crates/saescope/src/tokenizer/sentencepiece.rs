//! SentencePiece's own file, `tokenizer.model`, as the contents of a `tokenizer.json`.
//!
//! The file is a protocol buffer, `ModelProto` of SentencePiece's `sentencepiece_model.proto`. BPE and
//! Unigram are read, which differ in their model alone.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::pieces::MAX_VOCAB;
use crate::error::{Error, Result};
use crate::stand_in;

// The types of pieces.
const NORMAL: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

// `TrainerSpec.model_type`.
const UNIGRAM: u64 = 1;
const BPE: u64 = 2;
const WORD: u64 = 3;

/// A bound above the pieces of every tokenizer (SentencePiece's default is 16 characters): the search for
/// the pairs that make a piece grows with the square of its length.
const MAX_PIECE: usize = 512;

/// A bound above the pairs that make the pieces of every tokenizer; Gemma's, the largest, has fewer than a
/// fourth of it.
const MAX_MERGES: usize = 1 << 22;

/// A tokenizer's file.
pub(super) struct SentencePiece {
    pieces: Vec<Piece>,
    model_type: u64,
    byte_fallback: bool,
    unknown: usize,
    /// The tokens that begin and end a text, if the file has them.
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    charsmap: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

impl SentencePiece {
    pub(super) fn read(path: &Path) -> Result<SentencePiece> {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        stand_in::check(path, &bytes)?;
        let broken = |reason: String| Error::format(path, reason);
        let model = SentencePiece::parse(&bytes)
            .ok_or_else(|| broken("not SentencePiece's file, or a part of one".to_owned()))?;
        if !matches!(model.model_type, BPE | UNIGRAM) {
            let kind = if model.model_type == WORD {
                "words"
            } else {
                "characters"
            };
            return Err(Error::Unsupported {
                path: path.to_owned(),
                reason: format!(
                    "it holds SentencePiece's vocabulary of {kind}; only its BPE and Unigram are read"
                ),
            });
        }
        let n = model.pieces.len();
        if n == 0 || n > MAX_VOCAB || model.unknown >= n {
            return Err(broken(format!("{n} pieces make no vocabulary")));
        }
        match model
            .pieces
            .iter()
            .find(|piece| piece.text.len() > MAX_PIECE)
        {
            Some(long) => Err(broken(format!("a piece has {} bytes", long.text.len()))),
            None => Ok(model),
        }
    }

    fn parse(bytes: &[u8]) -> Option<SentencePiece> {
        let mut model = SentencePiece {
            pieces: Vec::new(),
            model_type: UNIGRAM,
            byte_fallback: false,
            unknown: 0,
            bos: Some(1),
            eos: Some(2),
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => model.pieces.push(Piece::parse(piece)?),
                (2, Field::Bytes(trainer)) => model.parse_trainer(trainer)?,
                (3, Field::Bytes(normalizer)) => model.parse_normalizer(normalizer)?,
                _ => {}
            }
        }
        Some(model)
    }

    fn parse_trainer(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields(bytes) {
            match field? {
                (3, Field::Number(kind)) => self.model_type = kind,
                (35, Field::Number(flag)) => self.byte_fallback = flag != 0,
                (40, Field::Number(id)) => self.unknown = usize::try_from(id).ok()?,
                // A negative id says that there is no such token.
                (41, Field::Number(id)) => self.bos = u32::try_from(id).ok(),
                (42, Field::Number(id)) => self.eos = u32::try_from(id).ok(),
                _ => {}
            }
        }
        Some(())
    }

    fn parse_normalizer(&mut self, bytes: &[u8]) -> Option<()> {
        for field in Fields(bytes) {
            match field? {
                (2, Field::Bytes(map)) => self.charsmap = map.to_vec(),
                (3, Field::Number(flag)) => self.add_dummy_prefix = flag != 0,
                (4, Field::Number(flag)) => self.remove_extra_whitespaces = flag != 0,
                (5, Field::Number(flag)) => self.escape_whitespaces = flag != 0,
                _ => {}
            }
        }
        Some(())
    }

    pub(super) fn is_unigram(&self) -> bool {
        self.model_type == UNIGRAM
    }

    /// Adds pieces that stand for nothing in a text by themselves, as control tokens.
    pub(super) fn add_control(&mut self, texts: impl Iterator<Item = String>) {
        self.pieces.extend(texts.map(|text| Piece {
            text,
            score: 0.0,
            kind: CONTROL,
        }));
    }

    /// The contents of a `tokenizer.json` with the same ids. With `legacy`, each stretch of text between
    /// special tokens begins with a space, and not only the first.
    ///
    /// # Errors
    /// When more pairs make its pieces than those of any tokenizer.
    pub(super) fn tokenizer_json(&self, legacy: bool) -> Result<Value, String> {
        let user_defined = self.user_defined();
        let model = match self.is_unigram() {
            true => self.unigram(),
            false => self.bpe(!user_defined.is_empty())?,
        };
        Ok(json!({
            "version": "1.0",
            "added_tokens": self.added_tokens(),
            "normalizer": self.normalizer(legacy),
            "pre_tokenizer": self.pre_tokenizer(legacy, &user_defined),
            "post_processor": null,
            "decoder": self.decoder(),
            "model": model,
        }))
    }

    fn bpe(&self, ignore_merges: bool) -> Result<Value, String> {
        let ids: Map<String, Value> = self
            .ids()
            .map(|(text, id)| (text.to_owned(), id.into()))
            .collect();
        Ok(json!({
            "type": "BPE",
            "vocab": ids,
            "merges": self.merges()?,
            "unk_token": self.pieces[self.unknown].text,
            "fuse_unk": true,
            "byte_fallback": self.byte_fallback,
            "ignore_merges": ignore_merges,
        }))
    }

    fn unigram(&self) -> Value {
        // The shortest decimals of a score as f32 could be other numbers as f64, in which they are added.
        let scored = |piece: &Piece| json!([piece.text, f64::from(piece.score)]);
        let vocab: Vec<Value> = self.pieces.iter().map(scored).collect();
        json!({
            "type": "Unigram",
            "unk_id": self.unknown,
            "vocab": vocab,
            "byte_fallback": self.byte_fallback,
        })
    }

    fn ids(&self) -> impl Iterator<Item = (&str, usize)> {
        self.pieces
            .iter()
            .enumerate()
            .map(|(id, piece)| (piece.text.as_str(), id))
    }

    fn of_kind(&self, kind: u64) -> impl Iterator<Item = (usize, &Piece)> {
        self.pieces
            .iter()
            .enumerate()
            .filter(move |(_, piece)| piece.kind == kind)
    }

    /// Control tokens and the unknown one are whole in a text, and no part of it.
    fn added_tokens(&self) -> Vec<Value> {
        let token = |(id, piece): (usize, &Piece)| {
            json!({
                "id": id, "content": piece.text, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        };
        let pieces = self.pieces.iter().enumerate();
        let special = pieces.filter(|(id, piece)| piece.kind == CONTROL || *id == self.unknown);
        special.map(token).collect()
    }

    /// Pieces that are never joined with others, the longest first.
    fn user_defined(&self) -> Vec<&str> {
        let mut pieces: Vec<&str> = self
            .of_kind(USER_DEFINED)
            .map(|(_, piece)| piece.text.as_str())
            .collect();
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.chars().count()));
        pieces
    }

    /// The pairs that make a piece, those of the best score first.
    fn merges(&self) -> Result<Vec<[&str; 2]>, String> {
        let normal: HashMap<&str, (f32, usize)> = self
            .of_kind(NORMAL)
            .map(|(id, piece)| (piece.text.as_str(), (piece.score, id)))
            .collect();
        let mut merges: Vec<(f32, usize, [&str; 2])> = Vec::new();
        for (text, &(score, id)) in &normal {
            for (cut, _) in text.char_indices().skip(1) {
                let pair = [&text[..cut], &text[cut..]];
                if pair.iter().all(|part| normal.contains_key(part)) {
                    merges.push((score, id, pair));
                    if merges.len() > MAX_MERGES {
                        return Err(format!("more than {MAX_MERGES} pairs make its pieces"));
                    }
                }
            }
        }
        merges.sort_by(|(a, x, left), (b, y, right)| {
            b.total_cmp(a).then(x.cmp(y)).then(left.cmp(right))
        });
        Ok(merges.into_iter().map(|(_, _, pair)| pair).collect())
    }

    fn normalizer(&self, legacy: bool) -> Value {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let regex = |regex: &str| json!({"Regex": regex});
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            let map = BASE64_STANDARD.encode(&self.charsmap);
            steps.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
        }
        if self.remove_extra_whitespaces {
            steps.push(replace(regex(r"\A +| +\z"), ""));
            steps.push(replace(regex(" {2,}"), " "));
        }
        if self.escape_whitespaces {
            steps.push(replace(json!({"String": " "}), "▁"));
        }
        if self.add_dummy_prefix && legacy {
            // `Metaspace` puts no second space before a text that begins with one.
            steps.push(replace(regex(r"\A▁"), "▁▁"));
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    fn pre_tokenizer(&self, legacy: bool, user_defined: &[&str]) -> Value {
        let mut steps = Vec::new();
        if self.add_dummy_prefix {
            let scheme = if legacy { "always" } else { "first" };
            steps.push(json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false}));
        }
        if !user_defined.is_empty() {
            let escaped: Vec<String> = user_defined.iter().map(|piece| escape(piece)).collect();
            let pattern = json!({"Regex": escaped.join("|")});
            steps.push(json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false}));
        }
        match steps.is_empty() {
            true => Value::Null,
            false => json!({"type": "Sequence", "pretokenizers": steps}),
        }
    }

    fn decoder(&self) -> Value {
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.add_dummy_prefix {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }
}

/// A regular expression that matches `text`. Other signs are not escaped: `\<` would be a border of a word.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl Piece {
    fn parse(bytes: &[u8]) -> Option<Piece> {
        let mut piece = Piece {
            text: String::new(),
            score: 0.0,
            kind: NORMAL,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Field::Bytes(text)) => piece.text = str::from_utf8(text).ok()?.to_owned(),
                (2, Field::Float(score)) => piece.score = score,
                (3, Field::Number(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        Some(piece)
    }
}

/// The value of a field of a protocol buffer.
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// A number of eight bytes, of which no field here is one.
    Double,
}

/// The fields of a message, each with its number; `None` where the bytes are no message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => self.take(8).map(|_| Field::Double)?,
            2 => {
                let len = usize::try_from(self.number()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    /// A number in seven bits a byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
