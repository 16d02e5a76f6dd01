//! What a run tells whoever watches it.

use serde::{Deserialize, Serialize};

use super::State;
use crate::direction::Pair;
use crate::error::Result;

/// One line of metrics: what one log step saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// The loss of the step, all parts.
    pub loss: f64,
    /// Its part for the error of the reconstruction.
    pub loss_reconstruction: f64,
    /// Its part for sparsity.
    pub loss_sparsity: f64,
    /// Its part for dead features or the gate.
    pub loss_aux: f64,
    /// `1 - sum |x - y|^2 / sum |x - mean x|^2` over the batch, in the units of the target.
    pub explained_variance: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Features that were not active within the window.
    pub dead: usize,
    /// Features active on more than a tenth of the tokens since the last line.
    pub dense: usize,
    /// Features by their density since the last line, 13 bins: one for what is below 1e-6, then half a
    /// decade each up to 1.
    pub density_histogram: Vec<usize>,
    /// Mean |cosine| of two different decoder rows, `off_diag_rows` of them with every other.
    pub off_diag_mean: f64,
    /// The largest |cosine| of those.
    pub off_diag_max: f64,
    /// The pairs of decoder rows of largest |cosine|, the largest first.
    #[serde(default)]
    pub off_diag_pairs: Vec<Pair>,
    /// Decoder rows that were compared with every other: all, or a sample of a large dictionary.
    #[serde(default)]
    pub off_diag_rows: usize,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub lr: f64,
    /// What the sparsity penalty is multiplied with by now.
    pub sparsity_scale: f64,
    /// Tokens per second since the last line.
    pub tokens_per_s: f64,
    /// Seconds since the last line that were spent waiting for activations.
    pub seconds_batches: f64,
    /// Seconds since the last line that were spent on training.
    pub seconds_train: f64,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// It does.
    On,
    /// It writes a checkpoint and ends.
    Stop,
}

/// Receives what a run has to tell.
pub trait Sink {
    /// Asked after every step.
    fn step(&mut self, step: u64) -> Go;
    /// A line of metrics.
    ///
    /// # Errors
    /// End the run.
    fn metrics(&mut self, metrics: &Metrics) -> Result<()>;
    /// Everything that is needed to go on from here bit for bit.
    ///
    /// # Errors
    /// End the run.
    fn checkpoint(&mut self, state: &State) -> Result<()>;
}
