//! Everything that training changes.

use serde::{Deserialize, Serialize};

use super::dead::Fires;
use super::input::Entrance;
use super::weights::{Optimiser, Weights};
use super::{TrainConfig, dense};
use crate::activations::Batch;

/// What was measured of the activations of a run's first batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputStatistics {
    /// `|mean| / |standard deviation|`, both over all components. The larger, the more features are
    /// dead from the start unless the mean is taken off.
    pub gamma: f64,
    /// Mean norm.
    pub mean_norm: f64,
}

/// Everything that training changes: weights, the optimiser's moments, counters, and what was
/// measured first. Random numbers depend on the seed and the step alone.
pub struct State {
    pub(super) config: TrainConfig,
    pub(super) weights: Weights,
    pub(super) optimiser: Optimiser,
    pub(super) entrance: Entrance,
    pub(super) fires: Fires,
    /// BatchTopK's running mean of the smallest activation of a batch.
    pub(super) threshold: Option<f64>,
    /// BatchTopK's guess of the next batch's smallest activation; changes nothing but the time.
    pub(super) guess: f32,
    pub(super) room: dense::Room,
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
        let entrance = Entrance::measure(config, first);
        let weights = Weights::init(config, &entrance.enter(config, first));
        State {
            config: config.clone(),
            optimiser: Optimiser::new(&weights),
            weights,
            entrance,
            fires: Fires::new(config.d_sae),
            threshold: None,
            guess: 0.0,
            room: dense::Room::new(config),
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
        self.entrance.statistics
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
