//! The configuration in the metadata of a GGUF file.

use std::path::Path;

use saescope_kernels::Activation;
use serde_json::{Map, Value};

use super::keys::Keys;
use super::parts::{head_width, inverse_root, unknown_family};
use super::rope::{Rope, Scaling};
use super::window::{Slides, Windows};
use super::{Config, Family, LayerConfig, MlpKind, NormKind, Parsed, Positions, Presence, Tensors};
use crate::checkpoint::gguf::{Metadata, Value as Stored};
use crate::error::{Error, Result};

/// The settings that a file states in its tensors, not in its metadata.
pub(crate) struct TensorSettings {
    /// Number of rows of the embedding.
    pub(crate) d_vocab: usize,
    /// Divisor of each rotary frequency, `[d_rot / 2]`.
    pub(crate) rope_factors: Option<Vec<f32>>,
}

/// llama.cpp's names of the families.
const ARCHITECTURES: &[(&str, Family)] = &[
    // Mistral too: llama.cpp runs both as one architecture.
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("gpt2", Family::Gpt2),
    ("gptneox", Family::GptNeox),
];

/// Reads the metadata of the GGUF file at `path`.
pub(crate) fn from_gguf(
    path: &Path,
    metadata: &Metadata,
    stored: TensorSettings,
) -> Result<Parsed> {
    const ARCHITECTURE: &str = "general.architecture";
    let architecture = metadata
        .str(ARCHITECTURE)?
        .ok_or_else(|| metadata.missing(ARCHITECTURE))?;
    let Some(&(_, family)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        return Err(unknown_family(path, ARCHITECTURE, architecture));
    };
    let mut keys = keys_of(path, metadata, architecture);
    let shape = Shape::read(&mut keys, path)?;
    let n_ctx = keys.required("context_length")?;
    let windows = windows(&mut keys, family)?;
    let (positions, rope, local_rope) = rope(&mut keys, family, &shape, stored.rope_factors)?;
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    let cap = |gemma2| (family == Family::Gemma2).then_some(gemma2);
    let config = Config {
        family,
        n_ctx,
        d_vocab: stored.d_vocab,
        d_model: shape.d_model,
        n_heads: shape.n_heads,
        n_kv_heads: shape.n_kv_heads,
        d_head: shape.d_head,
        d_mlp: keys.required("feed_forward_length")?,
        norm: norm(&mut keys, family)?,
        positions,
        mlp: mlp(family),
        parallel_residual: family == Family::GptNeox && keys.or("use_parallel_residual", true)?,
        attn_scale: inverse_root(shape.scored_width(family)),
        attn_scale_by_layer: false,
        attn_softcap: if gemma {
            keys.cap("attn_logit_softcapping", cap(50.0))?
        } else {
            None
        },
        logit_softcap: if gemma {
            keys.cap("final_logit_softcapping", cap(30.0))?
        } else {
            None
        },
        embed_scale: gemma.then(|| (shape.d_model as f64).sqrt() as f32),
        layers: Vec::new(),
    };
    // Not every file has vocab_size; the rows of the embedding state it in all.
    keys.ignore(&["vocab_size", "tensor_data_layout"]);
    keys.finish()?;
    let d_rot = positions.d_rot();
    let config = config.with_layers(path, shape.n_layers, |layer| {
        let rope = if windows.slides(layer) {
            &local_rope
        } else {
            &rope
        };
        LayerConfig::new(windows.at(layer), rope.clone(), d_rot)
    })?;
    let tensors = Tensors {
        tied: Presence::AsStored,
        qkv_bias: Presence::AsStored,
        attn_out_bias: Presence::AsStored,
        mlp_bias: Presence::AsStored,
    };
    Ok(Parsed { config, tensors })
}

/// The keys of the architecture, without its name as prefix. Other keys describe the tokenizer and the
/// authors.
fn keys_of(path: &Path, metadata: &Metadata, architecture: &str) -> Keys {
    let prefix = format!("{architecture}.");
    let own = metadata.iter().filter_map(|(key, value)| {
        let value = match value {
            Stored::U64(n) => Value::from(*n),
            Stored::I64(n) => Value::from(*n),
            Stored::F64(x) => Value::from(*x),
            Stored::Bool(b) => Value::from(*b),
            Stored::Str(s) => Value::from(s.as_str()),
            Stored::Strs(all) => Value::from(all.as_slice()),
            Stored::F32s(all) => Value::from(all.as_slice()),
            Stored::I32s(all) => Value::from(all.as_slice()),
            Stored::Bools(all) => Value::from(all.as_slice()),
            Stored::Other(len) => Value::from(format!("an array of {len}")),
        };
        Some((key.strip_prefix(&prefix)?.to_owned(), value))
    });
    Keys::new(path, &prefix, own.collect::<Map<_, _>>())
}

struct Shape {
    n_layers: usize,
    d_model: usize,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
}

impl Shape {
    fn read(keys: &mut Keys, path: &Path) -> Result<Shape> {
        let d_model = keys.required("embedding_length")?;
        let n_heads = keys.required("attention.head_count")?;
        let d_head = match keys.get("attention.key_length")? {
            Some(d_head) => d_head,
            None => head_width(path, d_model, n_heads)?,
        };
        let d_value = keys.or("attention.value_length", d_head)?;
        if d_value != d_head {
            let what = format!("is {d_value}, but keys have {d_head}; saescope needs them equal");
            return Err(keys.unsupported("attention.value_length", &what));
        }
        Ok(Shape {
            n_layers: keys.required("block_count")?,
            d_model,
            n_heads,
            n_kv_heads: keys.or("attention.head_count_kv", n_heads)?,
            d_head,
        })
    }

