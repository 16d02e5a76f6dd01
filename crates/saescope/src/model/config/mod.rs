//! The maths of a model, in one vocabulary for every family.
//!
//! Reads the configurations of Hugging Face, GGUF and llama2.c. A key that changes the maths and is not
//! understood is refused by name, never guessed. Knows no tensor names.

mod gguf;
mod hf;
mod keys;
mod known;
mod llama2c;
mod llama_like;
mod parts;
mod rope;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::path::Path;

use saescope_kernels::Activation;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

use rope::Rope;

pub(crate) use gguf::{TensorSettings, from_gguf};
pub(crate) use hf::from_hf;
pub(crate) use llama2c::from_llama2c;

/// The maths of a model of any family.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The family, which determines the names of the checkpoint's tensors.
    pub family: Family,
    /// Maximum length of a sequence, in tokens.
    pub n_ctx: usize,
    /// Number of tokens; ids are `0..d_vocab`.
    pub d_vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the MLP's hidden activation.
    pub d_mlp: usize,
    /// The kind of every norm.
    pub norm: NormKind,
    /// The encoding of positions.
    pub positions: Positions,
    /// The form of the MLP.
    pub mlp: MlpKind,
    /// True if attention and MLP read the same residual stream (GPT-NeoX).
    pub parallel_residual: bool,
    /// Factor of attention scores.
    pub attn_scale: f32,
    /// True if scores are divided by the number of the layer too, counted from 1 (Mistral's GPT-2).
    pub attn_scale_by_layer: bool,
    /// Scores become `cap * tanh(score / cap)` before the mask.
    pub attn_softcap: Option<f32>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// Factor of embeddings.
    pub embed_scale: Option<f32>,
    /// The settings of each layer.
    pub layers: Vec<LayerConfig>,
}

impl Config {
    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Factor of the attention scores of a layer.
    pub fn attn_scale_at(&self, layer: usize) -> f32 {
        if self.attn_scale_by_layer {
            self.attn_scale / (layer + 1) as f32
        } else {
            self.attn_scale
        }
    }
}

/// A family of models that share a forward pass and names for their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
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

impl From<Family> for String {
    fn from(family: Family) -> String {
        family.to_string()
    }
}

/// The kind of norm that a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
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

/// The encoding of a token's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector per position, added to the embedding.
    Learned,
    /// Rotations of the first `d_rot` entries of every query and key head (Su et al. 2021).
    Rotary {
        /// Even, at most `d_head`.
        d_rot: usize,
    },
}

impl Positions {
    /// Number of entries of every head that rotate.
    pub fn d_rot(self) -> usize {
        match self {
            Positions::Learned => 0,
            Positions::Rotary { d_rot } => d_rot,
        }
    }
}

/// The form of a model's MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MlpKind {
    /// The non-linearity.
    #[serde(serialize_with = "activation_name")]
    pub activation: Activation,
    /// True for `act(gate x) * (up x)` instead of `act(up x)` (Shazeer 2020).
    pub gated: bool,
}

/// The settings of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerConfig {
    /// Number of tokens that attention sees, the token itself included; `None` for all before it.
    pub window: Option<usize>,
    /// The rotation of queries and keys; `None` for learned positions.
    pub rope: Option<Rope>,
    /// Angle per position of every rotary pair, which follows from `rope`: `[d_rot / 2]`.
    #[serde(skip)]
    pub rope_frequencies: Vec<f32>,
}

impl LayerConfig {
    /// A layer of a model with learned positions.
    pub fn learned() -> LayerConfig {
        LayerConfig::new(None, None, 0)
    }

    /// A layer that sees `window` tokens and rotates the first `d_rot` entries of a head by
    /// frequencies of `base`, without scaling.
    pub fn rotary(window: Option<usize>, base: f64, d_rot: usize) -> LayerConfig {
        LayerConfig::new(window, Some(Rope::plain(base)), d_rot)
    }

    fn new(window: Option<usize>, rope: Option<Rope>, d_rot: usize) -> LayerConfig {
        let rope_frequencies = rope.as_ref().map(|rope| rope.frequencies(d_rot));
        LayerConfig {
            window,
            rope,
            rope_frequencies: rope_frequencies.unwrap_or_default(),
        }
    }
}

fn activation_name<S: Serializer>(activation: &Activation, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_tanh",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
    })
}

/// The content of a configuration file: the maths, and the optional tensors that the checkpoint has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) config: Config,
    pub(crate) tensors: Tensors,
}

/// The presence of each tensor that not every model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tensors {
    /// `Yes` if the unembedding is the embedding.
    pub(crate) tied: Presence,
    pub(crate) qkv_bias: Presence,
    pub(crate) attn_out_bias: Presence,
    pub(crate) mlp_bias: Presence,
}

/// The presence of a tensor in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Yes,
    No,
    /// The configuration does not say; the tensors decide.
    AsStored,
}

impl From<bool> for Presence {
    fn from(present: bool) -> Presence {
        if present { Presence::Yes } else { Presence::No }
    }
}

impl Config {
    /// True if queries and keys are normed per head.
    pub(crate) fn has_qk_norm(&self) -> bool {
        matches!(self.family, Family::Qwen3 | Family::Gemma3)
    }

    /// True if the outputs of attention and MLP are normed before they are added to the residual stream.
    pub(crate) fn has_post_norms(&self) -> bool {
        matches!(self.family, Family::Gemma2 | Family::Gemma3)
    }

    /// Adds `n_layers` layers after a check of every size.
    fn with_layers(
        mut self,
        path: &Path,
        n_layers: usize,
        layer: impl FnMut(usize) -> LayerConfig,
    ) -> Result<Config> {
        // Far above any model, and far below a size that exhausts memory or overflows a product of two.
        const MOST: usize = 1 << 31;
        const MOST_LAYERS: usize = 1024;
        const MOST_D_HEAD: usize = 8192;
        let sizes = [
            ("context", self.n_ctx, MOST),
            ("vocabulary", self.d_vocab, MOST),
            ("residual width", self.d_model, MOST),
            ("number of heads", self.n_heads, MOST),
            ("number of key and value heads", self.n_kv_heads, MOST),
            ("head width", self.d_head, MOST_D_HEAD),
            ("MLP width", self.d_mlp, MOST),
            ("number of layers", n_layers, MOST_LAYERS),
        ];
        for (what, size, most) in sizes {
            if size == 0 || size > most {
                return Err(Error::format(
                    path,
                    format!("a {what} of {size} is not possible"),
                ));
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let (n, kv) = (self.n_heads, self.n_kv_heads);
            let reason = format!("{n} heads cannot share {kv} key and value heads evenly");
            return Err(Error::format(path, reason));
        }
        if let Positions::Rotary { d_rot } = self.positions
            && (d_rot == 0 || d_rot > self.d_head || !d_rot.is_multiple_of(2))
        {
            let reason = format!("{d_rot} entries of heads of {} cannot rotate", self.d_head);
            return Err(Error::format(path, reason));
        }
        self.layers = (0..n_layers).map(layer).collect();
        Ok(self)
    }
}
