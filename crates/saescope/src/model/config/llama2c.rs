//! The configuration of a llama2.c file, whose seven numbers state only sizes.

use std::path::Path;

use saescope_kernels::Activation;

use super::parts::{head_width, inverse_root};
use super::{Config, Family, LayerConfig, MlpKind, NormKind, Parsed, Positions, Tensors};
use crate::checkpoint::llama2c::Header;
use crate::error::Result;

/// Completes the sizes of the header with the maths that `run.c` applies to every model.
pub(crate) fn from_llama2c(path: &Path, header: &Header) -> Result<Parsed> {
    let d_head = head_width(path, header.dim, header.n_heads)?;
    let config = Config {
        family: Family::Llama,
        n_ctx: header.seq_len,
        d_vocab: header.vocab_size,
        d_model: header.dim,
        n_heads: header.n_heads,
        n_kv_heads: header.n_kv_heads,
        d_head,
        d_mlp: header.hidden_dim,
        norm: NormKind::Rms { eps: 1e-5 },
        positions: Positions::Rotary { d_rot: d_head },
        mlp: MlpKind {
            activation: Activation::Silu,
            gated: true,
        },
        parallel_residual: false,
        attn_scale: inverse_root(d_head as f64),
        attn_scale_by_layer: false,
        attn_softcap: None,
        logit_softcap: None,
        embed_scale: None,
        layers: Vec::new(),
    };
    let config = config.with_layers(path, header.n_layers, |_| {
        LayerConfig::rotary(None, 10_000.0, d_head)
    })?;
    let tensors = Tensors {
        tied: header.shared_classifier.into(),
        qkv_bias: false.into(),
        attn_out_bias: false.into(),
        mlp_bias: false.into(),
    };
    Ok(Parsed { config, tensors })
}