    /// The width by whose root scores are divided. A GGUF does not store it. As in llama.cpp, the 27B
    /// models, whose heads are not `d_model / n_heads` wide, are recognised by their depth.
    fn scored_width(&self, family: Family) -> f64 {
        match (family, self.n_layers) {
            (Family::Gemma2, 46) | (Family::Gemma3, 62) => {
                self.d_model as f64 / self.n_heads as f64
            }
            _ => self.d_head as f64,
        }
    }
}

fn mlp(family: Family) -> MlpKind {
    let (activation, gated) = match family {
        Family::Gpt2 => (Activation::GeluTanh, false),
        // Pythia was trained with the exact GELU, although llama.cpp computes the tanh form.
        Family::GptNeox => (Activation::Gelu, false),
        Family::Gemma2 | Family::Gemma3 => (Activation::GeluTanh, true),
        _ => (Activation::Silu, true),
    };
    MlpKind { activation, gated }
}

fn norm(keys: &mut Keys, family: Family) -> Result<NormKind> {
    Ok(match family {
        Family::Gpt2 | Family::GptNeox => NormKind::Layer {
            eps: keys.required_positive("attention.layer_norm_epsilon")? as f32,
        },
        _ => NormKind::Rms {
            eps: keys.required_positive("attention.layer_norm_rms_epsilon")? as f32,
        },
    })
}

fn windows(keys: &mut Keys, family: Family) -> Result<Windows> {
    const WINDOW: &str = "attention.sliding_window";
    let pattern = match family {
        Family::Gemma2 => 2,
        Family::Gemma3 => 6,
        // Qwen's models do not use the window that this key states.
        Family::Qwen2 | Family::Qwen3 => {
            keys.ignore(&[WINDOW]);
            return Ok(Windows::NONE);
        }
        Family::Llama => {
            let window = keys.nonzero_or_null(WINDOW, None)?;
            let slides = Slides::Always;
            return Ok(window.map_or(Windows::NONE, |_| Windows { window, slides }));
        }
        _ => return Ok(Windows::NONE),
    };
    let window = match family {
        Family::Gemma2 => keys.nonzero_or_null(WINDOW, Some(4096))?,
        _ => Some(keys.required(WINDOW)?),
    };
    let pattern = keys.nonzero_or_null("attention.sliding_window_pattern", Some(pattern))?;
    Ok(Windows {
        window,
        slides: Slides::ExceptEvery(pattern.unwrap_or(1)),
    })
}

/// Positions, the rotation in layers without a window, and the rotation in layers with one.
fn rope(
    keys: &mut Keys,
    family: Family,
    shape: &Shape,
    factors: Option<Vec<f32>>,
) -> Result<(Positions, Option<Rope>, Option<Rope>)> {
    if family == Family::Gpt2 {
        return Ok((Positions::Learned, None, None));
    }
    let d_rot = keys.or("rope.dimension_count", shape.d_head)?;
    if d_rot != shape.d_head && family != Family::GptNeox {
        let what = format!(
            "is {d_rot}, but this family rotates whole heads of {}",
            shape.d_head
        );
        return Err(keys.unsupported("rope.dimension_count", &what));
    }
    let base = match family {
        Family::Gemma3 => 1_000_000.0,
        _ => 10_000.0,
    };
    let global = Rope {
        base: keys.positive_or("rope.freq_base", base)?,
        fraction: d_rot as f64 / shape.d_head as f64,
        scaling: scaling(keys, d_rot, factors)?,
    };
    let local = match family {
        Family::Gemma3 => Rope::plain(keys.positive_or("rope.freq_base_swa", 10_000.0)?),
        _ => global.clone(),
    };
    Ok((Positions::Rotary { d_rot }, Some(global), Some(local)))
}

fn scaling(keys: &mut Keys, d_rot: usize, factors: Option<Vec<f32>>) -> Result<Scaling> {
    let kind: Option<String> = keys.get("rope.scaling.type")?;
    let factor = keys.positive("rope.scaling.factor")?;
    keys.ignore(&[
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
    ]);
    match (kind.as_deref().unwrap_or("none"), factor, factors) {
        ("none", _, None) => Ok(Scaling::None),
        ("none", _, Some(factors)) => {
            let usable = |factor: &f32| factor.is_finite() && *factor > 0.0;
            if factors.len() == d_rot / 2 && factors.iter().all(usable) {
                return Ok(Scaling::Factors(factors));
            }
            let what = format!("is not {} numbers above 0", d_rot / 2);
            Err(Error::tensor(keys.path(), "rope_freqs.weight", what))
        }
        ("linear", Some(factor), None) => Ok(Scaling::Linear(factor)),
        (other, ..) => {
            let what = format!(
                "is \"{other}\"; supported are none, linear with a factor, and the tensor \
                 rope_freqs.weight without either"
            );
            Err(keys.unsupported("rope.scaling.type", &what))
        }
    }
}
