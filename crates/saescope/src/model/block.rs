//! The weights of a model, in one form for every family.

use saescope_kernels::{self as kernels, Matrix, Weight};

use super::config::NormKind;

/// `x W^T + b`.
pub(crate) struct Linear {
    pub(crate) weight: Weight,
    /// `[d_out]`
    pub(crate) bias: Option<Vec<f32>>,
}

/// Layer norm or RMS norm; the model's [`NormKind`] decides.
pub(crate) struct Norm {
    /// `[d]`; Gemma's "plus one" is already added.
    pub(crate) weight: Vec<f32>,
    /// `[d]`
    pub(crate) bias: Option<Vec<f32>>,
}

impl Norm {
    /// The norm in the form of the kernels.
    pub(crate) fn of(&self, kind: NormKind) -> kernels::Norm<'_> {
        match kind {
            NormKind::Layer { eps } => {
                kernels::Norm::layer(&self.weight, self.bias.as_deref(), eps)
            }
            NormKind::Rms { eps } => kernels::Norm::rms(&self.weight, eps),
        }
    }
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
    /// Gemma's norm of the output of attention.
    pub(crate) attn_post_norm: Option<Norm>,
    pub(crate) mlp_norm: Norm,
    /// Gated MLPs: rows of the gate, then rows of the up projection.
    pub(crate) mlp_in: Linear,
    pub(crate) mlp_out: Linear,
    /// Gemma's norm of the output of the MLP.
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
    /// `None` if the unembedding is the embedding.
    pub(crate) unembed: Option<Linear>,
}

impl Weights {
    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let matrices = self.matrices().map(Weight::bytes).sum::<usize>();
        matrices + 4 * self.vectors()
    }

    /// Number of parameters.
    pub(crate) fn n_params(&self) -> usize {
        let matrices = self.matrices().map(|weight| weight.d_out() * weight.d_in());
        matrices.sum::<usize>() + self.vectors()
    }

    fn linears<'a>(&'a self) -> impl Iterator<Item = &'a Linear> {
        let of_block =
            |block: &'a Block| [&block.qkv, &block.attn_out, &block.mlp_in, &block.mlp_out];
        self.blocks.iter().flat_map(of_block).chain(&self.unembed)
    }

    fn matrices(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.embed).chain(self.linears().map(|linear| &linear.weight))
    }

    /// Number of values of biases, norms and learned positions.
    fn vectors(&self) -> usize {
        let biases: usize = self
            .linears()
            .filter_map(|linear| linear.bias.as_ref())
            .map(Vec::len)
            .sum();
        let block_norms = self.blocks.iter().flat_map(|block| {
            let always = [&block.attn_norm, &block.mlp_norm];
            let sometimes = [
                &block.q_norm,
                &block.k_norm,
                &block.attn_post_norm,
                &block.mlp_post_norm,
            ];
            always.into_iter().chain(sometimes.into_iter().flatten())
        });
        let norms: usize = block_norms
            .chain(std::iter::once(&self.final_norm))
            .map(|norm| norm.weight.len() + norm.bias.as_ref().map_or(0, Vec::len))
            .sum();
        let positions = self
            .positions
            .as_ref()
            .map_or(0, |positions| positions.data().len());
        biases + norms + positions
    }
}
