//! Gated: a feature is on where its gate `pi = e . x + b_gate` is positive, and then is
//! `relu(exp(r) e . x + b_mag)` (Rajamanoharan et al. 2024).
//!
//! The loss adds `coefficient * sum relu(pi) |d|`, and the error of the reconstruction from `relu(pi)`.

use std::borrow::Cow;

use saescope_kernels::{Columns, Matrix, SparseRows, Term};

use super::Objective;
use super::activity::{Activity, FiringCounts};
use super::pass::{Backward, Loss, PassInput, PassResult, with_values};
use super::weights::Vectors;

/// The pass, over the positive gates `found`.
pub(super) fn pass<'x>(
    input: &PassInput<'_, 'x>,
    found: &SparseRows,
    firing: &mut FiringCounts,
) -> PassResult<'x> {
    let Objective::Gated {
        coefficient,
        aux_trains_decoder,
    } = input.config.objective
    else {
        unreachable!("the objective is Gated");
    };
    let entries = Entries::new(input, found);
    let activity = Activity::of(found, &entries.magnitudes, input.config.d_sae);
    firing.record(&activity);
    let (error, magnitude) = input.error_of(&with_values(found, &entries.magnitudes));
    let (by_gate, gate) = input.error_of(found);
    let by_value = ByValue { magnitude, gate };
    let norms = input.decoder_norms();
    let weight = coefficient * input.sparsity / input.n() as f32;
    let terms = entries.terms(input, &by_value, &norms, weight);
    let columns = found.columns(input.config.d_sae);
    let errors = [&error.gradient, &by_gate.gradient];
    let errors = if aux_trains_decoder {
        &errors[..]
    } else {
        &errors[..1]
    };
    let vectors = terms.vectors(input, &columns, errors);
    let mut factors = columns.sums(found.values());
    factors.iter_mut().for_each(|sum| *sum *= weight);
    let mut decoder = vec![Term {
        values: entries.magnitudes,
        x: Cow::Owned(error.gradient),
    }];
    if aux_trains_decoder {
        decoder.push(Term {
            values: found.values().to_vec(),
            x: Cow::Owned(by_gate.gradient),
        });
    }
    let backward = Backward {
        columns,
        d_pre: terms.d_product,
        x: Cow::Borrowed(input.encoder_input),
        decoder,
    };
    let mut gradients = backward.gradients(vectors);
    gradients.add_norm_penalty(input, &factors);
    PassResult {
        loss: Loss {
            reconstruction: error.loss,
            sparsity: terms.penalty,
            aux: by_gate.loss,
        },
        activity,
        squared: error.squared,
        gradients,
    }
}

/// The entries whose gate is positive, and their magnitudes.
struct Entries<'a> {
    found: &'a SparseRows,
    /// `exp(r)` of every feature.
    scales: Vec<f32>,
    magnitudes: Vec<f32>,
}

/// The gradients of the two reconstruction errors by the values of each entry.
struct ByValue {
    magnitude: Vec<f32>,
    gate: Vec<f32>,
}

/// The gradients by the parts of each entry.
struct Terms {
    penalty: f64,
    d_gate: Vec<f32>,
    d_magnitude: Vec<f32>,
    /// The gradient by `r`.
    d_scale: Vec<f32>,
    /// The gradient by `e . x`, which gate and magnitude share.
    d_product: Vec<f32>,
}

impl Terms {
    /// The gradients of biases and of `r`; `errors` as [`Vectors::gradient`] takes them.
    fn vectors(&self, input: &PassInput, columns: &Columns, errors: &[&Matrix]) -> Vectors {
        // The bias that is subtracted from the input gets gradients from gate and magnitude.
        let through = Vectors::gradient(input, columns.sums(&self.d_product), errors);
        Vectors {
            b_enc: columns.sums(&self.d_gate),
            b_mag: columns.sums(&self.d_magnitude),
            r_mag: columns.sums(&self.d_scale),
            ..through
        }
    }
}

impl<'a> Entries<'a> {
    fn new(input: &PassInput, found: &'a SparseRows) -> Entries<'a> {
        let vectors = &input.weights.vectors;
        let scales: Vec<f32> = vectors.r_mag.iter().map(|r| r.exp()).collect();
        let entries = found.features().iter().zip(found.values());
        let magnitudes = entries.map(|(&feature, &gate)| {
            let feature = feature as usize;
            let product = gate - vectors.b_enc[feature];
            (scales[feature] * product + vectors.b_mag[feature]).max(0.0)
        });
        let magnitudes = magnitudes.collect();
        Entries {
            found,
            scales,
            magnitudes,
        }
    }

    /// `by_value` holds, for each entry, the gradients by its magnitude and by its gate.
    fn terms(&self, input: &PassInput, by_value: &ByValue, norms: &[f32], weight: f32) -> Terms {
        let mut terms = Terms {
            penalty: 0.0,
            d_gate: Vec::new(),
            d_magnitude: Vec::new(),
            d_scale: Vec::new(),
            d_product: Vec::new(),
        };
        let entries = self.found.features().iter().zip(self.found.values());
        for (at, (&feature, &gate)) in entries.enumerate() {
            let feature = feature as usize;
            let penalty = weight * norms[feature];
            terms.penalty += f64::from(penalty) * f64::from(gate);
            let d_gate = by_value.gate[at] + penalty;
            let on = self.magnitudes[at] > 0.0;
            let d_magnitude = if on { by_value.magnitude[at] } else { 0.0 };
            let product = gate - input.weights.vectors.b_enc[feature];
            terms.d_gate.push(d_gate);
            terms.d_magnitude.push(d_magnitude);
            terms
                .d_scale
                .push(d_magnitude * self.scales[feature] * product);
            terms
                .d_product
                .push(d_gate + self.scales[feature] * d_magnitude);
        }
        terms
    }
}
