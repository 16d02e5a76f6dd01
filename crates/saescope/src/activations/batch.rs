//! A batch of activations, and the trait of everything that provides batches.

use saescope_kernels::Matrix;

use crate::error::Result;

/// Activations of some tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The activations that an autoencoder reads, `[tokens, d_in]`.
    pub x: Matrix,
    /// The activations that a transcoder reconstructs, `[tokens, d_out]`; an autoencoder reconstructs `x`.
    pub target: Option<Matrix>,
}

/// A source of batches without end: after the last token the next epoch begins.
pub trait Batches: Iterator<Item = Result<Batch>> {
    /// Continues after the first `batches_done` batches.
    fn seek(&mut self, batches_done: u64);

    /// The time that all batches so far have taken.
    fn clocks(&self) -> Clocks;

    /// Bytes that the source holds in memory, without the weights of a model.
    fn predicted_bytes(&self) -> u64;
}

/// The time that a source of batches has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clocks {
    /// Seconds of the model's forward passes.
    pub seconds_model: f64,
    /// Seconds of mixing, copying and reading.
    pub seconds_buffer: f64,
}
