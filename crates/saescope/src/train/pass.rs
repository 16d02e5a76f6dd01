//! The parts of every objective's pass over a batch: the reconstruction error, and gradients from sparse
//! entries.
//!
//! With `f` the activations, `d_i` the decoder's rows and `r = dL/dy` the gradient by the
//! reconstruction, everything that trains a feature is a sum over the tokens it has entries on:
//! `dL/df_i = r . d_i`, `dL/dd_i = sum f_i r`, `dL/de_i = sum dL/dpre_i x` (`e_i` the encoder's row).

use std::borrow::Cow;
use std::sync::Arc;

use saescope_kernels::{
    Columns, Epilogue, Gradient, Matrix, Precision, SparseRows, Term, Weight, row_norms,
    squared_error, transpose, weighted_sum_of_rows,
};

use super::activity::Activity;
use super::input::{PreparedBatch, column_sums};
use super::weights::{Gradients, Vectors, Weights};
use super::{DecoderNorm, Reconstruction, TrainConfig};
pub(super) use crate::variance::total_variance as variance;

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

/// The result of a pass over a batch.
pub(super) struct PassResult<'x> {
    pub(super) loss: Loss,
    pub(super) activity: Activity,
    /// `|target - reconstruction|^2` of every token.
    pub(super) squared: Vec<f64>,
    pub(super) gradients: Gradients<'x>,
}

/// The input of a pass: weights, which it borrows for `'a`, and a batch, which its gradients keep for `'x`.
pub(super) struct PassInput<'a, 'x> {
    pub(super) config: &'a TrainConfig,
    pub(super) weights: &'a Weights,
    pub(super) tokens: &'x PreparedBatch<'x>,
    /// The input of the encoder, `[tokens, d_in]`.
    pub(super) encoder_input: &'x Matrix,
    /// The current factor of the sparsity penalty.
    pub(super) sparsity: f32,
}

impl PassInput<'_, '_> {
    pub(super) fn n(&self) -> usize {
        self.encoder_input.rows()
    }

    /// The norm of every decoder row.
    pub(super) fn decoder_norms(&self) -> Vec<f32> {
        match self.config.decoder {
            DecoderNorm::Unit => vec![1.0; self.config.d_sae],
            DecoderNorm::Free => row_norms(&self.weights.w_dec),
        }
    }

    /// The output of the linear map that bypasses the features, `[tokens, d_out]`.
    pub(super) fn skip(&self) -> Option<Matrix> {
        let w_skip = &self.weights.vectors.w_skip;
        if w_skip.is_empty() {
            return None;
        }
        let (x, d_out) = (&self.tokens.x, self.weights.w_dec.cols());
        let mut packed = Weight::empty(Precision::F32);
        packed.repack(&Matrix::from_vec(d_out, x.cols(), w_skip.clone()));
        let mut out = Matrix::default();
        packed.product(x.as_ref(), None, Epilogue::Keep, &mut out);
        Some(out)
    }

    /// The error of `reconstruction`, `[tokens, d_out]`.
    pub(super) fn error(&self, reconstruction: Matrix) -> ReconstructionError {
        ReconstructionError::new(reconstruction, self.tokens.target(), self.error_weight())
    }

    /// The error of the reconstruction from `rows`, and its gradient by each of their values: `r . d_i`.
    pub(super) fn error_of(&self, rows: &SparseRows) -> (ReconstructionError, Vec<f32>) {
        let (target, weight) = (self.tokens.target(), self.error_weight());
        let skip = self.skip();
        let vectors = &self.weights.vectors;
        let w_dec = &self.weights.w_dec;
        let error = rows.squared_error(w_dec, &vectors.b_dec, skip.as_ref(), target, weight);
        let by_value = error.by_value;
        let error = ReconstructionError {
            loss: weight * error.squared.iter().sum::<f64>(),
            gradient: error.gradient,
            squared: error.squared,
            weight,
        };
        (error, by_value)
    }

