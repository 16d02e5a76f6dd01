//! The active features of some tokens, with the data of each token that decoding needs.

use saescope_kernels::{Matrix, SparseRows};

use super::norm::Frame;

/// The active features of every token.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Ids and activations of the active features, a row per token.
    pub features: SparseRows,
    /// One per row; empty if decoding has no input norm to undo.
    frames: Vec<Frame>,
    /// The output of the skip connection, `[tokens, d_out]`.
    skip: Option<Matrix>,
}

impl Encoded {
    pub(super) fn new(features: SparseRows, frames: Vec<Frame>, skip: Option<Matrix>) -> Encoded {
        Encoded {
            features,
            frames,
            skip,
        }
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.features.rows()
    }

    /// The multiple of a feature's direction that one unit of its activation writes on a token.
    pub fn written_scale(&self, row: usize) -> f32 {
        self.frames.get(row).map_or(1.0, |frame| frame.scale)
    }

    /// The same tokens with other active features.
    pub(super) fn with(&self, features: SparseRows) -> Encoded {
        Encoded {
            features,
            ..self.clone()
        }
    }

    pub(super) fn frames(&self) -> Option<&[Frame]> {
        (!self.frames.is_empty()).then_some(self.frames.as_slice())
    }

    pub(super) fn skip(&self) -> Option<&Matrix> {
        self.skip.as_ref()
    }
}
