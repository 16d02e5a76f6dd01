//! Objectives whose activations are the positive pre-activations: ReLU + L1, TopK, BatchTopK, and
//! Matryoshka, whose prefixes of features also reconstruct alone.

use std::borrow::Cow;

use saescope_kernels::{Matrix, SparseRows, Term, relu_backward};

use super::activity::{Activity, FiringCounts};
use super::pass::{Backward, Loss, PassInput, PassResult, ReconstructionError};
use super::weights::{Gradients, Vectors};
use super::{Objective, aux};

/// The pass of these objectives, with the active features `found`.
pub(super) fn pass<'x>(
    input: &PassInput<'_, 'x>,
    found: SparseRows,
    firing: &mut FiringCounts,
) -> PassResult<'x> {
    let activity = Activity::of(&found, found.values(), input.config.d_sae);
    firing.record(&activity);
    let Reconstructions {
        groups,
        errors,
        by_value,
    } = reconstructions(input, found);
    let full = &errors[errors.len() - 1];
    let squared = full.squared.clone();
    let mut loss = Loss {
        reconstruction: errors.iter().map(|error| error.loss).sum(),
        ..Loss::default()
    };
    let aux = aux::explain(input, full, &firing.dead(input.config.dead.window_tokens));
    let mut stack = Stack::new(input, groups, from_each_on(errors), by_value);
    if let Some(aux) = aux {
        loss.aux = aux.loss;
        let by_value = aux.rows.dots(&aux.gradient, &input.weights.w_dec);
        stack.d_pre.extend(by_value);
        stack.push(&aux.rows, &aux.gradient);
    }
    let penalty = L1::of(input);
    if let Some(penalty) = &penalty {
        penalty.add(&stack.rows, &mut stack.d_pre);
    }
    let mut gradients = stack.gradients(input);
    if let Some(penalty) = &penalty {
        loss.sparsity = penalty.finish(input, &activity, &mut gradients);
    }
    PassResult {
        loss,
        activity,
        squared,
        gradients,
    }
}

/// `weight * sum f_i |d_i|`, or without the norms.
pub(super) struct L1 {
    by_norm: bool,
    /// The gradient by one activation of each feature, `[d_sae]`, divided by the number of tokens.
    slopes: Vec<f32>,
    weight: f32,
}

impl L1 {
    /// The penalty, if the objective is L1.
    pub(super) fn of(input: &PassInput) -> Option<L1> {
        let Objective::L1 {
            coefficient,
            decoder_norm,
        } = input.config.objective
        else {
            return None;
        };
        let weight = coefficient * input.sparsity / input.n() as f32;
        let mut slopes = if decoder_norm {
            input.decoder_norms()
        } else {
            vec![1.0; input.config.d_sae]
        };
        slopes.iter_mut().for_each(|slope| *slope *= weight);
        Some(L1 {
            by_norm: decoder_norm,
            slopes,
            weight,
        })
    }

    /// Adds the gradient of the penalty by each activation.
    fn add(&self, rows: &SparseRows, d_pre: &mut [f32]) {
        for (&feature, d_pre) in rows.features().iter().zip(d_pre) {
            *d_pre += self.slopes[feature as usize];
        }
    }

    /// Turns the gradient by the activations `f` into that by pre-activations, this penalty included; both
    /// are `[d_sae, tokens]`. Returns the sum of every row.
    pub(super) fn add_dense(&self, f: &Matrix, d_pre: &mut Matrix) -> Vec<f32> {
        relu_backward(d_pre, f, &self.slopes)
    }

    /// Returns the loss, and adds the gradient by the decoder's norms.
    pub(super) fn finish(
        &self,
        input: &PassInput,
        activity: &Activity,
        gradients: &mut Gradients,
    ) -> f64 {
        if self.by_norm {
            let factors: Vec<f32> = activity.sums.iter().map(|sum| self.weight * sum).collect();
            gradients.add_norm_penalty(input, &factors);
        }
        let terms = self.slopes.iter().zip(&activity.sums);
        terms
            .map(|(&slope, &sum)| f64::from(slope) * f64::from(sum))
            .sum()
    }
}

/// The reconstructions of all prefixes; objectives without prefixes have one, of all features.
struct Reconstructions {
    /// The active features that each prefix adds.
    groups: Vec<SparseRows>,
    /// The error of each prefix.
    errors: Vec<ReconstructionError>,
    /// The gradient of the error by each activation, if there is one prefix.
    by_value: Option<Vec<f32>>,
}

