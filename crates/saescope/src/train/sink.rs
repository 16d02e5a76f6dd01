//! The metrics of a run, and the trait of their receiver.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::direction::Pair;
use crate::error::Result;
use crate::null_as_nan;

/// One line of metrics, of one log step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// The loss of the step, all parts together.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub loss: f64,
    /// The part for the error of the reconstruction.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub loss_reconstruction: f64,
    /// The part for sparsity.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub loss_sparsity: f64,
    /// The part for dead features or the gate.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub loss_aux: f64,
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2` over the batch, in the units of the target.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub explained_variance: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Features that were not active within the window.
    pub dead: usize,
    /// Features active on more than a tenth of the tokens since the last line.
    pub dense: usize,
    /// Number of features by density since the last line, in 13 bins: below 1e-6, then half a decade each
    /// up to 1.
    pub density_histogram: Vec<usize>,
    /// Mean |cosine| of two different decoder rows, `off_diag_rows` of them with every other.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub off_diag_mean: f64,
    /// The largest |cosine| of these pairs.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub off_diag_max: f64,
    /// The pairs of decoder rows with the largest |cosine|, in descending order.
    #[serde(default)]
    pub off_diag_pairs: Vec<Pair>,
    /// Number of decoder rows that were compared with every other: all, or a sample of a large dictionary.
    #[serde(default)]
    pub off_diag_rows: usize,
    /// Norm of the gradient before clipping.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub grad_norm: f64,
    /// The learning rate.
    pub lr: f64,
    /// The current factor of the sparsity penalty.
    pub sparsity_scale: f64,
    /// Tokens per second since the last line.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub tokens_per_s: f64,
    /// Seconds since the last line that were spent waiting for activations.
    pub seconds_batches: f64,
    /// Seconds since the last line that were spent on training.
    pub seconds_train: f64,
    /// Seconds of `seconds_batches` that the model took.
    #[serde(default)]
    pub seconds_model: f64,
    /// Seconds of `seconds_batches` that mixing, copying and reading took.
    #[serde(default)]
    pub seconds_buffer: f64,
}

/// The receiver of a run's metrics and checkpoints.
pub trait Sink {
    /// Called after every step. A break ends the run with a checkpoint.
    fn step(&mut self, step: u64) -> ControlFlow<()>;
    /// Receives a line of metrics.
    ///
    /// # Errors
    /// An error ends the run.
    fn metrics(&mut self, metrics: &Metrics) -> Result<()>;
    /// Receives a state from which training continues bit for bit.
    ///
    /// # Errors
    /// An error ends the run.
    fn checkpoint(&mut self, state: &State) -> Result<()>;
}
