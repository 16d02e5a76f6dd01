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

/// Keys that change nothing in these families, each by its source.
const UNREAD: &[&str] = &[
    // llama.cpp's converter: not every file has it; the rows of the embedding state it in all.
    "vocab_size",
    // llama.cpp's converter: the origin of the order of rows, which the loader undoes.
    "tensor_data_layout",
    // Ollama's convert_qwen2.go and convert_qwen3.go, and llama.cpp's name for it: the parts of a head that
    // rotate by time, height and width, which are one number for text.
    "rope.mrope_section",
    "rope.dimension_sections",
    // llama.cpp's converter for embedding models: what a server does with the last layer's output.
    "pooling_type",
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
    drop_old_cap(&mut keys, family);
    let windows = windows(&mut keys, family, shape.n_layers)?;
    let (positions, rope, local_rope) = rope(&mut keys, family, &shape, stored.rope_factors)?;
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
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
        attn_scale: attn_scale(&mut keys, family, &shape)?,
        attn_scale_by_layer: false,
        attn_softcap: soft_cap(&mut keys, family, "attn_logit_softcapping", 50.0)?,
        logit_softcap: soft_cap(&mut keys, family, "final_logit_softcapping", 30.0)?,
        embed_scale: gemma.then(|| (shape.d_model as f64).sqrt() as f32),
        layers: Vec::new(),
    };
    keys.ignore(UNREAD);
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
        // Ollama's convert_llama.go writes head_dim besides, llama.cpp the widths of layers with a window.
        for key in [
            "attention.value_length",
            "attention.head_dim",
            "attention.key_length_swa",
            "attention.value_length_swa",
        ] {
            let width = keys.or(key, d_head)?;
            if width != d_head {
                let what = format!("is {width}, but keys have {d_head}; saescope needs them equal");
                return Err(keys.unsupported(key, &what));
            }
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

/// The factor of scores, and a check of the key in which a file may state it.
fn attn_scale(keys: &mut Keys, family: Family, shape: &Shape) -> Result<f32> {
    const SCALE: &str = "attention.scale";
    let scale = inverse_root(shape.scored_width(family));
    match keys.positive(SCALE)? {
        Some(stated) if (stated as f32 - scale).abs() > 1e-5 * scale => {
            let what = format!("is {stated}, but this family scales scores by {scale}");
            Err(keys.unsupported(SCALE, &what))
        }
        _ => Ok(scale),
    }
}

fn norm(keys: &mut Keys, family: Family) -> Result<NormKind> {
    const RMS: &str = "attention.layer_norm_rms_epsilon";
    const LAYER: &str = "attention.layer_norm_epsilon";
    let eps = match family {
        Family::Gpt2 | Family::GptNeox => {
            let eps = keys.required_positive(LAYER)? as f32;
            return Ok(NormKind::Layer { eps });
        }
        // Ollama omits it for some Gemma 3 and takes the default of transformers.
        Family::Gemma2 | Family::Gemma3 => keys.positive_or(RMS, 1e-6)?,
        _ => keys.required_positive(RMS)?,
    };
    // Ollama's convert_llama.go copies it from a configuration; nobody reads it beside the other.
    keys.ignore(&[LAYER]);
    Ok(NormKind::Rms { eps: eps as f32 })
}

/// A soft cap of Gemma; other families have none. `gemma2` is the default of Gemma 2.
fn soft_cap(keys: &mut Keys, family: Family, key: &str, gemma2: f64) -> Result<Option<f32>> {
    match family {
        Family::Gemma2 => keys.cap(key, Some(gemma2)),
        Family::Gemma3 => keys.cap(key, None),
        _ => Ok(None),
    }
}

/// Removes the soft cap of 30 that Ollama's first converter wrote for every Gemma 3, none of which has one.
/// Its files are known by their spelling of rotary bases, and by no list of layers, which later ones have;
/// Ollama applies no cap to them either.
fn drop_old_cap(keys: &mut Keys, family: Family) {
    const CAP: &str = "final_logit_softcapping";
    let old = ["rope.local.freq_base", "rope.global.freq_base"];
    let spelled = old.iter().any(|key| keys.has(key));
    if family == Family::Gemma3 && spelled && !keys.has(PATTERN) && keys.is(CAP, 30.0) {
        keys.ignore(&[CAP]);
    }
}

const PATTERN: &str = "attention.sliding_window_pattern";

fn windows(keys: &mut Keys, family: Family, n_layers: usize) -> Result<Windows> {
    const WINDOW: &str = "attention.sliding_window";
    let every = match family {
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
    let slides = slides(keys, every, n_layers)?;
    Ok(Windows { window, slides })
}

/// The layers with a window: all but every n-th, by llama.cpp's number, or as Ollama lists them.
fn slides(keys: &mut Keys, every: usize, n_layers: usize) -> Result<Slides> {
    let listed: Option<Value> = keys.peek(PATTERN);
    let Some(Value::Array(listed)) = listed else {
        let every = keys.nonzero_or_null(PATTERN, Some(every))?;
        return Ok(Slides::ExceptEvery(every.unwrap_or(1)));
    };
    keys.ignore(&[PATTERN]);
    if listed.len() != n_layers {
        let what = format!(
            "lists {} layers, but the model has {n_layers}",
            listed.len()
        );
        return Err(keys.wrong(PATTERN, &what));
    }
    let truths: Option<Vec<bool>> = listed
        .iter()
        .map(|value| value.as_bool().or_else(|| Some(value.as_u64()? != 0)))
        .collect();
    let truths =
        truths.ok_or_else(|| keys.wrong(PATTERN, "lists something else than true and false"))?;
    Ok(Slides::Listed(truths))
}

/// A number above 0 that files spell in several ways, which have to agree; `default` if none is there.
fn agreed(keys: &mut Keys, names: &[&str], default: f64) -> Result<f64> {
    let mut found: Option<(&str, f64)> = None;
    for name in names {
        let Some(number) = keys.positive(name)? else {
            continue;
        };
        match found {
            Some((other, before)) if before != number => {
                let what = format!("is {number}, but `{other}` is {before}");
                return Err(keys.unsupported(name, &what));
            }
            _ => found = Some((name, number)),
        }
    }
    Ok(found.map_or(default, |(_, number)| number))
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
    let d_rot_local = keys.or("rope.dimension_count_swa", d_rot)?;
    if d_rot_local != d_rot {
        let what = format!("is {d_rot_local}, but `rope.dimension_count` is {d_rot}");
        return Err(keys.unsupported("rope.dimension_count_swa", &what));
    }
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
        // Ollama's first spelling of Gemma 3's is the second.
        base: agreed(keys, &["rope.freq_base", "rope.global.freq_base"], base)?,
        fraction: d_rot as f64 / shape.d_head as f64,
        scaling: scaling(keys, d_rot, factors)?,
    };
    let local = match family {
        // llama.cpp's spelling, and Ollama's.
        Family::Gemma3 => {
            let names = ["rope.freq_base_swa", "rope.local.freq_base"];
            Rope::plain(agreed(keys, &names, 10_000.0)?)
        }
        _ => global.clone(),
    };
    Ok((Positions::Rotary { d_rot }, Some(global), Some(local)))
}

fn scaling(keys: &mut Keys, d_rot: usize, factors: Option<Vec<f32>>) -> Result<Scaling> {
    let kind: Option<String> = keys.get("rope.scaling.type")?;
    // The second is the spelling of old files. A factor without a kind is linear, as in llama.cpp.
    let factor = agreed(keys, &["rope.scaling.factor", "rope.scale_linear"], 1.0)?;
    let unstated = if factor == 1.0 { "none" } else { "linear" };
    keys.ignore(&[
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
    ]);
    match (kind.as_deref().unwrap_or(unstated), factor, factors) {
        ("none", _, None) => Ok(Scaling::None),
        ("none", _, Some(factors)) => {
            let usable = |factor: &f32| factor.is_finite() && *factor > 0.0;
            if factors.len() == d_rot / 2 && factors.iter().all(usable) {
                return Ok(Scaling::Factors(factors));
            }
            let what = format!("is not {} numbers above 0", d_rot / 2);
            Err(Error::tensor(keys.path(), "rope_freqs.weight", what))
        }
        ("linear", 1.0, None) => Ok(Scaling::None),
        ("linear", factor, None) => Ok(Scaling::Linear(factor)),
        (other, ..) => {
            let what = format!(
                "is \"{other}\"; supported are none, linear with a factor, and the tensor \
                 rope_freqs.weight without either"
            );
            Err(keys.unsupported("rope.scaling.type", &what))
        }
    }
}
