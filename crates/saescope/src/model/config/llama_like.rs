//! Hugging Face's `config.json` for the families that descend from Llama: one table, one reader.

use super::keys::Keys;
use super::parts::{activation, head_width, inverse_root, rope_object, unknown_family};
use super::rope::Rope;
use super::window::{Slides, Windows};
use super::{Config, Family, LayerConfig, MlpKind, NormKind, Parsed, Positions, Tensors};
use crate::error::Result;

/// The defaults of one family's configuration class.
pub(super) struct FamilyDefaults {
    family: Family,
    n_ctx: usize,
    /// `None` for as many as query heads.
    n_kv_heads: Option<usize>,
    /// `None` for `d_model / n_heads`.
    d_head: Option<usize>,
    rope_theta: f64,
    tied: bool,
    activation_key: &'static str,
    activation: &'static str,
    /// Sizes that published configurations omit; `None` if every size is required.
    sizes: Option<Sizes>,
}

struct Sizes {
    d_vocab: usize,
    d_model: usize,
    d_mlp: usize,
    n_layers: usize,
    n_heads: usize,
}

const LLAMA: FamilyDefaults = FamilyDefaults {
    family: Family::Llama,
    n_ctx: 2048,
    n_kv_heads: None,
    d_head: None,
    rope_theta: 10_000.0,
    tied: false,
    activation_key: "hidden_act",
    activation: "silu",
    sizes: None,
};

const GEMMA2: FamilyDefaults = FamilyDefaults {
    family: Family::Gemma2,
    n_ctx: 8192,
    n_kv_heads: Some(4),
    d_head: Some(256),
    tied: true,
    activation_key: "hidden_activation",
    activation: "gelu_pytorch_tanh",
    ..LLAMA
};

const GEMMA3: FamilyDefaults = FamilyDefaults {
    family: Family::Gemma3,
    n_ctx: 131_072,
    rope_theta: 1_000_000.0,
    // The configuration of the 4B checkpoint states only sizes that differ from these.
    sizes: Some(Sizes {
        d_vocab: 262_208,
        d_model: 2304,
        d_mlp: 9216,
        n_layers: 26,
        n_heads: 8,
    }),
    ..GEMMA2
};

const LLAMA_LIKE: &[FamilyDefaults] = &[
    LLAMA,
    FamilyDefaults {
        family: Family::Mistral,
        n_ctx: 131_072,
        n_kv_heads: Some(8),
        ..LLAMA
    },
    FamilyDefaults {
        family: Family::Qwen2,
        n_ctx: 32_768,
        n_kv_heads: Some(32),
        ..LLAMA
    },
    FamilyDefaults {
        family: Family::Qwen3,
        n_ctx: 32_768,
        n_kv_heads: Some(32),
        d_head: Some(128),
        ..LLAMA
    },
    GEMMA2,
    GEMMA3,
];

/// The defaults of a `model_type`; none if it does not descend from Llama.
pub(super) fn defaults_of(model_type: &str) -> Option<&'static FamilyDefaults> {
    LLAMA_LIKE
        .iter()
        .find(|defaults| defaults.family.to_string() == model_type)
}

/// Reads Gemma 3 with its vision tower, which keeps the keys of the text model in an object.
pub(super) fn gemma3_multimodal(mut keys: Keys) -> Result<Parsed> {
    let Some(mut text) = keys.object("text_config")? else {
        return Err(keys.wrong("text_config", "is missing"));
    };
    let model_type = text.or("model_type", Family::Gemma3.to_string())?;
    if model_type != Family::Gemma3.to_string() {
        return Err(unknown_family(
            keys.path(),
            "text_config.model_type",
            &model_type,
        ));
    }
    keys.ignore(&["vision_config", "mm_tokens_per_image"]);
    let tied = keys.get("tie_word_embeddings")?;
    keys.finish()?;
    // The unembedding belongs to the outer model, so the outer key decides.
    let in_text = text.or("tie_word_embeddings", GEMMA3.tied)?;
    let mut parsed = llama_like(text, &GEMMA3)?;
    parsed.tensors.tied = tied.unwrap_or(in_text).into();
    Ok(parsed)
}

