//! Rewrites other architectures as `gate(x W_enc + b_enc) W_dec + b_dec`, exactly but for rounding.
//!
//! These are identities of the weights alone; who needs which is known to `foreign` and `train`.

use saescope_kernels::{Gate, Matrix, row_norms, scale_rows};

use super::Weights;
use super::norm::InputNorm;

/// Bias and gate of a gated encoder, whose weight `w_enc`, `[d_sae, d_in]`, is scaled in place.
///
/// With `z = x W`, a feature is active when `z + b_gate > 0`, and its activation then is
/// `relu(s z + b_mag)`, where `s = exp(r_mag)` are the `scales`. As `s > 0`, that is JumpReLU over
/// `s z + b_mag` with threshold `max(0, b_mag - s b_gate)` (Rajamanoharan et al. 2024).
pub(crate) fn gated(
    w_enc: &mut Matrix,
    scales: &[f32],
    b_gate: &[f32],
    b_mag: Vec<f32>,
) -> (Vec<f32>, Gate) {
    let thresholds = scales
        .iter()
        .zip(b_gate)
        .zip(&b_mag)
        .map(|((s, gate), mag)| (mag - s * gate).max(0.0))
        .collect();
    scale_rows(w_enc, scales);
    (b_mag, Gate::Above(thresholds))
}

/// Divides every decoder row by its norm and multiplies the feature's encoder by that norm. Activations
/// are then those that SAELens compares when it rescales them by the decoder's norm.
pub(super) fn decoder_norms(w_enc: &mut Matrix, b_enc: &mut [f32], w_dec: &mut Matrix) {
    let norms = row_norms(w_dec);
    scale_rows(w_enc, &norms);
    b_enc.iter_mut().zip(&norms).for_each(|(b, n)| *b *= n);
    // A row of zeros has no norm to divide by, and its feature is never active.
    let inverse: Vec<f32> = norms
        .iter()
        .map(|n| if *n > 0.0 { 1.0 / n } else { 1.0 })
        .collect();
    scale_rows(w_dec, &inverse);
}

/// Folds a constant input scale into the weights. Activations do not change.
pub(super) fn input_scale(weights: &mut Weights) {
    let InputNorm::Scale(scale) = weights.input_norm else {
        return;
    };
    weights.input_norm = InputNorm::None;
    weights.w_enc.scale(scale);
    // A transcoder's output was never scaled.
    if !weights.transcoder {
        weights.w_dec.scale(1.0 / scale);
        weights.b_dec.iter_mut().for_each(|b| *b /= scale);
    }
}
