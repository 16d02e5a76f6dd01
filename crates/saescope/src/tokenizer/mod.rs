//! From text to token ids and back.
//!
//! One [`Tokenizer`] for every kind of file: `tokenizer.json`, GPT-2's `vocab.json` and
//! `merges.txt`, SentencePiece's `tokenizer.model`, the vocabulary inside a GGUF, and llama2.c's `tokenizer.bin`. It knows the special
//! tokens and the chat template of its files, and does not know the model.

mod added;
mod bytes;
mod charsmap;
#[cfg(test)]
mod companions;
mod config;
mod display;
mod gguf;
#[cfg(test)]
mod golden;
mod habits;
mod library;
mod llama2c;
mod open;
mod pieces;
mod sentencepiece;
mod spelling;
mod spm;
mod text;
#[cfg(test)]
mod unigram;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use config::TOOL_TEMPLATE;
pub use display::{Piece, StreamDecoder, readable_pieces};
pub use text::Text;

use self::pieces::Pieces;
use self::spm::Spm;
use crate::checkpoint::gguf::Metadata;
use crate::digest::Digest;
use crate::error::{Error, Result, by_name};

/// Choice of whether a text begins with the beginning-of-sequence token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bos {
    /// The tokenizer's own default.
    #[default]
    Auto,
    /// Always, whatever the default.
    Always,
    /// Never, whatever the default.
    Never,
}

impl Bos {
    /// Every value.
    pub const ALL: [Bos; 3] = [Bos::Auto, Bos::Always, Bos::Never];

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            Bos::Auto => "auto",
            Bos::Always => "always",
            Bos::Never => "never",
        }
    }
}

impl fmt::Display for Bos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Bos {
    type Err = Error;

    fn from_str(name: &str) -> Result<Bos> {
        by_name(
            "use of the beginning-of-sequence token",
            name,
            &Bos::ALL,
            Bos::name,
        )
    }
}

/// The names of SentencePiece's own file.
pub(crate) const SENTENCE_PIECE: [&str; 2] = ["tokenizer.model", "spiece.model"];

/// Turns text into ids and ids into text.
pub struct Tokenizer {
    engine: Engine,
    pieces: Pieces,
    special: Special,
    chat_template: Option<String>,
    tool_template: Option<String>,
    kind: String,
}

enum Engine {
    Library(Box<tokenizers::Tokenizer>),
    Spm(Box<Spm>),
    /// No text can be encoded.
    None {
        reason: String,
    },
}

/// The special tokens of a tokenizer, and those that it adds to a text by default.
#[derive(Default)]
struct Special {
    bos: Option<u32>,
    eos: Vec<u32>,
    before: Vec<u32>,
    after: Vec<u32>,
    /// Special tokens by name, where there are files that name them.
    names: Option<Vec<(String, String)>>,
}

impl Tokenizer {
    /// Reads the tokenizer of the model at `path`: the one inside a GGUF, llama2.c's beside the
    /// weights, and else that of the folder.
    pub fn of_model(path: &Path) -> Result<Tokenizer> {
        open::of_model(path)
    }

    /// Reads the tokenizer of a model's folder: `tokenizer.json`, or GPT-2's `vocab.json` and
    /// `merges.txt` (also as `encoder.json` and `vocab.bpe`), or SentencePiece's `tokenizer.model`, which T5's
    /// class calls `spiece.model`, with the configuration beside it.
    pub fn from_folder(folder: &Path) -> Result<Tokenizer> {
        let json = folder.join("tokenizer.json");
        if json.is_file() {
            return Tokenizer::from_file(&json);
        }
        for (vocab, merges) in [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")] {
            let (vocab, merges) = (folder.join(vocab), folder.join(merges));
            if vocab.is_file() && merges.is_file() {
                return library::from_vocab_and_merges(&vocab, &merges);
            }
        }
        for model in SENTENCE_PIECE {
            let model = folder.join(model);
            if model.is_file() {
                return library::from_sentence_piece(&model);
            }
        }
        let reason = "there is no tokenizer here: neither tokenizer.json, vocab.json with merges.txt nor \
                      tokenizer.model or spiece.model";
        Err(Error::format(folder, reason))
    }

    /// Reads one `tokenizer.json`, under any name, with the configuration beside it.
    pub fn from_file(path: &Path) -> Result<Tokenizer> {
        library::from_tokenizer_json(path)
    }

