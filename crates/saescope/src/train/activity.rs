//! The activity of features: on one batch, and counted over batches.

use saescope_kernels::SparseRows;

/// Counts and sums of the activations on a batch: all of them that is kept after a pass.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activity {
    pub(super) tokens: usize,
    /// Tokens on which each feature was active, `[d_sae]`.
    pub(super) counts: Vec<u32>,
    /// The sum of each feature's activations, `[d_sae]`.
    pub(super) sums: Vec<f32>,
    /// The smallest activation; infinite if there is none, or if no objective needs it.
    pub(super) least: f32,
}

impl Activity {
    /// Counts the entries of `rows` whose value in `values` is positive.
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

    /// Number of active features over all tokens.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// Mean number of active features of a token.
    pub(super) fn l0(&self) -> f64 {
        self.total() as f64 / self.tokens.max(1) as f64
    }
}

/// Counters of when features were active.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FiringCounts {
    /// Tokens since each feature's last activation, `[d_sae]`.
    pub(super) since: Vec<i64>,
    /// Tokens since the last line of metrics on which each feature was active, `[d_sae]`.
    pub(super) recent: Vec<i64>,
    /// Tokens since the last line of metrics.
    pub(super) recent_tokens: i64,
}

impl FiringCounts {
    pub(super) fn new(d_sae: usize) -> FiringCounts {
        FiringCounts {
            since: vec![0; d_sae],
            recent: vec![0; d_sae],
            recent_tokens: 0,
        }
    }

    /// Adds a batch.
    pub(super) fn record(&mut self, activity: &Activity) {
        let n = activity.tokens as i64;
        let features = self.since.iter_mut().zip(&mut self.recent);
        for ((since, recent), &count) in features.zip(&activity.counts) {
            *since = if count > 0 { 0 } else { *since + n };
            *recent += i64::from(count);
        }
        self.recent_tokens += n;
    }

    /// Features that were not active for `window_tokens` tokens, ascending.
    pub(super) fn dead(&self, window_tokens: u64) -> Vec<u32> {
        let is_dead = |since: i64| since.cast_unsigned() >= window_tokens;
        let features = (0..).zip(&self.since);
        let dead = features.filter(|&(_, &since)| is_dead(since));
        dead.map(|(feature, _)| feature).collect()
    }
}
