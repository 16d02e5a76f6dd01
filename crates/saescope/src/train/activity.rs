//! What a batch shows of features: all that is kept of its activations after a pass.

use saescope_kernels::SparseRows;

/// Which features were active on a batch, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activity {
    pub(super) tokens: usize,
    /// Tokens on which each feature was active, `[d_sae]`.
    pub(super) counts: Vec<u32>,
    /// The sum of each feature's activations, `[d_sae]`.
    pub(super) sums: Vec<f32>,
    /// The smallest activation; infinite where there is none, or none was looked for.
    pub(super) least: f32,
}

impl Activity {
    /// Of the entries of `rows` with these values, those over 0.
    pub(super) fn of(rows: &SparseRows, values: &[f32], d_sae: usize) -> Activity {
        let mut activity = Activity {
            tokens: rows.rows(),
            counts: vec![0; d_sae],
            sums: vec![0.0; d_sae],
            least: f32::INFINITY,
        };
        for (&feature, &value) in rows.features().iter().zip(values) {
            if value > 0.0 {
                activity.counts[feature as usize] += 1;
                activity.sums[feature as usize] += value;
                activity.least = activity.least.min(value);
            }
        }
        activity
    }

    /// Active features of all tokens together.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// Mean number of active features of a token.
    pub(super) fn l0(&self) -> f64 {
        self.total() as f64 / self.tokens.max(1) as f64
    }
}
