//! The MLP half of a block.

use saescope_kernels::{Matrix, Then, gated};

use super::block::Block;
use super::pass::{Halt, Pass};
use crate::site::Site;

/// `x` plus what the MLP adds to it, having read `input`.
pub(crate) fn forward(
    block: &Block,
    layer: usize,
    pass: &mut Pass,
    input: Option<&Matrix>,
    x: Matrix,
) -> Result<Matrix, Halt> {
    let normed = pass.norm(&block.mlp_norm, input.unwrap_or(&x));
    let normed = pass.at(Site::MlpNorm(layer), normed)?;
    let kind = pass.config.mlp;
    let act = if kind.gated {
        let both = pass.linear(&block.mlp_in, &normed, Then::Keep); // [rows, 2 d_mlp]
        let mut act = pass.take(both.cols() / 2);
        gated(kind.activation, &both, &mut act);
        pass.give(both);
        act
    } else {
        pass.linear(&block.mlp_in, &normed, Then::Activate(kind.activation))
    };
    pass.give(normed);
    let act = pass.at(Site::MlpAct(layer), act)?; // [rows, d_mlp]
    pass.write(
        Site::MlpOut(layer),
        (&block.mlp_out, block.mlp_post_norm.as_ref()),
        act,
        x,
    )
}
