//! Readers of keys that several families and formats share.

use std::path::Path;

use saescope_kernels::Activation;

use super::keys::Keys;
use crate::error::{Error, Result};

/// The error of a family that is not implemented.
pub(super) fn unknown_family(path: &Path, key: &str, name: &str) -> Error {
    Error::Unsupported {
        path: path.to_path_buf(),
        reason: format!(
            "`{key}` is \"{name}\"; supported families are GPT-2, GPT-NeoX, Llama, Mistral, Qwen2, \
             Qwen3, Gemma 2 and Gemma 3"
        ),
    }
}

/// The rotary settings under their old or new name; the old name wins, as in transformers.
pub(super) fn rope_object(keys: &mut Keys) -> Result<Option<Keys>> {
    let old = keys.object("rope_scaling")?;
    let new = keys.object("rope_parameters")?;
    Ok(old.or(new))
}

/// Width of a head when the configuration does not state it: `d_model / n_heads`.
pub(super) fn head_width(path: &Path, d_model: usize, n_heads: usize) -> Result<usize> {
    if n_heads == 0 || !d_model.is_multiple_of(n_heads) {
        let reason = format!("a residual width of {d_model} does not divide into {n_heads} heads");
        return Err(Error::format(path, reason));
    }
    Ok(d_model / n_heads)
}

/// The factor of attention scores that divides them by the root of `scalar`.
pub(super) fn inverse_root(scalar: f64) -> f32 {
    scalar.powf(-0.5) as f32
}

/// The activation function that `key` names.
pub(super) fn activation(keys: &mut Keys, key: &str, default: &str) -> Result<Activation> {
    let name: String = keys.or(key, default.to_owned())?;
    match name.as_str() {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        // These names stand for one formula, written in different orders.
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
            Ok(Activation::GeluTanh)
        }
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        other => {
            let what = format!("is \"{other}\"; supported are gelu, gelu_new, silu and relu");
            Err(keys.unsupported(key, &what))
        }
    }
}
