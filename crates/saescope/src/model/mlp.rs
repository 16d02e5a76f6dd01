//! The MLP half of a block.

use saescope_kernels::{Epilogue, Matrix, Operand, gated};

use super::block::Block;
use super::pass::{Halt, Pass};
use crate::site::Site;

/// `x` plus the output of the MLP, which reads `input` or, without one, `x`: `[rows, d_model]`.
pub(crate) fn forward(
    block: &Block,
    layer: usize,
    pass: &mut Pass,
    input: Option<&Matrix>,
    x: Matrix,
) -> Result<Matrix, Halt> {
    let (norm_site, act_site) = (Site::MlpNorm(layer), Site::MlpAct(layer));
    let out_site = Site::MlpOut(layer);
    let (out, post_norm) = (&block.mlp_out, block.mlp_post_norm.as_ref());
    let kind = pass.config.mlp;
    let epilogue = if kind.gated {
        Epilogue::Keep
    } else {
        Epilogue::Activate(kind.activation)
    };
    let input = input.unwrap_or(&x);
    // [rows, 2 d_mlp] if the MLP is gated, else [rows, d_mlp]
    let mut act =
        pass.linear_of_norm(norm_site, &block.mlp_norm, &block.mlp_in, input, epilogue)?;
    if kind.gated && pass.fuses(act_site, out) {
        let gated = Operand::Gated(kind.activation, &act);
        let x = pass.write(out_site, out, post_norm, gated, x)?;
        pass.give(act);
        return Ok(x);
    }
    if kind.gated {
        let mut product = pass.take(act.cols() / 2);
        gated(kind.activation, &act, &mut product);
        pass.give(std::mem::replace(&mut act, product));
    }
    let act = pass.at(act_site, act)?; // [rows, d_mlp]
    let x = pass.write(out_site, out, post_norm, (&act).into(), x)?;
    pass.give(act);
    Ok(x)
}
