//! Training sparse autoencoders: batches of activations in, metrics and an autoencoder out.
//!
//! Knows no model, no corpus and no file: [`Batch`](crate::activations::Batch)es come from an
//! iterator, and a [`Sink`] keeps what is to be kept. Several autoencoders train side by side on
//! one stream.

mod activity;
mod aux;
mod check;
mod config;
mod dead;
mod dense;
mod fold;
mod gated;
mod init;
mod input;
mod jump;
mod metrics;
mod parts;
mod pass;
mod plain;
mod random;
mod recipe;
mod run;
mod select;
mod sink;
mod state;
mod step;
mod weights;

pub use config::{
    Adam, AuxForm, AuxK, Dead, DecoderNorm, Init, InitBias, Input, JumpPenalty, Objective,
    Products, Reconstruction, TrainConfig, Transcoder, Treatment,
};
pub use input::InputStatistics;
pub(crate) use parts::{Counters, TensorMemory};
pub use recipe::Recipe;
pub use run::train;
pub use sink::{Go, Metrics, Sink};
pub use state::State;

use crate::sae::Record;

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

#[cfg(test)]
mod tests;
