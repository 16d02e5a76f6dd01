//! What every objective's pass over a batch is made of: the error of a reconstruction, and gradients
//! from sparse entries.
//!
//! With `f` the activations, `d_i` the decoder's rows and `r = dL/dy` the gradient by the
//! reconstruction, everything that trains a feature is a sum over the tokens it has entries on:
//! `dL/df_i = r . d_i`, `dL/dd_i = sum f_i r`, `dL/de_i = sum dL/dpre_i x` (`e_i` the encoder's row).

use rayon::prelude::*;
use saescope_kernels::{Columns, Matrix, SparseRows, Storage, Then, Weight, transpose};

use super::activity::Activity;
use super::input::{Tokens, column_means, column_sums, weighted_rows};
use super::weights::{Gradients, Weights};
use super::{DecoderNorm, Reconstruction, TrainConfig};
use crate::sae::row_norms;

/// The parts of a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Loss {
    pub(super) reconstruction: f64,
    pub(super) sparsity: f64,
    pub(super) aux: f64,
}

impl Loss {
    pub(super) fn total(&self) -> f64 {
        self.reconstruction + self.sparsity + self.aux
    }
}

/// What a pass over a batch finds.
pub(super) struct Pass {
    pub(super) loss: Loss,
    pub(super) activity: Activity,
    /// `|target - reconstruction|^2` of every token.
    pub(super) squared: Vec<f64>,
    pub(super) gradients: Gradients,
}

/// What a pass reads.
pub(super) struct Job<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) weights: &'a Weights,
    pub(super) tokens: &'a Tokens<'a>,
    /// What is encoded, `[tokens, d_in]`.
    pub(super) inner: &'a Matrix,
    /// What the sparsity penalty is multiplied with by now.
    pub(super) sparsity: f32,
}

impl<'a> Job<'a> {
    pub(super) fn n(&self) -> usize {
        self.inner.rows()
    }

    /// The norm of every decoder row.
    pub(super) fn decoder_norms(&self) -> Vec<f32> {
        match self.config.decoder {
            DecoderNorm::Unit => vec![1.0; self.config.d_sae],
            DecoderNorm::Free => row_norms(&self.weights.w_dec),
        }
    }

    /// What passes by the features, `[tokens, d_out]`.
    pub(super) fn skip(&self) -> Option<Matrix> {
        let w_skip = &self.weights.small.w_skip;
        if w_skip.is_empty() {
            return None;
        }
        let (x, d_out) = (&self.tokens.x, self.weights.w_dec.cols());
        let mut packed = Weight::empty(Storage::F32);
        packed.repack(&Matrix::from_vec(d_out, x.cols(), w_skip.clone()));
        let mut out = Matrix::default();
        packed.product(x, None, Then::Keep, &mut out);
        Some(out)
    }

    /// How far `reconstruction`, `[tokens, d_out]`, is off.
    pub(super) fn error(&self, reconstruction: Matrix) -> ReconstructionError {
        let target = self.tokens.target();
        let (n, d) = (target.rows() as f64, target.cols() as f64);
        let weight = match self.config.reconstruction {
            Reconstruction::SquaredError => 1.0 / n,
            Reconstruction::MeanSquaredError => 1.0 / (n * d),
            Reconstruction::Fvu => 1.0 / variance(target),
        };
        ReconstructionError::new(reconstruction, target, weight)
    }
}

/// `sum |x - mean x|^2` over the rows of `x`.
pub(super) fn variance(x: &Matrix) -> f64 {
    let means = column_means(x);
    let rows = x.data().par_chunks_exact(x.cols());
    let rows: Vec<f64> = rows.map(|row| squared_distance(row, &means)).collect();
    rows.iter().sum()
}

pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// `weight * sum |y - target|^2`, and its gradient.
pub(super) struct ReconstructionError {
    pub(super) loss: f64,
    /// `dL/dy = 2 weight (y - target)`, `[tokens, d_out]`.
    pub(super) gradient: Matrix,
    /// `|y - target|^2` of every token.
    pub(super) squared: Vec<f64>,
    weight: f64,
}

impl ReconstructionError {
    pub(super) fn new(mut y: Matrix, target: &Matrix, weight: f64) -> ReconstructionError {
        let d = y.cols();
        let rows = y.data_mut().par_chunks_exact_mut(d);
        let factor = (2.0 * weight) as f32;
        let squared: Vec<f64> = rows
            .zip(target.data().par_chunks_exact(d))
            .map(|(y, target)| {
                let squared = squared_distance(y, target);
                for (y, target) in y.iter_mut().zip(target) {
                    *y = factor * (*y - target);
                }
                squared
            })
            .collect();
        ReconstructionError {
            loss: weight * squared.iter().sum::<f64>(),
            gradient: y,
            squared,
            weight,
        }
    }

    /// `target - y`, `[tokens, d_out]`.
    pub(super) fn residual(&self) -> Matrix {
        let mut residual = self.gradient.clone();
        residual.scale((-0.5 / self.weight) as f32);
        residual
    }
}

