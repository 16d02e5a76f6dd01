//! Lines of metrics.

use std::time::{Duration, Instant};

use super::step::Told;
use super::{Metrics, State};
use crate::direction::{Pairs, orthogonality};

/// Multiply-adds that a line may spend on the decoder's orthogonality.
const ORTHOGONALITY_BUDGET: u64 = 30_000_000_000;

/// Share of tokens from which on a feature is dense.
const DENSE: f64 = 0.1;

/// One bin for what is below 1e-6, then half decades up to 1.
const BINS: usize = 13;

/// Where the time since the last line went.
pub(super) struct Clock {
    since: Instant,
    batches: Duration,
    train: Duration,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            since: Instant::now(),
            batches: Duration::ZERO,
            train: Duration::ZERO,
        }
    }

    /// Counts what `work` takes as waiting for activations.
    pub(super) fn waited(&mut self, time: Duration) {
        self.batches += time;
    }

    /// Counts as training.
    pub(super) fn trained(&mut self, time: Duration) {
        self.train += time;
    }

    fn restart(&mut self) {
        *self = Clock::start();
    }
}

/// The line after a step; counting starts anew.
pub(super) fn line(state: &mut State, told: &Told, clock: &mut Clock) -> Metrics {
    let w_dec = &state.weights.w_dec;
    let shape = (w_dec.rows(), w_dec.cols());
    let pairs = Pairs::within(ORTHOGONALITY_BUDGET, shape, state.config.seed);
    let right_angles = orthogonality(w_dec, pairs, 1);
    let tokens = state.fires.recent_tokens.max(1) as f64;
    let densities = state
        .fires
        .recent
        .iter()
        .map(|&fires| fires as f64 / tokens);
    let (dense, density_histogram) = by_density(densities);
    let dead = state.fires.dead(state.config.dead.window_tokens).len();
    let seconds = clock.since.elapsed().as_secs_f64();
    let metrics = Metrics {
        step: state.step,
        tokens: state.tokens,
        loss: told.loss.total(),
        loss_reconstruction: told.loss.reconstruction,
        loss_sparsity: told.loss.sparsity,
        loss_aux: told.loss.aux,
        explained_variance: told.explained_variance,
        l0: told.l0,
        dead,
        dense,
        density_histogram,
        off_diag_mean: right_angles.mean,
        off_diag_max: right_angles.max,
        grad_norm: told.grad_norm,
        lr: f64::from(told.lr),
        sparsity_scale: f64::from(told.sparsity),
        tokens_per_s: tokens / seconds.max(1e-9),
        seconds_batches: clock.batches.as_secs_f64(),
        seconds_train: clock.train.as_secs_f64(),
    };
    state.fires.recent.fill(0);
    state.fires.recent_tokens = 0;
    clock.restart();
    metrics
}

/// How many features are dense, and how many are in each bin.
fn by_density(densities: impl Iterator<Item = f64>) -> (usize, Vec<usize>) {
    let (mut dense, mut bins) = (0, vec![0; BINS]);
    for density in densities {
        dense += usize::from(density > DENSE);
        // Half decades above 1e-6; what never was is minus infinity.
        let bin = ((density.log10() + 6.0) * 2.0).floor() + 1.0;
        bins[bin.clamp(0.0, (BINS - 1) as f64) as usize] += 1;
    }
    (dense, bins)
}

#[cfg(test)]
mod tests {
    use super::by_density;

    #[test]
    fn features_are_counted_by_the_half_decade_of_their_density() {
        let (dense, bins) = by_density([0.0, 5e-7, 2e-6, 4e-6, 0.05, 0.2, 1.0].into_iter());
        assert_eq!(dense, 2);
        assert_eq!(bins, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    }
}
