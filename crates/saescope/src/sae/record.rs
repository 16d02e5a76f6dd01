//! The record of an autoencoder: everything known about it besides its weights.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::site::Site;

/// The format of the file that an autoencoder was first read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Trained by saescope.
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
    /// Llama Scope and others by the library Llamascopium, once `lm_saes`.
    Llamascopium,
    /// Qwen Scope, `layerN.sae.pt`.
    QwenScope,
    /// A `.pth` file of Goodfire.
    Goodfire,
    /// The autoencoders of GPT-2's attention, `….pt` with `…_cfg.json`.
    AttentionOut,
    /// A transcoder in the layout of `circuit-tracer`, `layer_N.safetensors`.
    CircuitTracer,
}

impl Format {
    /// The name in files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Format::Saescope => "saescope",
            Format::Saelens => "saelens",
            Format::Openai => "openai",
            Format::Sparsify => "sparsify",
            Format::DictionaryLearning => "dictionary_learning",
            Format::GemmaScope => "gemma_scope",
            Format::GemmaScope2 => "gemma_scope2",
            Format::Llamascopium => "llamascopium",
            Format::QwenScope => "qwen_scope",
            Format::Goodfire => "goodfire",
            Format::AttentionOut => "attention_out",
            Format::CircuitTracer => "circuit_tracer",
        }
    }
}

/// A file that an autoencoder was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Name of the file, with the folders that tell it from others of its release.
    pub name: String,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of its content, once [`Sae::hash_files`](super::Sae::hash_files) was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The record of an autoencoder: the model and site that it belongs to, and its origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Width of the activation that it reads.
    pub d_in: usize,
    /// Width of the activation that it writes.
    pub d_out: usize,
    /// Number of features.
    pub d_sae: usize,
    /// The site that it reads, if its file names one that saescope has.
    pub site: Option<Site>,
    /// The site that a transcoder writes; others write the site that they read.
    pub out_site: Option<Site>,
    /// The model it was trained on.
    pub model: Option<String>,
    /// The revision of that model.
    pub revision: Option<String>,
    /// True if its training texts began with BOS.
    pub prepend_bos: Option<bool>,
    /// Number of tokens of a training text.
    pub context: Option<usize>,
    /// The format of the file that it was first read from.
    pub format: Format,
    /// The files that it was read from.
    pub files: Vec<SourceFile>,
    /// Notes for the user: what was folded, and what the file leaves open.
    pub notes: Vec<String>,
    /// The makers' own configuration.
    pub config: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_named_as_its_json_spells_it() {
        for format in [
            Format::Openai,
            Format::GemmaScope2,
            Format::DictionaryLearning,
        ] {
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{}\"", format.name()));
        }
    }
}
