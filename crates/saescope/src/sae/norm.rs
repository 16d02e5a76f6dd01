//! The norm that a token's activation goes through before it is encoded, undone after decoding.

use serde::{Deserialize, Serialize};

/// How a token's activation is normalised before it is encoded.
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
    /// Normalises a row in place; `centre` subtracts its mean first, whatever the norm.
    pub(crate) fn enter(self, centre: bool, x: &mut [f32]) -> Frame {
        let mut frame = Frame {
            mean: 0.0,
            scale: 1.0,
        };
        if centre || self == InputNorm::LayerNorm {
            frame.mean = mean(x) as f32;
            x.iter_mut().for_each(|x| *x -= frame.mean);
        }
        let factor = match self {
            InputNorm::None => return frame,
            InputNorm::LayerNorm => {
                // About the mean that rounding leaves after the subtraction, as torch computes it too.
                let rest = mean(x);
                let squares = x.iter().map(|&x| (f64::from(x) - rest).powi(2));
                let std = (squares.sum::<f64>() / (x.len() - 1) as f64).sqrt();
                frame.scale = std as f32;
                1.0 / (std + EPS)
            }
            InputNorm::Scale(factor) => {
                frame.scale = 1.0 / factor;
                f64::from(factor)
            }
            InputNorm::ConstantNorm => {
                let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
                let share = (squares / x.len() as f64).sqrt();
                frame.scale = share as f32;
                // A row of zeros has no norm to divide by.
                if share > 0.0 { 1.0 / share } else { 0.0 }
            }
        };
        x.iter_mut()
            .for_each(|x| *x = (f64::from(*x) * factor) as f32);
        frame
    }
}

fn mean(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64
}