    /// Reads the tokenizer inside a GGUF.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
        gguf::read(metadata)
    }

    /// Reads llama2.c's `tokenizer.bin`. The number of tokens, `d_vocab`, is known from the model.
    pub fn from_llama2c(path: &Path, d_vocab: usize) -> Result<Tokenizer> {
        llama2c::read(path, d_vocab)
    }

    /// The ids of `text`. Special tokens written out in it become their ids, as in Hugging Face's
    /// tokenizers.
    ///
    /// # Errors
    /// When a beginning-of-sequence token is wanted and the tokenizer has none.
    pub fn encode(&self, text: &str, bos: Bos) -> Result<Vec<u32>> {
        let (before, after) = self.around(bos)?;
        let mut ids = before.to_vec();
        match &self.engine {
            Engine::Library(library) => {
                let encoding = library
                    .encode_fast(text, false)
                    .map_err(|error| Error::Tokenizer(error.to_string()))?;
                ids.extend_from_slice(encoding.get_ids());
            }
            Engine::Spm(spm) => spm.encode(text, &mut ids),
            Engine::None { reason } => {
                return Err(Error::NoTokenizer {
                    reason: reason.clone(),
                });
            }
        }
        ids.extend_from_slice(after);
        Ok(ids)
    }

    /// The tokens before and after a text.
    ///
    /// # Errors
    /// When a beginning-of-sequence token is wanted and the tokenizer has none.
    pub fn around(&self, bos: Bos) -> Result<(&[u32], &[u32])> {
        let special = &self.special;
        Ok(match bos {
            Bos::Auto => (&special.before, &special.after),
            Bos::Always if special.before.is_empty() => {
                let bos = special.bos.as_ref().ok_or_else(|| {
                    Error::Tokenizer(
                        "there is no beginning-of-sequence token to put first".to_owned(),
                    )
                })?;
                (std::slice::from_ref(bos), &[])
            }
            Bos::Always => (&special.before, &[]),
            Bos::Never => (&[], &[]),
        })
    }

    /// Digest of everything that determines the ids of a text: SHA-256 in hexadecimal digits.
    pub fn digest(&self) -> Result<String> {
        let mut digest = Digest::new();
        match &self.engine {
            Engine::Library(library) => {
                // Its own text does not have this setting.
                digest.part(&[u8::from(library.get_encode_special_tokens())]);
                let json = library.to_string(false);
                digest.part(
                    json.map_err(|e| Error::Tokenizer(e.to_string()))?
                        .as_bytes(),
                );
            }
            Engine::Spm(spm) => spm.digest(&mut digest),
            Engine::None { .. } => digest.part(format!("{} ids", self.pieces.len()).as_bytes()),
        }
        let special = &self.special;
        for ids in [&special.before, &special.after, &special.eos] {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            digest.part(&bytes);
        }
        digest.part(format!("{:?}", special.bos).as_bytes());
        Ok(digest.hex())
    }

    /// The ids of a text that already contains its special tokens, such as a rendered chat: no token is
    /// added.
    pub fn encode_raw(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, Bos::Never)
    }

    /// The text of `ids`, which begin a text, without control tokens. Bytes that are not UTF-8 become
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The bytes of the text of `ids`, which begin a text, without control tokens.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        self.pieces.join(ids, false)
    }

    /// The bytes of one token, a control token written out. Empty for an id outside the vocabulary.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// True if `id` is a control token and not text.
    pub fn is_special(&self, id: u32) -> bool {
        self.pieces.is_special(id)
    }

    /// The beginning-of-sequence token; an id of 0 is an id like any other.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// The tokens that end a text.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special.eos
    }

    /// Forgets ends of a text that neither the vocabulary nor a model of `d_vocab` ids has.
    pub(crate) fn forget_unknown_ends(&mut self, d_vocab: usize) {
        let known = self.d_vocab().max(d_vocab);
        self.special.eos.retain(|&id| (id as usize) < known);
    }

    /// True if the tokenizer begins a text with the beginning-of-sequence token by default.
    pub fn adds_bos(&self) -> bool {
        !self.special.before.is_empty()
    }

    /// One more than the largest id; a model's embedding may have more rows.
    pub fn d_vocab(&self) -> usize {
        self.pieces.len()
    }

    /// The special tokens by the names that chat templates know them by, such as `bos_token`.
    pub fn special_tokens(&self) -> Vec<(String, String)> {
        if let Some(names) = &self.special.names {
            return names.clone();
        }
        let ends = [
            ("bos_token", self.bos()),
            ("eos_token", self.eos_ids().first().copied()),
        ];
        let named = ends
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), self.token_text(id?))));
        named.collect()
    }

    /// The template that turns a conversation into the text the model was trained on.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The template for conversations with tools, if there is one beside that for all.
    pub fn tool_template(&self) -> Option<&str> {
        self.tool_template.as_deref()
    }

    /// The kind of tokenizer and the file that it was read from, for people.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}
