//! The MLP half of a block.

use saescope_kernels::{Epilogue, Matrix, Operand, gated};

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
    let (kind, act_site) = (pass.config.mlp, Site::MlpAct(layer));
    let (site, weights) = (Site::MlpNorm(layer), (&block.mlp_norm, &block.mlp_in));
    let (out_site, out) = (
        Site::MlpOut(layer),
        (&block.mlp_out, block.mlp_post_norm.as_ref()),
    );
    let then = match kind.gated {
        true => Epilogue::Keep,
        false => Epilogue::Activate(kind.activation),
    };
    // [rows, 2 d_mlp] where it is gated, else [rows, d_mlp]
    let mut act = pass.linear_of_norm(site, weights, input.unwrap_or(&x), then)?;
    if kind.gated && pass.skips(act_site, &block.mlp_out) {
        let x = pass.write(out_site, out, Operand::Gated(kind.activation, &act), x)?;
        pass.give(act);
        return Ok(x);
    }
    if kind.gated {
        let mut product = pass.take(act.cols() / 2);
        gated(kind.activation, &act, &mut product);
        pass.give(std::mem::replace(&mut act, product));
    }
    let act = pass.at(act_site, act)?; // [rows, d_mlp]
    let x = pass.write(out_site, out, (&act).into(), x)?;
    pass.give(act);
    Ok(x)
}
