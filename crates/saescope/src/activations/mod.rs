//! Activations of many texts, as training and evaluation take them: batch by batch.

mod stream;

use saescope_kernels::Matrix;

pub use stream::{Stream, StreamConfig};

/// Activations of some tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What is read: `[tokens, d_in]`.
    pub x: Matrix,
    /// What a transcoder has to reconstruct, `[tokens, d_out]`; an autoencoder reconstructs `x`.
    pub target: Option<Matrix>,
}