/// Reads the configuration of a family whose absent keys mean `defaults`.
pub(super) fn llama_like(mut keys: Keys, defaults: &FamilyDefaults) -> Result<Parsed> {
    let path = keys.path().to_path_buf();
    let (family, sizes) = (defaults.family, defaults.sizes.as_ref());
    let d_model = size(&mut keys, "hidden_size", sizes.map(|s| s.d_model))?;
    let n_heads = size(&mut keys, "num_attention_heads", sizes.map(|s| s.n_heads))?;
    let n_layers = size(&mut keys, "num_hidden_layers", sizes.map(|s| s.n_layers))?;
    let n_kv_heads = keys.or_null("num_key_value_heads", defaults.n_kv_heads)?;
    let d_head = match keys.or_null("head_dim", defaults.d_head)? {
        Some(d_head) => d_head,
        None => head_width(&path, d_model, n_heads)?,
    };
    let n_ctx = keys.or("max_position_embeddings", defaults.n_ctx)?;
    let (local_rope, rope) = ropes(&mut keys, defaults, n_ctx)?;
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    if gemma {
        // Gemma's own implementation reads `hidden_activation` instead.
        keys.ignore(&["hidden_act"]);
    }
    let caps = SoftCaps::read(&mut keys, family)?;
    let config = Config {
        family,
        n_ctx,
        d_vocab: size(&mut keys, "vocab_size", sizes.map(|s| s.d_vocab))?,
        d_model,
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(n_heads),
        d_head,
        d_mlp: size(&mut keys, "intermediate_size", sizes.map(|s| s.d_mlp))?,
        norm: NormKind::Rms {
            eps: keys.positive_or("rms_norm_eps", 1e-6)? as f32,
        },
        positions: Positions::Rotary { d_rot: d_head },
        mlp: MlpKind {
            activation: activation(&mut keys, defaults.activation_key, defaults.activation)?,
            gated: true,
        },
        parallel_residual: false,
        attn_scale: inverse_root(if gemma {
            keys.positive_or("query_pre_attn_scalar", 256.0)?
        } else {
            d_head as f64
        }),
        attn_scale_by_layer: false,
        attn_softcap: caps.attn,
        logit_softcap: caps.logit,
        embed_scale: gemma.then(|| (d_model as f64).sqrt() as f32),
        layers: Vec::new(),
    };
    let windows = windows(&mut keys, family)?.listed(&mut keys, n_layers)?;
    let tensors = llama_like_tensors(&mut keys, defaults)?;
    keys.finish()?;
    let config = config.with_layers(&path, n_layers, |layer| {
        let rope = if windows.slides(layer) {
            &local_rope
        } else {
            &rope
        };
        LayerConfig::new(windows.at(layer), Some(rope.clone()), d_head)
    })?;
    Ok(Parsed { config, tensors })
}

/// The rotations in layers with and without a window, which differ only in Gemma 3.
fn ropes(keys: &mut Keys, defaults: &FamilyDefaults, n_ctx: usize) -> Result<(Rope, Rope)> {
    let default = Rope::plain(keys.positive_or("rope_theta", defaults.rope_theta)?);
    if defaults.family != Family::Gemma3 {
        let rope = Rope::read(rope_object(keys)?, default, n_ctx)?;
        return Ok((rope.clone(), whole_heads(keys, rope)?));
    }
    let local = Rope::plain(keys.positive_or("rope_local_base_freq", 10_000.0)?);
    let (local, global) = match keys.object("rope_parameters")? {
        Some(mut by_type) => {
            let local = Rope::read(by_type.object("sliding_attention")?, local, n_ctx)?;
            let global = Rope::read(by_type.object("full_attention")?, default, n_ctx)?;
            by_type.finish()?;
            (local, global)
        }
        None => (local, default),
    };
    let global = Rope::read(keys.object("rope_scaling")?, global, n_ctx)?;
    Ok((whole_heads(keys, local)?, whole_heads(keys, global)?))
}

