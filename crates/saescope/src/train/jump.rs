//! JumpReLU: `f = pre` where `pre > theta`, with thresholds that learn through a straight-through
//! estimator (Rajamanoharan et al. 2024).
//!
//! With `K` a rectangle of width `epsilon`, `dH/dtheta = -K((pre - theta) / epsilon) / epsilon` for the
//! step `H(pre - theta)`, and `df/dtheta = -theta K((pre - theta) / epsilon) / epsilon`; the encoder
//! gets no gradient through the step. So only entries above `theta - epsilon / 2` matter.

use std::borrow::Cow;

use saescope_kernels::{RowSet, SparseRows, Term, accumulate_rows, row_dots};

use super::activity::{Activity, FiringCounts};
use super::input::column_sums;
use super::pass::{Backward, Loss, PassInput, PassResult, with_values};
use super::weights::{Gradients, Vectors};
use super::{JumpPenalty, Objective};

/// The parameters of the objective.
struct Jump {
    penalty: JumpPenalty,
    bandwidth: f32,
    pre_activation: f32,
}

/// The entries of a pass, in the order of their sparse rows.
struct Entries<'a> {
    rows: &'a SparseRows,
    /// True for entries within the kernel.
    near: Vec<bool>,
    /// Activations; 0 below the threshold.
    values: Vec<f32>,
}

/// The pass over the entries `found` above `theta - epsilon / 2`, whose values are the distances from it.
pub(super) fn pass<'x>(
    input: &PassInput<'_, 'x>,
    found: &SparseRows,
    firing: &mut FiringCounts,
) -> PassResult<'x> {
    let Objective::JumpRelu {
        penalty,
        bandwidth,
        pre_activation,
        ..
    } = input.config.objective
    else {
        unreachable!("the objective is JumpReLU");
    };
    let jump = Jump {
        penalty,
        bandwidth,
        pre_activation,
    };
    let entries = Entries::new(input, found, bandwidth);
    let activity = Activity::of(found, &entries.values, input.config.d_sae);
    firing.record(&activity);
    let (error, by_value) = input.error_of(&with_values(found, &entries.values));
    let terms = jump.terms(input, &entries, by_value, activity.total());
    let columns = found.columns(input.config.d_sae);
    let vectors = Vectors {
        threshold: columns.sums(&terms.d_threshold),
        ..Vectors::gradient(input, columns.sums(&terms.d_pre), &[&error.gradient])
    };
    let by_norm = terms.by_norm.map(|by_norm| columns.sums(&by_norm));
    let backward = Backward {
        columns,
        d_pre: terms.d_pre,
        x: Cow::Borrowed(input.encoder_input),
        decoder: vec![Term {
            values: entries.values,
            x: Cow::Owned(error.gradient),
        }],
    };
    let mut gradients = backward.gradients(vectors);
    if let Some(factors) = by_norm {
        gradients.add_norm_penalty(input, &factors);
    }
    let dead = firing.dead(input.config.dead.window_tokens);
    PassResult {
        loss: Loss {
            reconstruction: error.loss,
            sparsity: terms.loss,
            aux: jump.pull_dead(input, &dead, &mut gradients),
        },
        activity,
        squared: error.squared,
        gradients,
    }
}

