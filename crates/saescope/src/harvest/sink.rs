//! The receiver of a harvest, and what it has to know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::block::{Block, HarvestConfig};
use super::corpus_evidence::CorpusEvidence;
use super::role::FeatureRole;
use crate::corpus::CorpusConfig;
use crate::error::{Error, Result};
use crate::origin::Origin;
use crate::tokenizer::Tokenizer;

/// One of several parts of a corpus, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// The number of parts.
    pub of: u32,
}

impl Default for Part {
    fn default() -> Part {
        Part { number: 1, of: 1 }
    }
}

impl Part {
    /// The blocks that belong to it, out of `blocks`.
    pub fn blocks(self, blocks: u32) -> std::ops::Range<u32> {
        let border = |part: u32| (u64::from(part) * u64::from(blocks) / u64::from(self.of)) as u32;
        border(self.number - 1)..border(self.number)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Part> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            let part = Part {
                number: number.parse().ok()?,
                of: of.parse().ok()?,
            };
            (1..=part.of).contains(&part.number).then_some(part)
        });
        parsed.ok_or_else(|| {
            Error::Argument(format!(
                "`{text}` is no part; write the first of four parts as 1/4, the last as 4/4"
            ))
        })
    }
}

/// Everything that determines a harvest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarvestHeader {
    /// Version of the program.
    pub saescope: String,
    /// The model, the autoencoder and how they were opened.
    pub origin: Origin,
    /// SHA-256 of the directions and the encoder of the autoencoder.
    pub sae_digest: String,
    /// Number of features.
    pub d_sae: usize,
    /// The texts.
    pub corpus: CorpusConfig,
    /// Digest of the sequences of the whole corpus and their order.
    pub corpus_digest: String,
    /// What was read and kept.
    pub config: HarvestConfig,
    /// The parts of the corpus that were read: one, or after a merge several.
    pub parts: Vec<Part>,
}

/// The tokens of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    /// The end of the bytes of each id.
    ends: Vec<usize>,
    special: Vec<bool>,
}

impl Vocabulary {
    /// The tokens of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for id in 0..tokenizer.d_vocab() as u32 {
            vocabulary.push(tokenizer.piece(id), tokenizer.is_special(id));
        }
        vocabulary
    }

    /// Adds the token of the next id: its bytes, none if the id has no token, and true if it is a control
    /// token and no text.
    pub fn push(&mut self, piece: &[u8], special: bool) {
        self.bytes.extend_from_slice(piece);
        self.ends.push(self.bytes.len());
        self.special.push(special);
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is no id.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for an id without a token.
    pub fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    /// True if a token is a control token and no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(true)
    }
}

/// The state of a pass that was interrupted.
#[derive(Debug)]
pub struct Saved {
    /// Number of the next block.
    pub next_block: u32,
    /// What the blocks before it say.
    pub evidence: CorpusEvidence,
    /// True if the roles of the features are there, and nothing is left to do.
    pub finished: bool,
}

/// The receiver of a harvest.
pub trait Sink {
    /// The state that an earlier pass with the same header left.
    ///
    /// # Errors
    /// When it cannot be read.
    fn saved(&mut self) -> Result<Option<Saved>>;

    /// Receives the blocks since the last call, and what all blocks so far say. It keeps all of it or
    /// nothing.
    ///
    /// # Errors
    /// An error ends the pass.
    fn checkpoint(&mut self, blocks: &[Block], evidence: &CorpusEvidence) -> Result<()>;

    /// Receives the roles of all features, after the last checkpoint.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn finish(&mut self, roles: &[FeatureRole]) -> Result<()>;
}
