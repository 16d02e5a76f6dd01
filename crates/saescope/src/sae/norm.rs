//! The norm that a token's activation goes through before it is encoded, undone after decoding.

use saescope_kernels::{Matrix, centre_rows, divide_rows_by_rms, standardise_rows};
use serde::{Deserialize, Serialize};

/// The normalisation of a token's activation before it is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNorm {
    /// No norm.
    #[default]
    None,
    /// Mean 0 and standard deviation 1, as OpenAI computes it: `(x - mean) / (std + 1e-5)` with the
    /// unbiased `std`; decoding multiplies by `std` alone (Gao et al. 2024).
    LayerNorm,
    /// Times a constant that brings the mean norm of a model's activations to `sqrt(d_in)`.
    Scale(f32),
    /// Times `sqrt(d_in) / |x|`, token by token.
    ConstantNorm,
}

/// Added to the standard deviation before it divides.
const EPS: f64 = 1e-5;

/// The affine map of a token from the autoencoder's space to the model's: `x_model = mean + scale * x_sae`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    /// The mean that was subtracted from every component.
    pub(crate) mean: f32,
    /// The length in the model's space of one unit of the autoencoder's.
    pub(crate) scale: f32,
}

impl InputNorm {
    /// Normalises every row of `x` in place; `centre` subtracts its mean first, whatever the norm.
    pub(crate) fn enter(self, centre: bool, x: &mut Matrix) -> Vec<Frame> {
        let means = if centre || self == InputNorm::LayerNorm {
            centre_rows(x)
        } else {
            vec![0.0; x.rows()]
        };
        let scales = match self {
            InputNorm::None => vec![1.0; x.rows()],
            // About the mean that rounding leaves after the subtraction, as torch computes it too.
            InputNorm::LayerNorm => standardise_rows(x, EPS),
            InputNorm::Scale(factor) => {
                x.scale(factor);
                vec![1.0 / factor; x.rows()]
            }
            InputNorm::ConstantNorm => divide_rows_by_rms(x),
        };
        let frames = means.into_iter().zip(scales);
        frames.map(|(mean, scale)| Frame { mean, scale }).collect()
    }
}