/// Refuses a rotation of only a part of each head, which only GPT-NeoX has.
fn whole_heads(keys: &Keys, rope: Rope) -> Result<Rope> {
    if rope.fraction == 1.0 {
        return Ok(rope);
    }
    let what = format!("is {}, but this family rotates whole heads", rope.fraction);
    Err(keys.unsupported("rope_parameters.partial_rotary_factor", &what))
}

struct SoftCaps {
    attn: Option<f32>,
    logit: Option<f32>,
}

impl SoftCaps {
    /// Gemma's soft caps; other families ignore the keys, which are then refused.
    fn read(keys: &mut Keys, family: Family) -> Result<SoftCaps> {
        let (attn, logit) = match family {
            Family::Gemma2 => (Some(50.0), Some(30.0)),
            Family::Gemma3 => (None, None),
            _ => {
                return Ok(SoftCaps {
                    attn: None,
                    logit: None,
                });
            }
        };
        Ok(SoftCaps {
            attn: keys.cap("attn_logit_softcapping", attn)?,
            logit: keys.cap("final_logit_softcapping", logit)?,
        })
    }
}

/// The layers that have a window, before `layer_types` is read.
fn windows(keys: &mut Keys, family: Family) -> Result<Windows> {
    let default_window = Some(4096);
    Ok(match family {
        Family::Mistral => Windows {
            window: keys.nonzero_or_null("sliding_window", default_window)?,
            slides: Slides::Always,
        },
        Family::Qwen2 | Family::Qwen3 => {
            let used: bool = keys.or("use_sliding_window", false)?;
            let window = keys.nonzero_or_null("sliding_window", default_window)?;
            let first = keys.or("max_window_layers", 28)?;
            match window {
                Some(_) if used => Windows {
                    window,
                    slides: Slides::From(first),
                },
                _ => Windows::NONE,
            }
        }
        Family::Gemma2 => Windows {
            window: keys.nonzero_or_null("sliding_window", default_window)?,
            slides: Slides::ExceptEvery(2),
        },
        Family::Gemma3 => Windows {
            window: keys.nonzero_or_null("sliding_window", default_window)?,
            slides: Slides::ExceptEvery(
                keys.nonzero_or_null("sliding_window_pattern", None)?
                    .unwrap_or(6),
            ),
        },
        Family::Gpt2 | Family::GptNeox | Family::Llama => Windows::NONE,
    })
}

/// The presence of biases and of an unembedding of its own.
fn llama_like_tensors(keys: &mut Keys, defaults: &FamilyDefaults) -> Result<Tensors> {
    let tied = keys.or("tie_word_embeddings", defaults.tied)?.into();
    let (qkv, attn_out, mlp) = match defaults.family {
        Family::Qwen2 => {
            // Qwen2 always has these biases; its own implementation does not read the key.
            keys.ignore(&["attention_bias"]);
            (true, false, false)
        }
        Family::Mistral => (false, false, false),
        _ => {
            let attention = keys.or("attention_bias", false)?;
            let mlp = defaults.family == Family::Llama && keys.or("mlp_bias", false)?;
            (attention, attention, mlp)
        }
    };
    Ok(Tensors {
        tied,
        qkv_bias: qkv.into(),
        attn_out_bias: attn_out.into(),
        mlp_bias: mlp.into(),
    })
}

/// A size, required unless the family's published configurations omit it.
fn size(keys: &mut Keys, key: &str, default: Option<usize>) -> Result<usize> {
    match default {
        Some(default) => keys.or(key, default),
        None => keys.required(key),
    }
}
