//! The fit of an autoencoder: how well it reconstructs a model's activations on some text.

use serde::Serialize;

use super::check;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sae::Sae;
use crate::variance::fvu;

/// The fit of an autoencoder on some text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Number of tokens, first positions omitted.
    pub tokens: usize,
    /// Mean number of active features on a token.
    pub l0: f64,
    /// Fraction of variance unexplained: `sum |x - y|^2 / sum |x - mean x|^2` over all tokens, where
    /// `y` is the reconstruction of `x`.
    pub fvu: f64,
    /// The same with the first position of every prompt.
    pub fvu_with_first: f64,
    /// True if the FVU is above 1: the mean alone would be a better reconstruction.
    pub mismatch: bool,
}

/// Measures how well `sae` reconstructs the activations of `model` on `prompts`.
///
/// # Errors
/// When the model does not fit the autoencoder, or there is no variance: fewer than two tokens after
/// the first of their prompts.
pub fn fit(model: &Model, sae: &Sae, prompts: &[&[u32]]) -> Result<Fit> {
    check(model, sae)?;
    let (site, out_site) = (sae.site()?, sae.out_site()?);
    let (mut rows, mut start) = (Vec::new(), 0);
    for prompt in prompts {
        rows.extend(start + 1..start + prompt.len());
        start += prompt.len();
    }
    let x = model.activations(prompts, site, &mut ())?; // [tokens, d_in]
    let target = if out_site == site {
        x.clone()
    } else {
        model.activations(prompts, out_site, &mut ())? // [tokens, d_out]
    };
    let encoded = sae.encode(&x)?;
    let y = sae.decode(&encoded);
    let active: usize = rows
        .iter()
        .map(|&row| encoded.features.row(row).0.len())
        .sum();
    let all: Vec<usize> = (0..start).collect();
    let unexplained = |rows: &[usize]| {
        fvu(&target, &y, rows).ok_or_else(|| {
            let message = "the text is too short to tell how well it is reconstructed";
            Error::Argument(message.to_owned())
        })
    };
    let fvu = unexplained(&rows)?;
    Ok(Fit {
        tokens: rows.len(),
        l0: active as f64 / rows.len() as f64,
        fvu,
        fvu_with_first: unexplained(&all)?,
        mismatch: fvu > 1.0,
    })
}
