//! Next-token distributions from logits: losses of tokens and divergences.
//!
//! The temperature is 1 and no filter applies; all sums are in f64. Knows no model and no text.

use rayon::prelude::*;
use saescope_kernels::Matrix;

/// The distribution of each row of logits, `[rows, d_vocab]`.
pub struct Distributions<'a> {
    logits: &'a Matrix,
    /// `ln sum exp` of every row.
    log_sums: Vec<f64>,
}

impl Distributions<'_> {
    /// The distributions of `logits`, `[rows, d_vocab]`.
    pub fn new(logits: &Matrix) -> Distributions<'_> {
        let rows = (0..logits.rows()).into_par_iter();
        let log_sums = rows.map(|row| log_sum_exp(logits.row(row))).collect();
        Distributions { logits, log_sums }
    }

    /// Number of tokens in the vocabulary.
    pub fn d_vocab(&self) -> usize {
        self.logits.cols()
    }

    /// `-ln p(token)` of the distribution in `row`, in nats.
    ///
    /// # Panics
    /// When the row or the token does not exist.
    pub fn loss(&self, row: usize, token: u32) -> f64 {
        self.log_sums[row] - f64::from(self.logits.row(row)[token as usize])
    }

    /// `KL(self || other)` of each row that both have, in nats.
    pub fn kl(&self, other: &Distributions) -> Vec<f64> {
        let rows = self.logits.rows().min(other.logits.rows());
        let rows = (0..rows).into_par_iter();
        rows.map(|row| {
            let (log_p, log_q) = (self.log_sums[row], other.log_sums[row]);
            let pairs = self.logits.row(row).iter().zip(other.logits.row(row));
            let parts = pairs.map(|(&p, &q)| {
                let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
                let weight = p.exp();
                // A probability of 0 contributes 0, although its logarithm is infinite.
                if weight > 0.0 { weight * (p - q) } else { 0.0 }
            });
            // Rounding may leave a sum slightly below 0.
            parts.sum::<f64>().max(0.0)
        })
        .collect()
    }
}

/// `ln sum exp` of `logits`.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let (max, sum) = exponentials(logits);
    f64::from(max) + sum.ln()
}

/// The largest of `logits`, and the sum of the exponentials of their distances from it.
pub(crate) fn exponentials(logits: &[f32]) -> (f32, f64) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    (max, sum)
}
