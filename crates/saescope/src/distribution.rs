//! Next-token distributions as logits give them: how likely a token is, how far two are apart.
//!
//! The distributions are those of temperature 1, before any filter; all sums are in f64.

use rayon::prelude::*;
use saescope_kernels::Matrix;

/// The distribution of each row of logits, `[rows, d_vocab]`.
pub struct Distributions<'a> {
    logits: &'a Matrix,
    /// `ln sum exp` of every row.
    log_sums: Vec<f64>,
}

impl Distributions<'_> {
    /// Those that `logits` give.
    pub fn new(logits: &Matrix) -> Distributions<'_> {
        let rows = (0..logits.rows()).into_par_iter();
        let log_sums = rows.map(|row| log_sum_exp(logits.row(row))).collect();
        Distributions { logits, log_sums }
    }

    /// How many tokens there are.
    pub fn d_vocab(&self) -> usize {
        self.logits.cols()
    }

    /// `-ln p(token)` in a row.
    ///
    /// # Panics
    /// When there is no such row or token.
    pub fn loss(&self, row: usize, token: u32) -> f64 {
        self.log_sums[row] - f64::from(self.logits.row(row)[token as usize])
    }

    /// `KL(self || other)` of every row that both have, in nats.
    pub fn kl(&self, other: &Distributions) -> Vec<f64> {
        let rows = self.logits.rows().min(other.logits.rows());
        let rows = (0..rows).into_par_iter();
        rows.map(|row| {
            let (log_p, log_q) = (self.log_sums[row], other.log_sums[row]);
            let pairs = self.logits.row(row).iter().zip(other.logits.row(row));
            let parts = pairs.map(|(&p, &q)| {
                let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
                let weight = p.exp();
                // A probability of zero contributes nothing, whatever its logarithm.
                if weight > 0.0 { weight * (p - q) } else { 0.0 }
            });
            // Rounding may leave a little less than nothing.
            parts.sum::<f64>().max(0.0)
        })
        .collect()
    }
}

/// `ln sum exp` of some logits.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    f64::from(max) + sum.ln()
}
