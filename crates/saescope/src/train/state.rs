//! Everything that training changes.

use super::activity::FiringCounts;
use super::input::{InputStatistics, InputTransform};
use super::weights::{Optimiser, Weights};
use super::{TrainConfig, dense};
use crate::activations::Batch;

/// Everything that training changes: weights, the optimiser's moments, counters, and what was
/// measured first. Random numbers depend on the seed and the step alone.
pub struct State {
    pub(super) config: TrainConfig,
    pub(super) weights: Weights,
    pub(super) optimiser: Optimiser,
    pub(super) transform: InputTransform,
    pub(super) firing: FiringCounts,
    /// BatchTopK's running mean of the smallest activation of a batch.
    pub(super) threshold: Option<f64>,
    /// BatchTopK's guess of the next batch's smallest activation; changes nothing but the time.
    pub(super) guess: f32,
    pub(super) room: dense::DenseWorkspace,
    /// Share of the features that was active on a token of the last batch.
    pub(super) share: f64,
    /// How often features were resampled.
    pub(super) resampled: u32,
    pub(super) step: u64,
    pub(super) tokens: u64,
}

impl State {
    /// Before the first step, whose batch is `first`.
    pub(super) fn new(config: &TrainConfig, first: &Batch) -> State {
        let transform = InputTransform::measure(config, first);
        let weights = Weights::init(config, &transform.enter(config, first));
        State {
            config: config.clone(),
            optimiser: Optimiser::new(&weights),
            weights,
            transform,
            firing: FiringCounts::new(config.d_sae),
            threshold: None,
            guess: 0.0,
            room: dense::DenseWorkspace::new(config),
            share: 1.0,
            resampled: 0,
            step: 0,
            tokens: 0,
        }
    }

    /// How it is trained.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Tokens seen.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What was measured of the first batch's activations.
    pub fn input_statistics(&self) -> InputStatistics {
        self.transform.statistics
    }

    /// Width of what it reads.
    pub fn d_in(&self) -> usize {
        self.weights.w_enc().cols()
    }

    /// Width of what it writes.
    pub fn d_out(&self) -> usize {
        self.weights.w_dec.cols()
    }
}
