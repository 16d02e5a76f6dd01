//! `shards.json`: the origin of a folder of shards, and the list of its files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Dtype;
use crate::error::{Error, Result, by_name};
use crate::site::Site;

/// The value of `format` in `shards.json`.
pub(super) const FORMAT: &str = "saescope-activations-1";

/// The file that completes a folder of shards; it is written last.
pub(super) const MANIFEST: &str = "shards.json";

/// The number format of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardDtype {
    /// Exactly.
    F32,
    /// 11 bits of precision, numbers up to 65,504.
    F16,
    /// 8 bits of precision, all numbers.
    #[default]
    Bf16,
}

impl ShardDtype {
    /// Every format.
    pub const ALL: [ShardDtype; 3] = [ShardDtype::F32, ShardDtype::F16, ShardDtype::Bf16];

    /// The name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            ShardDtype::F32 => "f32",
            ShardDtype::F16 => "f16",
            ShardDtype::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        self.dtype().block_bytes()
    }

    pub(super) fn dtype(self) -> Dtype {
        match self {
            ShardDtype::F32 => Dtype::F32,
            ShardDtype::F16 => Dtype::F16,
            ShardDtype::Bf16 => Dtype::Bf16,
        }
    }
}

impl fmt::Display for ShardDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ShardDtype {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardDtype> {
        by_name("number format", text, &ShardDtype::ALL, ShardDtype::name)
    }
}

/// The origin of the activations in a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardsOrigin {
    /// The reference of the model, as the user gave it.
    pub model: String,
    /// The site of the activations.
    pub site: Site,
    /// The site of a transcoder's targets.
    pub out_site: Option<Site>,
    /// [`Corpus::digest`](crate::corpus::Corpus::digest) of the texts.
    pub corpus: String,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// True if the first token of every sequence was omitted.
    pub skip_first: bool,
    /// True if sequences began with the beginning-of-sequence token; unknown for shards of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepend_bos: Option<bool>,
}

/// The contents of `shards.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub(super) format: String,
    /// The origin of the activations.
    pub origin: ShardsOrigin,
    /// The number format.
    pub dtype: ShardDtype,
    /// Width of the activations that an autoencoder reads.
    pub d_in: usize,
    /// Width of a transcoder's targets.
    pub d_out: Option<usize>,
    /// Number of rows.
    pub tokens: u64,
    /// Seed of the order of the rows.
    pub seed: u64,
    /// The files that hold the rows, in order.
    pub shards: Vec<Shard>,
}

/// One file of a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Name of the file in the folder.
    pub file: String,
    /// Number of rows.
    pub tokens: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Bytes of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }
}
