//! How well activations are reconstructed, and which features are active.

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

/// How well activations `x` are reconstructed by `y`. A transcoder's `x` is what it has to write.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reconstruction {
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2`, both sums and the mean over all tokens.
    pub explained_variance: f64,
    /// `sum |x - y|^2` over tokens times components.
    pub mse: f64,
    /// Mean cosine of `x` and `y`; 0 where one of them is zero.
    pub cosine: f64,
    /// Mean `|x|`.
    pub norm_in: f64,
    /// Mean `|y|`.
    pub norm_out: f64,
    /// Mean `|y| / |x|` of tokens where `x` is not zero: below 1 where reconstructions shrink.
    pub norm_ratio: f64,
    /// `sum |y|^2 / sum x . y` (equation 10 of Rajamanoharan et al. 2024, Gated): 1 without shrinkage.
    pub reconstruction_bias: f64,
}

/// How many features are active, and how often.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// Mean number of active features of a token.
    pub l0: f64,
    /// Mean sum of the activations of a token.
    pub l1: f64,
    /// Features that were active on none of the tokens counted.
    pub dead: usize,
    /// Features that were active on more than a tenth of them.
    pub dense: usize,
    /// Features by density, as [`Densities::histogram`](crate::density::Densities::histogram) has it.
    pub density_histogram: Vec<usize>,
    /// On how many tokens each feature was active.
    #[serde(skip)]
    pub active: Vec<u64>,
}

/// What was seen of one autoencoder.
pub(super) struct Seen {
    sums: ByPosition<Sums>,
    /// `|x - y|^2` of every token, in the order in which they were seen.
    errors: Vec<f64>,
}

/// Sums over tokens.
#[derive(Clone, Debug, Default)]
struct Sums {
    tokens: u64,
    rows: Row,
    /// Sum of `x`, `[d_out]`.
    x: Vec<f64>,
    /// How often each feature was active, `[d_sae]`.
    active: Vec<u64>,
}

/// What one token adds.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
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
) -> Result<Vec<Seen>> {
    let mut sites = BTreeSet::new();
    for sae in saes {
        sites.extend([sae.site()?, sae.out_site()?]);
    }
    let mut all: Vec<Seen> = saes.iter().map(|sae| Seen::new(sae)).collect();
    for batch in walk.batches() {
        let taken = walk.activations(&batch, &sites)?;
        let firsts = firsts(&batch);
        for (sae, seen) in saes.iter().zip(&mut all) {
            seen.add(
                sae,
                (&taken[&sae.site()?], &taken[&sae.out_site()?]),
                &firsts,
            )?;
        }
        on_read(firsts.len());
    }
    Ok(all)
}

/// Reconstructs every token of `batches`. Which of them were the first of their texts is not known:
/// none counts as one.
pub(super) fn measure_batches(
    saes: &[&Sae],
    batches: impl Iterator<Item = Result<Batch>>,
) -> Result<Vec<Seen>> {
    let mut all: Vec<Seen> = saes.iter().map(|sae| Seen::new(sae)).collect();
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
            seen.add(sae, (&x, target), &vec![false; x.rows()])?;
        }
    }
    Ok(all)
}

impl Seen {
    fn new(sae: &Sae) -> Seen {
        let sums = Sums {
            x: vec![0.0; sae.d_out()],
            active: vec![0; sae.d_sae()],
            ..Sums::default()
        };
        Seen {
            sums: ByPosition {
                first: sums.clone(),
                others: sums,
            },
            errors: Vec::new(),
        }
    }

    /// Adds the tokens whose activations are `x`, `[tokens, d_in]`, and have to become `target`,
    /// `[tokens, d_out]`.
    fn add(&mut self, sae: &Sae, (x, target): (&Matrix, &Matrix), firsts: &[bool]) -> Result<()> {
        let encoded = sae.encode(x)?;
        let y = sae.decode(&encoded);
        let rows = (0..target.rows()).into_par_iter();
        let rows: Vec<Row> = rows
            .map(|row| Row::new(target.row(row), y.row(row), encoded.features.row(row).1))
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
        // Around the mean; the difference of two large numbers, which f64 has the digits for.
        let variance = rows.xx - x.iter().map(|sum| sum * sum).sum::<f64>() / n;
        if variance.is_nan() || variance <= rows.xx * 1e-14 {
            let message = "all activations are the same: there is no variance to explain";
            return Err(Error::Argument(message.to_owned()));
        }
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

/// What is explained of each token, which takes a second look: how far a token is from the mean is only
/// known after the first.
pub(super) struct ByToken<'a> {
    /// `|x - y|^2` of the tokens to come.
    errors: std::slice::Iter<'a, f64>,
    /// For each way of counting the mean of `x`, the sum of what is explained, and of how many tokens.
    sums: [(Vec<f32>, f64, usize); 2],
}

impl<'a> ByToken<'a> {
    pub(super) fn new(seen: &'a Seen) -> ByToken<'a> {
        ByToken {
            errors: seen.errors.iter(),
            sums: COUNTED.map(|counted| (seen.mean(counted), 0.0, 0)),
        }
    }

    /// Adds the tokens that were seen next.
    pub(super) fn add(&mut self, target: &Matrix, firsts: &[bool]) {
        for (row, (&is_first, &error)) in firsts.iter().zip(&mut self.errors).enumerate() {
            for (counted, (mean, sum, tokens)) in COUNTED.into_iter().zip(&mut self.sums) {
                let pairs = target.row(row).iter().zip(mean.iter());
                let distance = pairs.map(|(&x, &mean)| (f64::from(x) - f64::from(mean)).powi(2));
                let explained = 1.0 - error / distance.sum::<f64>();
                // Of a token at the mean nothing can be explained.
                if (counted == Counted::All || !is_first) && explained.is_finite() {
                    *sum += explained;
                    *tokens += 1;
                }
            }
        }
    }

    /// The means over tokens, over all of them and without the first of every text.
    pub(super) fn means(&self) -> [f64; 2] {
        [0, 1].map(|way| self.sums[way].1 / self.sums[way].2 as f64)
    }
}

impl Row {
    fn new(x: &[f32], y: &[f32], activations: &[f32]) -> Row {
        let mut row = Row {
            l0: activations.len() as f64,
            l1: activations.iter().map(|&a| f64::from(a).abs()).sum(),
            ..Row::default()
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

impl Add for Row {
    type Output = Row;

    fn add(self, other: Row) -> Row {
        Row {
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
