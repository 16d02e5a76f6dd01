//! The lines of metrics, and the clock behind them.

use std::time::{Duration, Instant};

use super::TrainConfig;
use super::sink::Metrics;
use super::state::State;
use super::step::StepReport;
use crate::activations::Clocks;
use crate::density::densities;
use crate::direction::{Pairs, orthogonality};

/// Largest number of multiply-adds that a line spends on the decoder's orthogonality.
const MAX_BUDGET: u64 = 30_000_000_000;
/// Smallest such number: a millisecond, enough for all pairs of a small dictionary.
const MIN_BUDGET: u64 = 100_000_000;
/// A line spends at most this fraction, one in so many, of the multiply-adds of one product of the
/// dictionary with all tokens from line to line.
const BUDGET_SHARE: u64 = 20;

/// The time since the last line, by what took it.
pub(super) struct Clock {
    since: Instant,
    batches: Duration,
    train: Duration,
    /// The clocks of the source now and at the last line.
    source: Clocks,
    source_before: Clocks,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            since: Instant::now(),
            batches: Duration::ZERO,
            train: Duration::ZERO,
            source: Clocks::default(),
            source_before: Clocks::default(),
        }
    }

    /// Adds time spent waiting for a batch, after which the source shows `source`.
    pub(super) fn waited(&mut self, time: Duration, source: Clocks) {
        self.batches += time;
        self.source = source;
    }

    /// Adds time spent on training.
    pub(super) fn trained(&mut self, time: Duration) {
        self.train += time;
    }

    fn restart(&mut self) {
        *self = Clock {
            source: self.source,
            source_before: self.source,
            ..Clock::start()
        };
    }
}

/// Number of decoder pairs that a line names.
const NAMED_PAIRS: usize = 3;

/// Multiply-adds that a line spends on the orthogonality of a decoder of `shape`, `(d_sae, d_out)`. Lines
/// cost little however frequent they are, and all lines of a run compare the same rows.
fn budget(config: &TrainConfig, shape: (usize, usize)) -> u64 {
    let tokens = config.log_every.saturating_mul(config.batch_tokens as u64);
    let product = tokens.saturating_mul((shape.0 * shape.1) as u64);
    (product / BUDGET_SHARE).clamp(MIN_BUDGET, MAX_BUDGET)
}

/// The metrics after a step, of all steps since the last line; resets what is counted from line to line.
pub(super) fn line(state: &mut State, report: &StepReport, clock: &mut Clock) -> Metrics {
    let State { setup, learner } = state;
    let config = &setup.config;
    let w_dec = &learner.weights.w_dec;
    let shape = (w_dec.rows(), w_dec.cols());
    let pairs = Pairs::within(budget(config, shape), shape.0, shape.1, config.seed);
    let right_angles = orthogonality(w_dec, pairs, NAMED_PAIRS);
    // Counts are signed, as checkpoints store them.
    let firing: Vec<u64> = learner
        .firing
        .recent
        .iter()
        .map(|n| n.unsigned_abs())
        .collect();
    let densities = densities(&firing, learner.firing.recent_tokens.unsigned_abs());
    let tokens = learner.firing.recent_tokens.max(1) as f64;
    let dead = learner.firing.dead(config.dead.window_tokens).len();
    let seconds = clock.since.elapsed().as_secs_f64();
    let metrics = Metrics {
        step: learner.step,
        tokens: learner.tokens,
        loss: report.loss.total(),
        loss_reconstruction: report.loss.reconstruction,
        loss_sparsity: report.loss.sparsity,
        loss_aux: report.loss.aux,
        explained_variance: report.explained_variance,
        l0: report.l0,
        dead,
        dense: densities.dense,
        density_histogram: densities.histogram,
        off_diag_mean: right_angles.mean,
        off_diag_max: right_angles.max,
        off_diag_pairs: right_angles.largest,
        off_diag_rows: right_angles.rows,
        grad_norm: report.grad_norm,
        lr: f64::from(report.lr),
        sparsity_scale: f64::from(report.sparsity),
        tokens_per_s: tokens / seconds.max(1e-9),
        seconds_batches: clock.batches.as_secs_f64(),
        seconds_train: clock.train.as_secs_f64(),
        seconds_model: clock.source.seconds_model - clock.source_before.seconds_model,
        seconds_buffer: clock.source.seconds_buffer - clock.source_before.seconds_buffer,
    };
    learner.firing.recent.fill(0);
    learner.firing.recent_tokens = 0;
    clock.restart();
    metrics
}
