//! The quality of reconstructions, and the features that are active.

use std::collections::BTreeSet;
use std::ops::Add;

use rayon::prelude::*;
use saescope_kernels::Matrix;
use serde::Serialize;

use super::{ByPosition, COUNTED, Counted, Walk, firsts};
use crate::activations::Batch;
use crate::density::densities;
use crate::error::{Error, Result};
use crate::sae::Sae;
use crate::variance::variance_from_sums;

/// The quality of the reconstructions `y` of activations `x`. A transcoder's `x` is the activation that it
/// has to write.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reconstruction {
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2`, both sums and the mean over all tokens.
    pub explained_variance: f64,
    /// `sum |x - y|^2` over tokens times components.
    pub mse: f64,
    /// Mean cosine of `x` and `y`; 0 for tokens where one of them is zero.
    pub cosine: f64,
    /// Mean `|x|`.
    pub norm_in: f64,
    /// Mean `|y|`.
    pub norm_out: f64,
    /// Mean `|y| / |x|` of tokens where `x` is not zero: below 1 if reconstructions shrink.
    pub norm_ratio: f64,
    /// `sum |y|^2 / sum x . y` (equation 10 of Rajamanoharan et al. 2024, Gated): 1 without shrinkage.
    pub reconstruction_bias: f64,
}

/// The number and densities of active features.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// Mean number of active features of a token.
    pub l0: f64,
    /// Mean sum of the activations of a token.
    pub l1: f64,
    /// Number of features that were active on none of the tokens counted.
    pub dead: usize,
    /// Number of features that were active on more than a tenth of them.
    pub dense: usize,
    /// Number of features by density, in the bins of
    /// [`Densities::histogram`](crate::density::Densities::histogram).
    pub density_histogram: Vec<usize>,
    /// Number of tokens on which each feature was active.
    #[serde(skip)]
    pub active: Vec<u64>,
}

/// Sums over the reconstructions of one autoencoder.
pub(super) struct ReconstructionSums {
    sums: ByPosition<Sums>,
    /// `|x - y|^2` of every token, in the order in which they were read.
    errors: Vec<f64>,
}

/// Sums over tokens.
#[derive(Clone, Debug, Default)]
struct Sums {
    tokens: u64,
    rows: TokenTerms,
    /// Sum of `x`, `[d_out]`.
    x: Vec<f64>,
    /// Number of tokens on which each feature was active, `[d_sae]`.
    active: Vec<u64>,
}

/// The terms that one token adds to the sums.
#[derive(Clone, Copy, Debug, Default)]
struct TokenTerms {
    /// `|x - y|^2`
    error: f64,
    /// `|x|^2`
    xx: f64,
    /// `|y|^2`
    yy: f64,
    /// `x . y`
    xy: f64,
    norm_in: f64,
    norm_out: f64,
    cosine: f64,
    ratio: f64,
    /// 1 where `x` is not zero.
    nonzero: f64,
    l0: f64,
    l1: f64,
}

/// Reads all texts as far as the deepest site of `saes`, and reconstructs every token.
pub(super) fn measure(
    walk: &mut Walk,
    saes: &[&Sae],
    on_read: &mut dyn FnMut(usize),
) -> Result<Vec<ReconstructionSums>> {
    let mut sites = BTreeSet::new();
    for sae in saes {
        sites.extend([sae.site()?, sae.out_site()?]);
    }
    let mut all: Vec<ReconstructionSums> = saes
        .iter()
        .map(|sae| ReconstructionSums::new(sae))
        .collect();
    for batch in walk.batches() {
        let taken = walk.activations(&batch, &sites)?;
        let firsts = firsts(&batch);
        for (sae, seen) in saes.iter().zip(&mut all) {
            let (x, target) = (&taken[&sae.site()?], &taken[&sae.out_site()?]);
            seen.add(sae, x, target, &firsts)?;
        }
        on_read(firsts.len());
    }
    Ok(all)
}

/// Reconstructs every token of `batches`. First positions are unknown: no token counts as one.
pub(super) fn measure_batches(
    saes: &[&Sae],
    batches: impl Iterator<Item = Result<Batch>>,
) -> Result<Vec<ReconstructionSums>> {
    let mut all: Vec<ReconstructionSums> = saes
        .iter()
        .map(|sae| ReconstructionSums::new(sae))
        .collect();
    for batch in batches {
        let Batch { x, target } = batch?;
        let target = target.as_ref().unwrap_or(&x);
        for (sae, seen) in saes.iter().zip(&mut all) {
            if target.cols() != sae.d_out() {
                return Err(Error::Shape {
                    what: "width of the activations that an autoencoder has to write".to_owned(),
                    expected: sae.d_out().to_string(),
                    found: target.cols().to_string(),
                });
            }
            seen.add(sae, &x, target, &vec![false; x.rows()])?;
        }
    }
    Ok(all)
}

impl ReconstructionSums {
    fn new(sae: &Sae) -> ReconstructionSums {
        let sums = Sums {
            x: vec![0.0; sae.d_out()],
            active: vec![0; sae.d_sae()],
            ..Sums::default()
        };
        ReconstructionSums {
            sums: ByPosition {
                first: sums.clone(),
                others: sums,
            },
            errors: Vec::new(),
        }
    }

    /// Adds tokens whose activations are `x`, `[tokens, d_in]`, and whose reconstructions should be
    /// `target`, `[tokens, d_out]`.
    fn add(&mut self, sae: &Sae, x: &Matrix, target: &Matrix, firsts: &[bool]) -> Result<()> {
        let encoded = sae.encode(x)?;
        let y = sae.decode(&encoded);
        let rows = (0..target.rows()).into_par_iter();
        let rows: Vec<TokenTerms> = rows
            .map(|row| TokenTerms::new(target.row(row), y.row(row), encoded.features.row(row).1))
            .collect();
        self.errors.extend(rows.iter().map(|row| row.error));
        for (row, (&found, &is_first)) in rows.iter().zip(firsts).enumerate() {
            let sums = self.sums.at(is_first);
            sums.tokens += 1;
            sums.rows = sums.rows + found;
            let pairs = sums.x.iter_mut().zip(target.row(row));
            pairs.for_each(|(sum, &x)| *sum += f64::from(x));
            for &feature in encoded.features.row(row).0 {
                sums.active[feature as usize] += 1;
            }
        }
        Ok(())
    }

    pub(super) fn tokens(&self, counted: Counted) -> usize {
        self.sums.counted(counted).tokens as usize
    }

    /// The mean of `x`, `[d_out]`.
    pub(super) fn mean(&self, counted: Counted) -> Vec<f32> {
        let sums = self.sums.counted(counted);
        let tokens = sums.tokens as f64;
        sums.x.iter().map(|sum| (sum / tokens) as f32).collect()
    }

    pub(super) fn reconstruction(&self, counted: Counted) -> Result<Reconstruction> {
        let Sums {
            tokens, rows, x, ..
        } = self.sums.counted(counted);
        let n = tokens as f64;
        let Some(variance) = variance_from_sums(rows.xx, &x, n) else {
            let message = "all activations are the same: there is no variance to explain";
            return Err(Error::Argument(message.to_owned()));
        };
        Ok(Reconstruction {
            explained_variance: 1.0 - rows.error / variance,
            mse: rows.error / (n * x.len() as f64),
            cosine: rows.cosine / n,
            norm_in: rows.norm_in / n,
            norm_out: rows.norm_out / n,
            norm_ratio: rows.ratio / rows.nonzero,
            reconstruction_bias: rows.yy / rows.xy,
        })
    }

    pub(super) fn activity(&self, counted: Counted) -> Activity {
        let sums = self.sums.counted(counted);
        let found = densities(&sums.active, sums.tokens);
        Activity {
            l0: sums.rows.l0 / sums.tokens as f64,
            l1: sums.rows.l1 / sums.tokens as f64,
            dead: found.never,
            dense: found.dense,
            density_histogram: found.histogram,
            active: sums.active,
        }
    }
}

/// The explained variance of each token. It needs a second reading of the texts, since the mean of `x` is
/// known only after the first.
pub(super) struct ExplainedByToken<'a> {
    /// `|x - y|^2` of the tokens that are still to come.
    errors: std::slice::Iter<'a, f64>,
    /// One for each choice of positions.
    sums: [ExplainedSum; 2],
}

/// The sum of the explained variances of tokens.
struct ExplainedSum {
    /// Mean of `x`, `[d_out]`.
    mean: Vec<f32>,
    explained: f64,
    /// Number of tokens in the sum.
    tokens: usize,
}

impl<'a> ExplainedByToken<'a> {
    pub(super) fn new(seen: &'a ReconstructionSums) -> ExplainedByToken<'a> {
        ExplainedByToken {
            errors: seen.errors.iter(),
            sums: COUNTED.map(|counted| ExplainedSum {
                mean: seen.mean(counted),
                explained: 0.0,
                tokens: 0,
            }),
        }
    }

    /// Adds the tokens that come next, in the order of the first reading.
    pub(super) fn add(&mut self, target: &Matrix, firsts: &[bool]) {
        for (row, (&is_first, &error)) in firsts.iter().zip(&mut self.errors).enumerate() {
            for (counted, sum) in COUNTED.into_iter().zip(&mut self.sums) {
                let pairs = target.row(row).iter().zip(&sum.mean);
                let distance = pairs.map(|(&x, &mean)| (f64::from(x) - f64::from(mean)).powi(2));
                let explained = 1.0 - error / distance.sum::<f64>();
                // A token at the mean has no variance to explain.
                if (counted == Counted::All || !is_first) && explained.is_finite() {
                    sum.explained += explained;
                    sum.tokens += 1;
                }
            }
        }
    }

    /// The means over tokens, over all of them and without the first of every text.
    pub(super) fn means(&self) -> [f64; 2] {
        [0, 1].map(|choice| self.sums[choice].explained / self.sums[choice].tokens as f64)
    }
}

impl TokenTerms {
    fn new(x: &[f32], y: &[f32], activations: &[f32]) -> TokenTerms {
        let mut row = TokenTerms {
            l0: activations.len() as f64,
            l1: activations.iter().map(|&a| f64::from(a).abs()).sum(),
            ..TokenTerms::default()
        };
        for (&x, &y) in x.iter().zip(y) {
            let (x, y) = (f64::from(x), f64::from(y));
            row.error += (x - y).powi(2);
            row.xx += x * x;
            row.yy += y * y;
            row.xy += x * y;
        }
        (row.norm_in, row.norm_out) = (row.xx.sqrt(), row.yy.sqrt());
        if row.norm_in > 0.0 {
            row.nonzero = 1.0;
            row.ratio = row.norm_out / row.norm_in;
        }
        if row.norm_in > 0.0 && row.norm_out > 0.0 {
            row.cosine = row.xy / (row.norm_in * row.norm_out);
        }
        row
    }
}

impl Add for TokenTerms {
    type Output = TokenTerms;

    fn add(self, other: TokenTerms) -> TokenTerms {
        TokenTerms {
            error: self.error + other.error,
            xx: self.xx + other.xx,
            yy: self.yy + other.yy,
            xy: self.xy + other.xy,
            norm_in: self.norm_in + other.norm_in,
            norm_out: self.norm_out + other.norm_out,
            cosine: self.cosine + other.cosine,
            ratio: self.ratio + other.ratio,
            nonzero: self.nonzero + other.nonzero,
            l0: self.l0 + other.l0,
            l1: self.l1 + other.l1,
        }
    }
}

impl Add for Sums {
    type Output = Sums;

    fn add(mut self, other: Sums) -> Sums {
        let x = self.x.iter_mut().zip(other.x);
        x.for_each(|(sum, x)| *sum += x);
        let active = self.active.iter_mut().zip(other.active);
        active.for_each(|(sum, active)| *sum += active);
        Sums {
            tokens: self.tokens + other.tokens,
            rows: self.rows + other.rows,
            ..self
        }
    }
}