/// From what entries of sparse rows mean for a loss to its gradient.
pub(super) struct Backward<'a> {
    /// The entries by feature.
    pub(super) columns: &'a Columns,
    /// What was encoded in each row of the entries, `[rows, d_in]`.
    pub(super) x: &'a Matrix,
    /// `dL/dpre` of each entry.
    pub(super) d_pre: &'a [f32],
    /// Terms of the decoder's gradient: a value for each entry, and what it multiplies, `[rows, d_out]`.
    pub(super) decoder: &'a [(&'a [f32], &'a Matrix)],
    /// `dL/dy` wherever the decoder's bias is added, `[tokens, d_out]` each.
    pub(super) errors: &'a [&'a Matrix],
}

impl Backward<'_> {
    pub(super) fn gradients(&self, job: &Job) -> Gradients {
        let mut small = job.weights.small.zeros();
        small.b_enc = self.by_feature(self.d_pre, job.config.d_sae);
        let mut w_enc = Matrix::default();
        self.columns.weighted_sums(self.d_pre, self.x, &mut w_enc);
        let mut w_dec = Matrix::default();
        for (index, (values, rows)) in self.decoder.iter().enumerate() {
            if index == 0 {
                self.columns.weighted_sums(values, rows, &mut w_dec);
            } else {
                let mut more = Matrix::default();
                self.columns.weighted_sums(values, rows, &mut more);
                w_dec.add(&more);
            }
        }
        let mut gradients = Gradients {
            features: self.columns.features().to_vec(),
            w_enc,
            w_dec,
            small,
        };
        gradients.add_biases(job, self.errors);
        gradients
    }

    /// The sum of each feature's values, `[d_sae]`.
    pub(super) fn by_feature(&self, values: &[f32], d_sae: usize) -> Vec<f32> {
        let mut all = vec![0.0; d_sae];
        let sums = self.columns.sums(values);
        for (&feature, sum) in self.columns.features().iter().zip(sums) {
            all[feature as usize] = sum;
        }
        all
    }
}

/// `a^T b`, row-major: `[d_a, d_b]` from `[tokens, d_a]` and `[tokens, d_b]`.
fn outer(a: &Matrix, b: &Matrix) -> Vec<f32> {
    let mut left = Matrix::default();
    transpose(a, &mut left); // [d_a, tokens]
    let mut right = Weight::empty(Storage::F32);
    right.repack_transposed(b); // [d_b, tokens]
    let mut out = Matrix::default();
    right.product(&left, None, Then::Keep, &mut out);
    out.data().to_vec()
}

impl Gradients {
    /// Adds the gradients of the decoder's bias, which was added to reconstructions with the gradients
    /// `errors`, and of the way past the features. That of `b_enc` has to be the sum of `dL/dpre`.
    pub(super) fn add_biases(&mut self, job: &Job, errors: &[&Matrix]) {
        let mut b_dec = vec![0.0; job.weights.w_dec.cols()];
        for error in errors {
            let sums = column_sums(error);
            b_dec.iter_mut().zip(sums).for_each(|(b, sum)| *b += sum);
        }
        if job.config.init.subtract_b_dec {
            let b_enc = &self.small.b_enc;
            let through = weighted_rows(job.weights.w_enc(), |row| f64::from(b_enc[row]));
            let pairs = b_dec.iter_mut().zip(through);
            pairs.for_each(|(b, through)| *b -= through);
        }
        self.small.b_dec = b_dec.iter().map(|&b| b as f32).collect();
        if job.weights.small.w_skip.is_empty() {
            return;
        }
        self.small.w_skip.fill(0.0);
        for error in errors {
            let outer = outer(error, &job.tokens.x);
            let pairs = self.small.w_skip.iter_mut().zip(outer);
            pairs.for_each(|(g, outer)| *g += outer);
        }
    }

    /// Adds the gradient of `sum factor_i |d_i|`, the factors `[d_sae]` or 0 for features without
    /// gradient.
    pub(super) fn add_norm_penalty(&mut self, job: &Job, factors: &[f32]) {
        // Along a unit direction it would only be taken off again.
        if job.config.decoder == DecoderNorm::Unit {
            return;
        }
        let rows = self
            .w_dec
            .data_mut()
            .par_chunks_exact_mut(job.weights.w_dec.cols());
        rows.zip(&self.features).for_each(|(row, &feature)| {
            let direction = job.weights.w_dec.row(feature as usize);
            let norm = saescope_kernels::dot(direction, direction).sqrt();
            if norm > 0.0 {
                let factor = (f64::from(factors[feature as usize]) / norm) as f32;
                for (row, d) in row.iter_mut().zip(direction) {
                    *row += factor * d;
                }
            }
        });
    }
}

/// The same entries with other values.
pub(super) fn with_values(rows: &SparseRows, values: &[f32]) -> SparseRows {
    let (mut out, mut at) = (SparseRows::default(), 0);
    for row in 0..rows.rows() {
        let features = rows.row(row).0;
        let values = &values[at..at + features.len()];
        out.push(features.iter().copied().zip(values.iter().copied()));
        at += features.len();
    }
    out
}
