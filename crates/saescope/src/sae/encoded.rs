//! Active features of some tokens, with what decoding needs to know of each token.

use saescope_kernels::{Matrix, SparseRows};

use super::norm::Frame;

/// The active features of every token.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Row by row the features that are active and their activations.
    pub features: SparseRows,
    /// One per row, or none where nothing has to be undone.
    frames: Vec<Frame>,
    /// What passed by the features, `[tokens, d_out]`.
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

    /// What one unit of activation writes on a token, as a multiple of the feature's direction.
    pub fn written_scale(&self, row: usize) -> f32 {
        self.frames.get(row).map_or(1.0, |frame| frame.scale)
    }

    /// The same tokens with other activations.
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
