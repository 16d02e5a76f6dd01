//! Hugging Face's `config.json`, in the spelling of every transformers version up to 5.
//!
//! An absent key has the default of the family's own configuration class.

use std::path::Path;

use serde_json::{Map, Value};

use super::keys::Keys;
use super::llama_like::{defaults_of, gemma3_multimodal, llama_like};
use super::parts::{activation, head_width, inverse_root, rope_object, unknown_family};
use super::rope::Rope;
use super::{Config, Family, LayerConfig, MlpKind, NormKind, Parsed, Positions, Presence, Tensors};
use crate::error::{Error, Result};
use crate::stand_in;

/// Reads a `config.json`.
pub(crate) fn from_hf(path: &Path) -> Result<Parsed> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    parse(path, &bytes)
}

/// Reads the bytes of a `config.json`; errors name `path`.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed> {
    stand_in::check_text(path, bytes)?;
    let map: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| Error::format(path, format!("not a JSON object: {error}")))?;
    let mut keys = Keys::new(path, "", map);
    let model_type: String = keys.required("model_type")?;
    match model_type.as_str() {
        "gpt2" => gpt2(keys),
        "gpt_neox" => gpt_neox(keys),
        "gemma3" => gemma3_multimodal(keys),
        other => match defaults_of(other) {
            Some(defaults) => llama_like(keys, defaults),
            None => Err(unknown_family(path, "model_type", other)),
        },
    }
}

fn gpt2(mut keys: Keys) -> Result<Parsed> {
    let path = keys.path().to_path_buf();
    let d_model: usize = keys.required("n_embd")?;
    let n_heads: usize = keys.required("n_head")?;
    let d_head = head_width(&path, d_model, n_heads)?;
    let scaled: bool = keys.or("scale_attn_weights", true)?;
    // transformers reads n_positions instead.
    keys.ignore(&["n_ctx"]);
    let config = Config {
        family: Family::Gpt2,
        n_ctx: keys.or("n_positions", 1024)?,
        d_vocab: keys.required("vocab_size")?,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: keys.or("n_inner", d_model.saturating_mul(4))?,
        norm: NormKind::Layer {
            eps: keys.positive_or("layer_norm_epsilon", 1e-5)? as f32,
        },
        positions: Positions::Learned,
        mlp: MlpKind {
            activation: activation(&mut keys, "activation_function", "gelu_new")?,
            gated: false,
        },
        parallel_residual: false,
        attn_scale: if scaled {
            inverse_root(d_head as f64)
        } else {
            1.0
        },
        attn_scale_by_layer: keys.or("scale_attn_by_inverse_layer_idx", false)?,
        attn_softcap: None,
        logit_softcap: None,
        embed_scale: None,
        layers: Vec::new(),
    };
    let n_layers = keys.required("n_layer")?;
    let tensors = Tensors {
        tied: keys.or("tie_word_embeddings", true)?.into(),
        qkv_bias: Presence::Yes,
        attn_out_bias: Presence::Yes,
        mlp_bias: Presence::Yes,
    };
    keys.finish()?;
    let config = config.with_layers(&path, n_layers, |_| LayerConfig::learned())?;
    Ok(Parsed { config, tensors })
}

fn gpt_neox(mut keys: Keys) -> Result<Parsed> {
    let path = keys.path().to_path_buf();
    let d_model: usize = keys.required("hidden_size")?;
    let n_heads: usize = keys.required("num_attention_heads")?;
    let d_head = head_width(&path, d_model, n_heads)?;
    let n_ctx = keys.or("max_position_embeddings", 2048)?;
    let default = Rope {
        fraction: keys.positive_or("rotary_pct", 0.25)?,
        ..Rope::plain(keys.positive_or("rotary_emb_base", 10_000.0)?)
    };
    let rope = Rope::read(rope_object(&mut keys)?, default, n_ctx)?;
    let d_rot = rope.d_rot(d_head);
    let config = Config {
        family: Family::GptNeox,
        n_ctx,
        d_vocab: keys.required("vocab_size")?,
        d_model,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: keys.required("intermediate_size")?,
        norm: NormKind::Layer {
            eps: keys.positive_or("layer_norm_eps", 1e-5)? as f32,
        },
        positions: Positions::Rotary { d_rot },
        mlp: MlpKind {
            activation: activation(&mut keys, "hidden_act", "gelu")?,
            gated: false,
        },
        parallel_residual: keys.or("use_parallel_residual", true)?,
        attn_scale: inverse_root(d_head as f64),
        attn_scale_by_layer: false,
        attn_softcap: None,
        logit_softcap: None,
        embed_scale: None,
        layers: Vec::new(),
    };
    let n_layers = keys.required("num_hidden_layers")?;
    let attention_bias = Presence::from(keys.or("attention_bias", true)?);
    let tensors = Tensors {
        tied: keys.or("tie_word_embeddings", false)?.into(),
        qkv_bias: attention_bias,
        attn_out_bias: attention_bias,
        mlp_bias: Presence::Yes,
    };
    keys.finish()?;
    let config = config.with_layers(&path, n_layers, |_| {
        LayerConfig::new(None, Some(rope.clone()), d_rot)
    })?;
    Ok(Parsed { config, tensors })
}
