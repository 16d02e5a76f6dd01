//! What is known about an autoencoder besides its weights.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::site::Site;

/// Whose file an autoencoder was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Made here.
    #[default]
    Saescope,
    /// A folder of SAELens.
    Saelens,
    /// A `.pt` file of OpenAI's `sparse_autoencoder`.
    Openai,
    /// A folder of EleutherAI's `sparsify`.
    Sparsify,
    /// `ae.pt` of `dictionary_learning`.
    DictionaryLearning,
    /// Gemma Scope, `params.npz`.
    GemmaScope,
    /// Gemma Scope 2, `params.safetensors`.
    GemmaScope2,
}

/// A file that an autoencoder was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name, with the folders that tell it from others of its release.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, where somebody asked for it ([`Sae::hash_files`](super::Sae::hash_files)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What is known about an autoencoder: where it belongs and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Width of what it reads.
    pub d_in: usize,
    /// Width of what it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// Where it reads, when its makers say so and saescope has such a site.
    pub site: Option<Site>,
    /// Where it writes, for transcoders; otherwise it writes where it reads.
    pub out_site: Option<Site>,
    /// The model it was trained on.
    pub model: Option<String>,
    /// The revision of that model.
    pub revision: Option<String>,
    /// Whether its training texts began with BOS.
    pub prepend_bos: Option<bool>,
    /// Tokens of a training text.
    pub context: Option<usize>,
    /// Whose file it was first read from.
    pub format: Format,
    /// Files it was read from.
    pub files: Vec<SourceFile>,
    /// What a user has to know: what was folded, and what the file leaves open.
    pub notes: Vec<String>,
    /// The makers' own configuration.
    pub config: Value,
}
