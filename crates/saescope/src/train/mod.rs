//! Training sparse autoencoders: batches of activations in, metrics and an autoencoder out.
//!
//! Knows no model, no corpus and no file: [`Batches`](crate::activations::Batches) provides activations,
//! and a [`Sink`] receives metrics and states. Several autoencoders train side by side on one stream.

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
mod sweep;
mod weights;

pub use config::{
    Adam, AuxForm, AuxK, Dead, DecoderNorm, Init, InitBias, Input, JumpPenalty, Objective,
    Products, Reconstruction, TrainConfig, Transcoder, Treatment,
};
pub use input::InputStatistics;
pub(crate) use parts::{Counters, TensorMemory};
pub use recipe::Recipe;
pub use run::{Run, train};
pub use sink::{Metrics, Sink};
pub use state::State;
pub use sweep::{Assignment, Axis, Choice, Setting, Widths, settings};

#[cfg(test)]
mod tests;
