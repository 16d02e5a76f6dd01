//! How well an autoencoder reconstructs a model's activations: whether the two belong together.

use saescope_kernels::Matrix;

use super::check;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sae::Sae;

/// How well an autoencoder reconstructs the activations of some text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Tokens, first positions left out.
    pub tokens: usize,
    /// Mean number of active features on a token.
    pub l0: f64,
    /// Fraction of variance unexplained: `sum |x - y|^2 / sum |x - mean x|^2` over all tokens, where
    /// `y` is the reconstruction of `x`. Above 1 the mean alone would do better.
    pub fvu: f64,
    /// The same with the first position of every prompt.
    pub fvu_with_first: f64,
}

/// How well `sae` reconstructs what `model` computes on `prompts`.
///
/// # Errors
/// When the model does not fit the autoencoder, or there is no variance: not two tokens behind the
/// first.
pub fn fit(model: &Model, sae: &Sae, prompts: &[&[u32]]) -> Result<Fit> {
    check(model, sae)?;
    let (site, out_site) = (sae.site()?, sae.out_site()?);
    let (mut rows, mut start) = (Vec::new(), 0);
    for prompt in prompts {
        rows.extend(start + 1..start + prompt.len());
        start += prompt.len();
    }
    let x = model.activations(prompts, site, &mut ())?; // [tokens, d_in]
    let target = match out_site == site {
        true => x.clone(),
        false => model.activations(prompts, out_site, &mut ())?, // [tokens, d_out]
    };
    let encoded = sae.encode(&x)?;
    let y = sae.decode(&encoded);
    let active: usize = rows
        .iter()
        .map(|&row| encoded.features.row(row).0.len())
        .sum();
    let all: Vec<usize> = (0..start).collect();
    Ok(Fit {
        tokens: rows.len(),
        l0: active as f64 / rows.len() as f64,
        fvu: unexplained(&target, &y, &rows)?,
        fvu_with_first: unexplained(&target, &y, &all)?,
    })
}

/// `sum |x - y|^2 / sum |x - mean x|^2` over `rows`.
fn unexplained(x: &Matrix, y: &Matrix, rows: &[usize]) -> Result<f64> {
    let mut mean = vec![0.0_f64; x.cols()];
    for &row in rows {
        let pairs = mean.iter_mut().zip(x.row(row));
        pairs.for_each(|(mean, &x)| *mean += f64::from(x) / rows.len() as f64);
    }
    let (mut error, mut variance) = (0.0, 0.0);
    for &row in rows {
        for ((&x, &y), mean) in x.row(row).iter().zip(y.row(row)).zip(&mean) {
            error += (f64::from(x) - f64::from(y)).powi(2);
            variance += (f64::from(x) - mean).powi(2);
        }
    }
    if variance == 0.0 {
        let message = "the text is too short to tell how well it is reconstructed";
        return Err(Error::Argument(message.to_owned()));
    }
    Ok(error / variance)
}
