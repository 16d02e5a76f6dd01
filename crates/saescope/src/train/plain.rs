//! Objectives whose activations are the positive pre-activations that were found: ReLU + L1, TopK,
//! BatchTopK, and Matryoshka, where prefixes of the features reconstruct alone too.

use std::borrow::Cow;

use saescope_kernels::{Matrix, SparseRows};

use super::Objective;
use super::aux;
use super::dead::Fires;
use super::pass::{Backward, Job, Loss, Pass, ReconstructionError};

/// The pass of these objectives, with the active features `found`.
pub(super) fn pass(job: &Job, found: SparseRows, fires: &mut Fires) -> Pass {
    fires.saw(&found);
    let (groups, errors) = reconstructions(job, &found);
    let full = &errors[errors.len() - 1];
    let squared = full.squared.clone();
    let mut loss = Loss {
        reconstruction: errors.iter().map(|error| error.loss).sum(),
        ..Loss::default()
    };
    let aux = aux::explain(job, full, &fires.dead(job.config.dead.window_tokens));
    let mut stack = Stack::new(job, groups, from_each_on(errors));
    if let Some(aux) = aux {
        loss.aux = aux.loss;
        stack.push(&aux.rows, &aux.gradient);
    }
    let mut d_pre = stack.rows.dots(&stack.errors, &job.weights.w_dec);
    let penalty = L1::of(job);
    if let Some(penalty) = &penalty {
        loss.sparsity = penalty.add(&stack.rows, &mut d_pre);
    }
    let x = stack.x(job);
    let columns = stack.rows.columns(job.config.d_sae);
    let backward = Backward {
        columns: &columns,
        x: &x,
        d_pre: &d_pre,
        decoder: &[(stack.rows.values(), &stack.errors)],
        errors: &[&stack.first(job.n())],
    };
    let mut gradients = backward.gradients(job);
    if let Some(penalty) = penalty.filter(|penalty| penalty.by_norm) {
        let mut sums = backward.by_feature(stack.rows.values(), job.config.d_sae);
        sums.iter_mut().for_each(|sum| *sum *= penalty.weight);
        gradients.add_norm_penalty(job, &sums);
    }
    Pass {
        loss,
        active: found,
        squared,
        gradients,
    }
}

/// `weight * sum f_i |d_i|`, or without the norms.
struct L1 {
    /// Of one activation, the mean over tokens taken.
    weight: f32,
    by_norm: bool,
    norms: Vec<f32>,
}

impl L1 {
    fn of(job: &Job) -> Option<L1> {
        let Objective::L1 {
            coefficient,
            decoder_norm,
        } = job.config.objective
        else {
            return None;
        };
        let norms = match decoder_norm {
            true => job.decoder_norms(),
            false => vec![1.0; job.config.d_sae],
        };
        Some(L1 {
            weight: coefficient * job.sparsity / job.n() as f32,
            by_norm: decoder_norm,
            norms,
        })
    }

    /// Adds its gradient by each activation; returns the loss.
    fn add(&self, rows: &SparseRows, d_pre: &mut [f32]) -> f64 {
        let mut loss = 0.0;
        let entries = rows.features().iter().zip(rows.values());
        for ((&feature, &value), d_pre) in entries.zip(d_pre) {
            let weight = self.weight * self.norms[feature as usize];
            *d_pre += weight;
            loss += f64::from(weight) * f64::from(value);
        }
        loss
    }
}

/// The active features of every group of features that a prefix adds, and the error of every prefix.
fn reconstructions(job: &Job, found: &SparseRows) -> (Vec<SparseRows>, Vec<ReconstructionError>) {
    let one = [job.config.d_sae];
    let prefixes = match &job.config.objective {
        Objective::Matryoshka { prefixes, .. } => prefixes.as_slice(),
        _ => &one,
    };
    let (w_dec, b_dec) = (&job.weights.w_dec, &job.weights.small.b_dec);
    let (mut groups, mut errors) = (Vec::new(), Vec::new());
    let mut start = 0;
    let mut y: Option<Matrix> = None;
    for &end in prefixes {
        let group = match prefixes.len() {
            1 => found.clone(),
            _ => within(found, start, end),
        };
        let mut next = match &y {
            None => group.product(w_dec, b_dec),
            Some(_) => group.product(w_dec, &vec![0.0; b_dec.len()]),
        };
        let before = match y.take() {
            None => job.skip(),
            before => before,
        };
        if let Some(before) = before {
            next.add(&before);
        }
        if end < job.config.d_sae {
            y = Some(next.clone());
        }
        errors.push(job.error(next));
        groups.push(group);
        start = end;
    }
    (groups, errors)
}

/// The entries of features from `start` to `end`.
fn within(rows: &SparseRows, start: usize, end: usize) -> SparseRows {
    let mut out = SparseRows::default();
    for row in 0..rows.rows() {
        let inside = |feature: u32| (start..end).contains(&(feature as usize));
        out.push(rows.entries(row).filter(|&(feature, _)| inside(feature)));
    }
    out
}

/// For every prefix the sum of its gradient and those of all larger ones: what the features that it
/// adds are part of.
fn from_each_on(errors: Vec<ReconstructionError>) -> Vec<Matrix> {
    let mut sums: Vec<Matrix> = errors.into_iter().map(|error| error.gradient).collect();
    for at in (1..sums.len()).rev() {
        let (smaller, larger) = sums.split_at_mut(at);
        smaller[at - 1].add(&larger[0]);
    }
    sums
}

/// Groups of entries one below the other: row `g tokens + t` is token `t` in group `g`.
struct Stack {
    rows: SparseRows,
    /// `dL/dy` for the features of each group, `[groups * tokens, d_out]`.
    errors: Matrix,
    groups: usize,
}

impl Stack {
    fn new(job: &Job, groups: Vec<SparseRows>, errors: Vec<Matrix>) -> Stack {
        let mut stack: Option<Stack> = None;
        for (rows, errors) in groups.into_iter().zip(errors) {
            match &mut stack {
                None => {
                    stack = Some(Stack {
                        rows,
                        errors,
                        groups: 1,
                    });
                }
                Some(stack) => stack.push(&rows, &errors),
            }
        }
        stack.unwrap_or_else(|| Stack {
            rows: SparseRows::default(),
            errors: Matrix::zeros(0, job.weights.w_dec.cols()),
            groups: 0,
        })
    }

    fn push(&mut self, rows: &SparseRows, errors: &Matrix) {
        for row in 0..rows.rows() {
            self.rows.push(rows.entries(row));
        }
        self.errors.append_rows(errors);
        self.groups += 1;
    }

    /// What was encoded in each row.
    fn x<'a>(&self, job: &'a Job) -> Cow<'a, Matrix> {
        if self.groups == 1 {
            return Cow::Borrowed(job.inner);
        }
        let mut x = Matrix::zeros(0, job.inner.cols());
        for _ in 0..self.groups {
            x.append_rows(job.inner);
        }
        Cow::Owned(x)
    }

    /// The first group's errors, which are those of every reconstruction together.
    fn first(&self, n: usize) -> Cow<'_, Matrix> {
        if self.groups == 1 {
            return Cow::Borrowed(&self.errors);
        }
        let d = self.errors.cols();
        let values = self.errors.data()[..n * d].to_vec();
        Cow::Owned(Matrix::from_vec(n, d, values))
    }
}
