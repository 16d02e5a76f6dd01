//! The auxiliary loss: dead features reconstruct the residual of the others (Gao et al. 2024, A.2).
//!
//! In every form their reconstruction has no decoder bias, since the residual already lacks it.

use saescope_kernels::{Encoder, Gate, Matrix, SparseRows, row_norms};

use super::pass::{PassInput, ReconstructionError, variance, with_values};
use super::{AuxForm, AuxK, Objective};

/// The reconstruction of the residual by dead features.
pub(super) struct AuxReconstruction {
    pub(super) loss: f64,
    /// Dead features with their activations.
    pub(super) rows: SparseRows,
    /// The gradient by their reconstruction, `[tokens, d_out]`.
    pub(super) gradient: Matrix,
}

/// The auxiliary loss; none if the objective has none, no feature is dead, or the residual is zero.
pub(super) fn explain(
    input: &PassInput,
    error: &ReconstructionError,
    dead: &[u32],
) -> Option<AuxReconstruction> {
    let (Objective::TopK { aux, .. }
    | Objective::BatchTopK { aux, .. }
    | Objective::Matryoshka { aux, .. }) = &input.config.objective
    else {
        return None;
    };
    let aux = aux.as_ref().filter(|_| !dead.is_empty())?;
    let residual = error.residual();
    let scale = match aux.form {
        AuxForm::Paper => 1.0,
        AuxForm::Saelens | AuxForm::Sparsify => (dead.len() as f64 / aux.k as f64).min(1.0),
    };
    let whole = match aux.form {
        AuxForm::Paper => variance(&residual),
        AuxForm::Saelens => residual.rows() as f64,
        AuxForm::Sparsify => variance(input.tokens.target()),
    };
    if whole <= 0.0 {
        return None;
    }
    let rows = strongest(input, aux, dead);
    let zeros = vec![0.0; residual.cols()];
    let reconstruction = rows.product(&input.weights.w_dec, &zeros);
    let weight = f64::from(aux.coefficient) * scale / whole;
    let reconstruction = ReconstructionError::new(reconstruction, &residual, weight);
    Some(AuxReconstruction {
        loss: reconstruction.loss,
        rows,
        gradient: reconstruction.gradient,
    })
}

/// The largest pre-activations of dead features on every token. Only SAELens keeps negative ones.
fn strongest(input: &PassInput, aux: &AuxK, dead: &[u32]) -> SparseRows {
    let indices: Vec<usize> = dead.iter().map(|&feature| feature as usize).collect();
    let w_enc = input.weights.w_enc().select_rows(&indices);
    let b_enc = &input.weights.vectors.b_enc;
    let signed = aux.form == AuxForm::Saelens;
    // A constant that makes all pre-activations positive does not change their order.
    let lift = if signed {
        bound(&w_enc, input.encoder_input, b_enc)
    } else {
        0.0
    };
    let bias = indices.iter().map(|&i| b_enc[i] + lift).collect();
    let encoder = Encoder::new(w_enc, bias, Gate::TopK(aux.k.min(dead.len())));
    let found = encoder.encode(input.encoder_input);
    let mut rows = SparseRows::default();
    for row in 0..found.rows() {
        let entries = found.entries(row);
        rows.push(entries.map(|(at, value)| (dead[at as usize], value)));
    }
    if !signed {
        return rows;
    }
    let mut values = rows.dots(input.encoder_input, input.weights.w_enc());
    for (value, &feature) in values.iter_mut().zip(rows.features()) {
        *value += b_enc[feature as usize];
    }
    with_values(&rows, &values)
}

/// An upper bound of all |pre-activations|.
fn bound(w_enc: &Matrix, x: &Matrix, b_enc: &[f32]) -> f32 {
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let norms = largest(&row_norms(w_enc)) * largest(&row_norms(x));
    1.0 + 1.001 * norms + largest(b_enc)
}