    /// The factor of squared errors in the loss.
    fn error_weight(&self) -> f64 {
        let target = self.tokens.target();
        let (n, d) = (target.rows() as f64, target.cols() as f64);
        match self.config.reconstruction {
            Reconstruction::SquaredError => 1.0 / n,
            Reconstruction::MeanSquaredError => 1.0 / (n * d),
            Reconstruction::Fvu => 1.0 / variance(target),
        }
    }
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
        let squared = squared_error(&mut y, target, weight);
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

/// The gradients by each entry of sparse rows, from which those by the weights follow.
pub(super) struct Backward<'x> {
    /// The entries by feature.
    pub(super) columns: Columns,
    /// `dL/dpre` of each entry.
    pub(super) d_pre: Vec<f32>,
    /// The input of the encoder in each row of the entries, `[rows, d_in]`.
    pub(super) x: Cow<'x, Matrix>,
    /// Terms of the decoder's gradient: a value for each entry, and the rows that it multiplies,
    /// `[rows, d_out]`.
    pub(super) decoder: Vec<Term<'x>>,
}

impl<'x> Backward<'x> {
    /// The gradients by the weights, `vectors` among them.
    pub(super) fn gradients(self, vectors: Vectors) -> Gradients<'x> {
        let columns = Arc::new(self.columns);
        let w_enc = Term {
            values: self.d_pre,
            x: self.x,
        };
        Gradients {
            w_enc: Gradient::sparse(Arc::clone(&columns), vec![w_enc]),
            w_dec: Gradient::sparse(columns, self.decoder),
            vectors,
        }
    }
}

/// `a^T b`, row-major: `[d_a, d_b]` from `[tokens, d_a]` and `[tokens, d_b]`.
fn outer(a: &Matrix, b: &Matrix) -> Vec<f32> {
    let mut left = Matrix::default();
    transpose(a, &mut left); // [d_a, tokens]
    let mut right = Weight::empty(Precision::F32);
    right.repack_transposed(b); // [d_b, tokens]
    let mut out = Matrix::default();
    right.product(&left, None, Epilogue::Keep, &mut out);
    out.data().to_vec()
}

impl Vectors {
    /// The gradients by the biases and the skip map: `b_enc`, `[d_sae]`, is the sum of `dL/dpre`, and
    /// `errors`, `[tokens, d_out]` each, are `dL/dy` of all reconstructions that add the decoder's bias.
    pub(super) fn gradient(input: &PassInput, b_enc: Vec<f32>, errors: &[&Matrix]) -> Vectors {
        let mut b_dec = vec![0.0; input.weights.w_dec.cols()];
        for error in errors {
            let sums = column_sums(error);
            b_dec.iter_mut().zip(sums).for_each(|(b, sum)| *b += sum);
        }
        if input.config.init.subtract_b_dec {
            let through = weighted_sum_of_rows(input.weights.w_enc(), &b_enc);
            let pairs = b_dec.iter_mut().zip(through);
            pairs.for_each(|(b, through)| *b -= through);
        }
        let mut vectors = input.weights.vectors.zeros();
        vectors.b_enc = b_enc;
        vectors.b_dec = b_dec.iter().map(|&b| b as f32).collect();
        if !vectors.w_skip.is_empty() {
            for error in errors {
                let outer = outer(error, &input.tokens.x);
                let pairs = vectors.w_skip.iter_mut().zip(outer);
                pairs.for_each(|(g, outer)| *g += outer);
            }
        }
        vectors
    }
}

impl Gradients<'_> {
    /// Adds the gradient of `sum factor_i |d_i|`; `factors` is `[d_sae]`.
    pub(super) fn add_norm_penalty(&mut self, input: &PassInput, factors: &[f32]) {
        // Rows of norm 1 lose their gradient along the row anyway.
        if input.config.decoder == DecoderNorm::Free {
            self.w_dec.add_along(factors);
        }
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
