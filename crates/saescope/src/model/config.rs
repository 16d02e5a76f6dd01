//! What a model's configuration says about its maths, in one vocabulary for every family.
//!
//! A key that would change the maths and is not understood is refused by name, never guessed.

use std::fmt;

use saescope_kernels::Activation;

/// The maths of a model, whatever its family.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family, which decides what the checkpoint's tensors are called.
    pub family: Family,
    /// Longest sequence, in tokens.
    pub n_ctx: usize,
    /// Token ids, `0..d_vocab`.
    pub d_vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the MLP's hidden activation.
    pub d_mlp: usize,
    /// Which norm, everywhere.
    pub norm: NormKind,
    /// How positions enter.
    pub positions: Positions,
    /// The MLP's form.
    pub mlp: MlpKind,
    /// Attention and MLP read the same residual (GPT-NeoX).
    pub parallel_residual: bool,
    /// What scores are multiplied by.
    pub attn_scale: f32,
    /// Scores become `cap * tanh(score / cap)` before the mask.
    pub attn_softcap: Option<f32>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// What embeddings are multiplied by.
    pub embed_scale: Option<f32>,
    /// What differs from layer to layer.
    pub layers: Vec<LayerConfig>,
}

impl Config {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }
}

/// A family of models that share a forward pass and names for their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Gpt2,
    GptNeox,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
}

impl fmt::Display for Family {
    /// As `model_type` in a Hugging Face `config.json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Gpt2 => "gpt2",
            Family::GptNeox => "gpt_neox",
            Family::Llama => "llama",
            Family::Mistral => "mistral",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma2 => "gemma2",
            Family::Gemma3 => "gemma3_text",
        })
    }
}

/// Which norm a model uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// `(x - mean) / sqrt(variance + eps) * weight + bias` (Ba et al. 2016).
    Layer {
        /// Added to the variance.
        eps: f32,
    },
    /// `x / sqrt(mean square + eps) * weight` (Zhang & Sennrich 2019).
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
}

/// How a model knows where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// A learned vector per position, added to the embedding.
    Learned,
    /// Rotations of the first `d_rot` entries of every query and key head (Su et al. 2021).
    Rotary {
        /// Even, at most `d_head`.
        d_rot: usize,
    },
}

/// The form of a model's MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlpKind {
    /// Its non-linearity.
    pub activation: Activation,
    /// `act(gate x) * (up x)` instead of `act(up x)` (Shazeer 2020).
    pub gated: bool,
}

/// What differs from layer to layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// How many tokens attention sees, the token itself included; `None` for all before it.
    pub window: Option<usize>,
    /// Angle per position of every rotary pair, scaling applied: `[d_rot / 2]`, empty for learned
    /// positions.
    pub rope_frequencies: Vec<f32>,
}
