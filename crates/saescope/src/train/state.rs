//! The state of a training: its fixed setup, and everything that a step changes.

use super::TrainConfig;
use super::activity::FiringCounts;
use super::dense::DenseWorkspace;
use super::input::{InputStatistics, InputTransform};
use super::weights::{Optimiser, Weights};
use crate::activations::Batch;

/// The state of a training. Random numbers are no part of it, since they depend on the seed and the
/// step alone.
pub struct State {
    pub(super) setup: Setup,
    pub(super) learner: Learner,
}

/// The part of a state that is fixed once the first batch is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setup {
    pub(super) config: TrainConfig,
    pub(super) transform: InputTransform,
}

/// The part of a state that steps change: weights, the optimiser's moments, counters.
pub(super) struct Learner {
    pub(super) weights: Weights,
    pub(super) optimiser: Optimiser,
    pub(super) firing: FiringCounts,
    /// Running mean of the smallest activation of a batch, for BatchTopK.
    pub(super) threshold: Option<f64>,
    /// Guess of the next batch's smallest activation, for BatchTopK. It changes the time and no result.
    pub(super) guess: f32,
    pub(super) workspace: DenseWorkspace,
    /// Mean share of the features that were active on a token of the last batch.
    pub(super) share: f64,
    /// Number of resamplings so far.
    pub(super) resampled: u32,
    pub(super) step: u64,
    pub(super) tokens: u64,
}

impl State {
    /// The state before the first step, whose batch is `first`.
    pub(super) fn new(config: &TrainConfig, first: &Batch) -> State {
        let transform = InputTransform::measure(config, first);
        let weights = Weights::init(config, &transform.apply(config, first));
        State {
            setup: Setup {
                config: config.clone(),
                transform,
            },
            learner: Learner {
                optimiser: Optimiser::new(&weights),
                weights,
                firing: FiringCounts::new(config.d_sae),
                threshold: None,
                guess: 0.0,
                workspace: DenseWorkspace::new(config),
                share: 1.0,
                resampled: 0,
                step: 0,
                tokens: 0,
            },
        }
    }

    /// The configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.setup.config
    }

    /// Number of steps done.
    pub fn step(&self) -> u64 {
        self.learner.step
    }

    /// Number of tokens trained on.
    pub fn tokens(&self) -> u64 {
        self.learner.tokens
    }

    /// Statistics of the first batch's activations.
    pub fn input_statistics(&self) -> InputStatistics {
        self.setup.transform.statistics
    }

    /// Width of the activations that it reads.
    pub fn d_in(&self) -> usize {
        self.learner.weights.w_enc().cols()
    }

    /// Width of the activations that it reconstructs.
    pub fn d_out(&self) -> usize {
        self.learner.weights.w_dec.cols()
    }
}
