//! Training sparse autoencoders: batches of activations in, metrics and an autoencoder out.
//!
//! Knows no model, no corpus and no file: [`Batch`]es come from an iterator, and a [`Sink`] keeps
//! what is to be kept. Several autoencoders train side by side on one stream.

mod config;
mod sink;

pub use config::{
    Adam, AuxForm, AuxK, Dead, DecoderNorm, Init, InitBias, Input, JumpPenalty, Objective,
    Products, Reconstruction, TrainConfig, Transcoder, Treatment,
};
pub use sink::{Go, Metrics, Sink};

use crate::activations::Batch;
use crate::error::Result;
use crate::sae::{Record, Sae};

/// An autoencoder to be trained, and who watches.
pub struct Run<'a> {
    /// How it is trained.
    pub config: &'a TrainConfig,
    /// Where it belongs.
    pub record: Record,
    /// Where it goes on, as a checkpoint had it.
    pub resume: Option<State>,
    /// Who is told.
    pub sink: &'a mut dyn Sink,
}

/// Everything that training changes: weights, the optimiser's moments, counters, random state.
pub struct State {}

impl State {
    /// Steps done.
    pub fn step(&self) -> u64 {
        todo!()
    }

    /// What is used after training: other architectures as ReLU, TopK or JumpReLU, the input's scale
    /// and mean folded in.
    pub fn sae(&self, _record: Record) -> Result<Sae> {
        todo!()
    }
}

/// Trains every run on the same batches, which have to be as many as the longest run has steps left.
/// Runs that resume have to be at the same step, and `batches` behind what they have seen.
///
/// # Errors
/// When a configuration makes no sense, a batch fails, activations or the loss are not finite, or a
/// sink fails. The last checkpoint stays good.
pub fn train(
    _runs: Vec<Run>,
    _batches: &mut dyn Iterator<Item = Result<Batch>>,
) -> Result<Vec<Sae>> {
    todo!()
}
