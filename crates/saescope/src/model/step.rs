//! The order of attention and MLP in a block.

use saescope_kernels::Matrix;

use super::block::Block;
use super::pass::{Halt, Pass};
use super::{attention, mlp};
use crate::site::Site;

/// Takes `x` from `site` to the next place in the residual stream, and returns both.
///
/// `site` must be before the end of `block`. A pass may begin at any of these places, so a block
/// runs as two steps; where attention and MLP read the same residual, as one.
pub(crate) fn step(
    block: &Block,
    site: Site,
    pass: &mut Pass,
    x: Matrix, // [rows, d_model]
) -> Result<(Site, Matrix), Halt> {
    let layer = site.layer().unwrap_or_default();
    if matches!(site, Site::ResidMid(_)) {
        let x = mlp::forward(block, layer, pass, None, x)?;
        return Ok((Site::ResidPost(layer), x));
    }
    if pass.config.parallel_residual {
        let input = x.clone();
        let x = attention::forward(block, layer, pass, x)?;
        let x = mlp::forward(block, layer, pass, Some(&input), x)?;
        return Ok((Site::ResidPost(layer), x));
    }
    let x = attention::forward(block, layer, pass, x)?;
    Ok((Site::ResidMid(layer), x))
}