/// Reconstructs with every prefix of the features.
fn reconstructions(input: &PassInput, found: SparseRows) -> Reconstructions {
    let one = [input.config.d_sae];
    let prefixes = match &input.config.objective {
        Objective::Matryoshka { prefixes, .. } => prefixes.as_slice(),
        _ => &one,
    };
    if prefixes.len() == 1 {
        let (error, by_value) = input.error_of(&found);
        return Reconstructions {
            groups: vec![found],
            errors: vec![error],
            by_value: Some(by_value),
        };
    }
    let (w_dec, b_dec) = (&input.weights.w_dec, &input.weights.vectors.b_dec);
    let (mut groups, mut errors) = (Vec::new(), Vec::new());
    let mut start = 0;
    let mut y: Option<Matrix> = None;
    for &end in prefixes {
        let group = within(&found, start, end);
        let mut next = match &y {
            None => group.product(w_dec, b_dec),
            Some(_) => group.product(w_dec, &vec![0.0; b_dec.len()]),
        };
        let before = match y.take() {
            None => input.skip(),
            before => before,
        };
        if let Some(before) = before {
            next.add(&before);
        }
        if end < input.config.d_sae {
            y = Some(next.clone());
        }
        errors.push(input.error(next));
        groups.push(group);
        start = end;
    }
    Reconstructions {
        groups,
        errors,
        by_value: None,
    }
}

/// The entries of features from `start` up to, but not including, `end`.
fn within(rows: &SparseRows, start: usize, end: usize) -> SparseRows {
    let mut out = SparseRows::default();
    for row in 0..rows.rows() {
        let inside = |feature: u32| (start..end).contains(&(feature as usize));
        out.push(rows.entries(row).filter(|&(feature, _)| inside(feature)));
    }
    out
}

/// For every prefix the sum of its gradient and those of all larger prefixes: the features that it adds
/// are part of all these reconstructions.
fn from_each_on(errors: Vec<ReconstructionError>) -> Vec<Matrix> {
    let mut sums: Vec<Matrix> = errors.into_iter().map(|error| error.gradient).collect();
    for at in (1..sums.len()).rev() {
        let (smaller, larger) = sums.split_at_mut(at);
        smaller[at - 1].add(&larger[0]);
    }
    sums
}

/// Groups of entries below each other: row `g tokens + t` is token `t` in group `g`.
struct Stack {
    rows: SparseRows,
    /// `dL/dy` for the features of each group, `[groups * tokens, d_out]`.
    errors: Matrix,
    /// `dL/dpre` of each entry.
    d_pre: Vec<f32>,
    groups: usize,
}

impl Stack {
    /// `by_value` is `dL/dpre` of the entries, if it is known already.
    fn new(
        input: &PassInput,
        groups: Vec<SparseRows>,
        errors: Vec<Matrix>,
        by_value: Option<Vec<f32>>,
    ) -> Stack {
        let w_dec = &input.weights.w_dec;
        let mut pairs = groups.into_iter().zip(errors);
        let (rows, first) = pairs
            .next()
            .unwrap_or_else(|| (SparseRows::default(), Matrix::zeros(0, w_dec.cols())));
        let mut stack = Stack {
            rows,
            errors: first,
            d_pre: Vec::new(),
            groups: 1,
        };
        for (rows, errors) in pairs {
            stack.push(&rows, &errors);
        }
        stack.d_pre = by_value.unwrap_or_else(|| stack.rows.dots(&stack.errors, w_dec));
        stack
    }

    fn push(&mut self, rows: &SparseRows, errors: &Matrix) {
        for row in 0..rows.rows() {
            self.rows.push(rows.entries(row));
        }
        self.errors.append_rows(errors);
        self.groups += 1;
    }

    fn gradients<'x>(self, input: &PassInput<'_, 'x>) -> Gradients<'x> {
        let columns = self.rows.columns(input.config.d_sae);
        let vectors =
            Vectors::gradient(input, columns.sums(&self.d_pre), &[&self.first(input.n())]);
        let x = self.x(input);
        let backward = Backward {
            columns,
            d_pre: self.d_pre,
            x,
            decoder: vec![Term {
                values: self.rows.values().to_vec(),
                x: Cow::Owned(self.errors),
            }],
        };
        backward.gradients(vectors)
    }

    /// The input of the encoder for each row.
    fn x<'x>(&self, input: &PassInput<'_, 'x>) -> Cow<'x, Matrix> {
        if self.groups == 1 {
            return Cow::Borrowed(input.encoder_input);
        }
        let mut x = Matrix::zeros(0, input.encoder_input.cols());
        for _ in 0..self.groups {
            x.append_rows(input.encoder_input);
        }
        Cow::Owned(x)
    }

    /// The errors of the first group, which are summed over all reconstructions.
    fn first(&self, n: usize) -> Cow<'_, Matrix> {
        if self.groups == 1 {
            return Cow::Borrowed(&self.errors);
        }
        Cow::Owned(self.errors.copy_of_rows(0..n))
    }
}