impl<'a> Entries<'a> {
    fn new(input: &PassInput, rows: &'a SparseRows, bandwidth: f32) -> Entries<'a> {
        let threshold = &input.weights.vectors.threshold;
        let (mut near, mut values) = (Vec::new(), Vec::new());
        for (&feature, &distance) in rows.features().iter().zip(rows.values()) {
            let theta = threshold[feature as usize];
            let pre = distance + (theta - bandwidth / 2.0);
            values.push(if pre > theta { pre } else { 0.0 });
            near.push(distance < bandwidth);
        }
        Entries { rows, near, values }
    }
}

/// The loss of entries, and its gradients by each of them.
struct Terms {
    /// The penalty.
    loss: f64,
    d_pre: Vec<f32>,
    d_threshold: Vec<f32>,
    /// The gradient by the norm of each entry's decoder row.
    by_norm: Option<Vec<f32>>,
}

impl Jump {
    /// `by_value` holds the gradient of the reconstruction error by each activation.
    fn terms(
        &self,
        input: &PassInput,
        entries: &Entries,
        mut by_value: Vec<f32>,
        n_active: u64,
    ) -> Terms {
        let n = input.n() as f32;
        let mut by_norm = None;
        let (loss, by_step) = match self.penalty {
            JumpPenalty::Step { coefficient } => {
                let weight = coefficient * input.sparsity / n;
                (f64::from(weight) * n_active as f64, weight)
            }
            JumpPenalty::Target { coefficient, l0 } => {
                let weight = coefficient * input.sparsity;
                let off = n_active as f32 / n / l0 - 1.0;
                (f64::from(weight * off * off), 2.0 * weight * off / (l0 * n))
            }
            JumpPenalty::Tanh { coefficient, scale } => {
                let weight = coefficient * input.sparsity / n;
                let norms = input.decoder_norms();
                let (loss, terms) = tanh(entries, &norms, weight, scale, &mut by_value);
                by_norm = Some(terms);
                (loss, 0.0)
            }
        };
        let threshold = &input.weights.vectors.threshold;
        let (mut d_pre, mut d_threshold) = (Vec::new(), Vec::new());
        for (at, &feature) in entries.rows.features().iter().enumerate() {
            let theta = threshold[feature as usize];
            let by_value = by_value[at];
            d_pre.push(if entries.values[at] > 0.0 {
                by_value
            } else {
                0.0
            });
            let through = -(theta * by_value + by_step) / self.bandwidth;
            d_threshold.push(if entries.near[at] { through } else { 0.0 });
        }
        Terms {
            loss,
            d_pre,
            d_threshold,
            by_norm,
        }
    }

    /// Adds the gradient of `pre_activation * sum relu(theta - pre) |d|` over dead features, and
    /// returns that loss. A dead feature is below its threshold on every token, so that one sum over
    /// tokens serves all.
    fn pull_dead(&self, input: &PassInput, dead: &[u32], gradients: &mut Gradients) -> f64 {
        if self.pre_activation == 0.0 || dead.is_empty() {
            return 0.0;
        }
        let n = input.n() as f64;
        let sums = column_sums(input.encoder_input);
        let means: Vec<f32> = sums.iter().map(|sum| (sum / n) as f32).collect();
        let norms = input.decoder_norms();
        let mut loss = 0.0;
        let mut by_mean = vec![0.0; input.config.d_sae];
        let mut by_norm = vec![0.0; input.config.d_sae];
        let rows: Vec<usize> = dead.iter().map(|&feature| feature as usize).collect();
        let pres = row_dots(input.weights.w_enc(), RowSet::Only(&rows), &means);
        for (&feature, pre) in rows.iter().zip(pres) {
            let weights = &input.weights.vectors;
            let below = f64::from(weights.threshold[feature] - weights.b_enc[feature]) - pre;
            let pull = self.pre_activation * norms[feature];
            by_mean[feature] = -pull;
            gradients.vectors.b_enc[feature] -= pull;
            gradients.vectors.threshold[feature] += pull;
            by_norm[feature] = self.pre_activation * below as f32;
            loss += f64::from(pull) * below;
        }
        gradients.w_enc.add_outer(by_mean, means);
        if input.config.init.subtract_b_dec {
            self.pull_b_dec(input, &rows, &norms, gradients);
        }
        gradients.add_norm_penalty(input, &by_norm);
        loss
    }

    /// Adds the same gradient by the bias that is subtracted from the input of the encoder.
    fn pull_b_dec(
        &self,
        input: &PassInput,
        dead: &[usize],
        norms: &[f32],
        gradients: &mut Gradients,
    ) {
        let pulls = dead
            .iter()
            .map(|&feature| self.pre_activation * norms[feature]);
        let pulls: Vec<f32> = pulls.collect();
        let b_dec = &mut gradients.vectors.b_dec;
        accumulate_rows(b_dec, input.weights.w_enc(), dead, &pulls);
    }
}

/// `weight * sum tanh(scale f |d|)`: the loss, and its gradient by the norm for each entry. Its gradient
/// by the activation is added to `by_value`.
fn tanh(
    entries: &Entries,
    norms: &[f32],
    weight: f32,
    scale: f32,
    by_value: &mut [f32],
) -> (f64, Vec<f32>) {
    let mut loss = 0.0;
    let features = entries.rows.features().iter().zip(&entries.values);
    let by_norm = features
        .zip(by_value)
        .map(|((&feature, &value), by_value)| {
            let norm = norms[feature as usize];
            let tanh = (scale * value * norm).tanh();
            let slope = weight * scale * (1.0 - tanh * tanh);
            loss += f64::from(weight * tanh);
            *by_value += slope * norm;
            slope * value
        });
    let by_norm = by_norm.collect();
    (loss, by_norm)
}
