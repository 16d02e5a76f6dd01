//! The transform of activations before they are encoded, measured on the first batch of a run.

use std::borrow::Cow;

use saescope_kernels::{
    Matrix, RowSet, centre_and_scale, dot, squared_row_distances, squared_row_norms,
};
use serde::{Deserialize, Serialize};

use super::{Input, TrainConfig};
use crate::activations::Batch;
use crate::null_as_nan;
use crate::sae::InputNorm;
pub(super) use crate::variance::{column_means, column_sums};

/// Statistics of the activations of a run's first batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputStatistics {
    /// `|mean| / |standard deviation|`, both over all components. The larger, the more features are
    /// dead from the start unless the mean is subtracted. Not finite if the batch has no variance.
    #[serde(deserialize_with = "null_as_nan::deserialize")]
    pub gamma: f64,
    /// Mean norm.
    pub mean_norm: f64,
}

/// An affine transform of activations: `scale (x - mean)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affine {
    /// `[d]`
    pub(super) mean: Vec<f32>,
    pub(super) scale: f32,
}

impl Affine {
    /// The transform that `input` asks for, measured on `x`, `[tokens, d]`.
    fn measure(input: Input, x: &Matrix) -> Affine {
        let mut affine = Affine {
            mean: vec![0.0; x.cols()],
            scale: 1.0,
        };
        if input == Input::CentreAndScale {
            affine.mean = column_means(x);
        }
        if matches!(input, Input::Scale | Input::CentreAndScale) {
            let squares = squared_row_distances(x, &affine.mean);
            let norms: Vec<f64> = squares.iter().map(|square| square.sqrt()).collect();
            let norm = norms.iter().sum::<f64>() / norms.len() as f64;
            if norm > 0.0 {
                affine.scale = ((x.cols() as f64).sqrt() / norm) as f32;
            }
        }
        affine
    }

    fn changes_nothing(&self) -> bool {
        self.scale == 1.0 && self.mean.iter().all(|&mean| mean == 0.0)
    }

    fn apply<'a>(&self, x: &'a Matrix) -> Cow<'a, Matrix> {
        if self.changes_nothing() {
            return Cow::Borrowed(x);
        }
        let mut out = x.clone();
        centre_and_scale(&mut out, &self.mean, self.scale);
        Cow::Owned(out)
    }
}

/// The transform of a run's activations, measured on its first batch and the same for all batches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InputTransform {
    pub(super) x: Affine,
    /// The transform of a transcoder's target.
    pub(super) target: Option<Affine>,
    pub(super) statistics: InputStatistics,
}

/// A transformed batch.
pub(super) struct PreparedBatch<'a> {
    /// `[tokens, d_in]`
    pub(super) x: Cow<'a, Matrix>,
    /// The target of a transcoder, `[tokens, d_out]`.
    own_target: Option<Cow<'a, Matrix>>,
    /// The length in the model's space of one unit, for each token; empty if it is the same for all.
    pub(super) units: Vec<f32>,
}

impl PreparedBatch<'_> {
    /// The target of the reconstruction, `[tokens, d_out]`.
    pub(super) fn target(&self) -> &Matrix {
        self.own_target.as_deref().unwrap_or(&self.x)
    }
}

impl InputTransform {
    pub(super) fn measure(config: &TrainConfig, batch: &Batch) -> InputTransform {
        let target = batch.target.as_ref();
        let scaled = matches!(config.input, Input::Scale | Input::CentreAndScale);
        let input = |scaled: bool| if scaled { config.input } else { Input::Raw };
        InputTransform {
            x: Affine::measure(input(scaled), &batch.x),
            target: target.map(|target| Affine::measure(input(scaled), target)),
            statistics: InputStatistics::measure(&batch.x),
        }
    }

    pub(super) fn apply<'a>(&self, config: &TrainConfig, batch: &'a Batch) -> PreparedBatch<'a> {
        let own_target = match (&self.target, &batch.target) {
            (Some(affine), Some(target)) => Some(affine.apply(target)),
            _ => None,
        };
        if config.input != Input::LayerNorm {
            return PreparedBatch {
                x: self.x.apply(&batch.x),
                own_target,
                units: Vec::new(),
            };
        }
        let mut x = batch.x.clone();
        let frames = InputNorm::LayerNorm.enter(false, &mut x);
        let units: Vec<f32> = frames.iter().map(|frame| frame.scale).collect();
        // The target of a transcoder is not normalised, so that nothing is undone after decoding.
        let units = if own_target.is_some() {
            Vec::new()
        } else {
            units
        };
        PreparedBatch {
            x: Cow::Owned(x),
            own_target,
            units,
        }
    }
}

impl InputStatistics {
    /// The statistics of `x`, `[tokens, d]`.
    pub fn measure(x: &Matrix) -> InputStatistics {
        let n = x.rows().max(1) as f64;
        let mean = column_means(x);
        let squares = squared_row_norms(x, RowSet::All);
        let mean_squares = dot(&mean, &mean);
        let variance = (squares.iter().sum::<f64>() / n - mean_squares).max(0.0);
        InputStatistics {
            mean_norm: squares.iter().map(|square| square.sqrt()).sum::<f64>() / n,
            gamma: (mean_squares / variance).sqrt(),
        }
    }
}
