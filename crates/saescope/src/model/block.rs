//! The weights of a model, in one shape for every family.

use saescope_kernels::{Matrix, Weight};

/// `x W^T + b`.
pub(crate) struct Linear {
    pub(crate) weight: Weight,
    /// `[d_out]`
    pub(crate) bias: Option<Vec<f32>>,
}

/// Layer norm or RMS norm; which of the two is the model's [`NormKind`](super::config::NormKind).
pub(crate) struct Norm {
    /// `[d]`; Gemma's "plus one" is already added.
    pub(crate) weight: Vec<f32>,
    /// `[d]`
    pub(crate) bias: Option<Vec<f32>>,
}

/// One transformer block.
pub(crate) struct Block {
    pub(crate) attn_norm: Norm,
    /// Rows of all query heads, then all key heads, then all value heads; rotary pairs are
    /// `(i, i + d_rot / 2)` within a head.
    pub(crate) qkv: Linear,
    /// Per-head norms of queries and keys, `[d_head]`.
    pub(crate) q_norm: Option<Norm>,
    pub(crate) k_norm: Option<Norm>,
    pub(crate) attn_out: Linear,
    /// Gemma norms what attention adds to the residual.
    pub(crate) attn_post_norm: Option<Norm>,
    pub(crate) mlp_norm: Norm,
    /// Gated MLPs: rows of the gate, then rows of the up projection.
    pub(crate) mlp_in: Linear,
    pub(crate) mlp_out: Linear,
    /// Gemma norms what the MLP adds to the residual.
    pub(crate) mlp_post_norm: Option<Norm>,
}

/// Every weight of a model.
pub(crate) struct Weights {
    /// `[d_vocab, d_model]`
    pub(crate) embed: Weight,
    /// Learned positions, `[n_ctx, d_model]`.
    pub(crate) positions: Option<Matrix>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Norm,
    /// `None` when the unembedding is the embedding.
    pub(crate) unembed: Option<Linear>,
}
