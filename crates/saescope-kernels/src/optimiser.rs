//! The optimiser, and what training does with gradients before.

use rayon::prelude::*;

use crate::elementwise;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel, load, store};

/// A step of Adam (Kingma & Ba 2015), in the form of `torch.optim.Adam`:
/// `p -= lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// `1 - beta1^t` at step `t`, counted from 1.
    pub correction1: f32,
    /// `1 - beta2^t`
    pub correction2: f32,
}

impl AdamStep {
    /// The step number `t`, counted from 1, with its corrections.
    pub fn new(lr: f32, (beta1, beta2): (f32, f32), eps: f32, t: u64) -> AdamStep {
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(t as f64)) as f32;
        AdamStep {
            lr,
            beta1,
            beta2,
            eps,
            correction1: correction(beta1),
            correction2: correction(beta2),
        }
    }
}

/// What becomes of a row after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNorm {
    /// It stays as it is.
    Free,
    /// It is scaled to norm 1; a row of zeros stays.
    Unit,
}

/// Parameters `[n, d]` and their moments, as Adam keeps them.
pub struct Optimised<'a> {
    /// What is optimised.
    pub params: &'a mut Matrix,
    /// The first moment.
    pub m: &'a mut Matrix,
    /// The second moment.
    pub v: &'a mut Matrix,
}

/// Steps every row: row `features[i]` has the gradient `scale * grads[i]`, `grads` `[features, d]`,
/// all others have none.
///
/// # Panics
/// When shapes differ, or features do not ascend or name no row.
pub fn adam_rows(
    to: Optimised,
    (features, grads): (&[u32], &Matrix),
    scale: f32,
    step: AdamStep,
    norm: RowNorm,
) {
    adam_rows_on(Isa::current(), to, (features, grads), scale, step, norm);
}

/// Rows of a task: enough to be worth it, few enough that threads end together.
const ROWS: usize = 32;

pub(crate) fn adam_rows_on(
    isa: Isa,
    to: Optimised,
    (features, grads): (&[u32], &Matrix),
    scale: f32,
    step: AdamStep,
    norm: RowNorm,
) {
    let (n, d) = (to.params.rows(), to.params.cols());
    for moment in [&*to.m, &*to.v] {
        assert_eq!((moment.rows(), moment.cols()), (n, d), "shape of a moment");
    }
    check_rows(n, d, features, grads);
    let pointers = [to.params, to.m, to.v].map(|matrix| Shared::new(matrix.data_mut()));
    let factors = Factors::new(step, scale);
    parallel::for_each(n.div_ceil(ROWS), n * d * 8, |task| {
        let rows = task * ROWS..((task + 1) * ROWS).min(n);
        let mut at = features.partition_point(|&feature| (feature as usize) < rows.start);
        for row in rows {
            let active = features.get(at).is_some_and(|&f| f as usize == row);
            let grad = if active {
                grads.row(at).as_ptr()
            } else {
                std::ptr::null()
            };
            at += usize::from(active);
            let [p, m, v] = pointers.map(|pointer| pointer.get().wrapping_add(row * d));
            // SAFETY: rows of `d` values each, which no other task touches.
            unsafe { adam_row(isa, &factors, (p, m, v), grad, d, norm) };
        }
    });
}

/// # Panics
/// When the gradients of some rows of `[n, d]` are not one for each of them.
fn check_rows(n: usize, d: usize, features: &[u32], grads: &Matrix) {
    let shape = (grads.rows(), grads.cols());
    assert_eq!(shape, (features.len(), d), "shape of gradients");
    let ascend = features.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ascend, "features of gradients ascend");
    let last = features.last().map_or(0, |&last| last as usize + 1);
    assert!(last <= n, "gradients of a feature that does not exist");
}

/// Steps `params` with the gradient `scale * grad`.
///
/// # Panics
/// When lengths differ.
pub fn adam_slice(
    params: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    grad: &[f32],
    scale: f32,
    step: AdamStep,
) {
    let n = params.len();
    let lengths = (m.len(), v.len(), grad.len());
    assert_eq!(lengths, (n, n, n), "lengths of parameters and moments");
    /// Values of a task.
    const CHUNK: usize = 1 << 14;
    let pointers = [params, m, v].map(Shared::new);
    let factors = Factors::new(step, scale);
    parallel::for_each(n.div_ceil(CHUNK), n * 8, |task| {
        let first = task * CHUNK;
        let [p, m, v] = pointers.map(|pointer| pointer.get().wrapping_add(first));
        let grad = grad[first..].as_ptr();
        let len = (n - first).min(CHUNK);
        // SAFETY: `len` values each, which no other task touches.
        unsafe {
            adam_row(
                Isa::current(),
                &factors,
                (p, m, v),
                grad,
                len,
                RowNorm::Free,
            )
        };
    });
}

/// What a step multiplies with.
struct Factors {
    scale: f32,
    beta1: f32,
    beta2: f32,
    /// `1 - beta1` and `1 - beta2`
    rest1: f32,
    rest2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl Factors {
    fn new(step: AdamStep, scale: f32) -> Factors {
        Factors {
            scale,
            beta1: step.beta1,
            beta2: step.beta2,
            rest1: 1.0 - step.beta1,
            rest2: 1.0 - step.beta2,
            step_size: step.lr / step.correction1,
            root_correction: step.correction2.sqrt(),
            eps: step.eps,
        }
    }
}

kernel! {
    /// Steps `n` values; `grad` is null for none.
    ///
    /// # Safety
    /// All pointers but a null `grad` are valid for `n` values, and overlap nowhere.
    fn adam_row(
        factors: &Factors,
        to: (*mut f32, *mut f32, *mut f32),
        grad: *const f32,
        n: usize,
        norm: RowNorm,
    ) = adam_row_with
}

/// # Safety
/// As for [`adam_row`].
#[inline(always)]
unsafe fn adam_row_with<S: Simd>(
    factors: &Factors,
    (p, m, v): (*mut f32, *mut f32, *mut f32),
    grad: *const f32,
    n: usize,
    norm: RowNorm,
) {
    // SAFETY: every vector lies within the `n` values.
    unsafe {
        let scale = S::splat(factors.scale);
        let (beta1, rest1) = (S::splat(factors.beta1), S::splat(factors.rest1));
        let (beta2, rest2) = (S::splat(factors.beta2), S::splat(factors.rest2));
        let (size, root) = (
            S::splat(-factors.step_size),
            S::splat(factors.root_correction),
        );
        let eps = S::splat(factors.eps);
        let mut i = 0;
        while i < n {
            let lanes = (n - i).min(S::LANES);
            let mut new_m = S::mul(load::<S>(m.add(i), lanes), beta1);
            let mut new_v = S::mul(load::<S>(v.add(i), lanes), beta2);
            if !grad.is_null() {
                let g = S::mul(load::<S>(grad.add(i), lanes), scale);
                new_m = S::fma(g, rest1, new_m);
                new_v = S::fma(S::mul(g, g), rest2, new_v);
            }
            store::<S>(m.add(i), new_m, lanes);
            store::<S>(v.add(i), new_v, lanes);
            let below = S::add(S::div(S::sqrt(new_v), root), eps);
            let change = S::div(S::mul(size, new_m), below);
            store::<S>(p.add(i), S::add(load::<S>(p.add(i), lanes), change), lanes);
            i += lanes;
        }
        if norm == RowNorm::Unit {
            to_unit::<S>(p, n);
        }
    }
}

/// # Safety
/// `p` is valid for `n` values.
#[inline(always)]
unsafe fn to_unit<S: Simd>(p: *mut f32, n: usize) {
    // SAFETY: every vector lies within the `n` values.
    unsafe {
        let mut squares = 0.0;
        let row = std::slice::from_raw_parts(p, n);
        elementwise::dot_f32_with::<S>(row, row, &mut squares);
        if squares > 0.0 {
            let inverse = S::splat(1.0 / squares.sqrt());
            let mut i = 0;
            while i < n {
                let lanes = (n - i).min(S::LANES);
                store::<S>(p.add(i), S::mul(load::<S>(p.add(i), lanes), inverse), lanes);
                i += lanes;
            }
        }
    }
}

/// Takes from each gradient its part along the parameters' row: `g -= (g . p) / (p . p) p`, for
/// `grads` `[features, d]` of the named rows of `params` `[n, d]`. A row of zeros takes nothing.
///
/// # Panics
/// When shapes differ, or features do not ascend or name no row.
pub fn project_rows(grads: &mut Matrix, params: &Matrix, features: &[u32]) {
    project_rows_on(Isa::current(), grads, params, features);
}

pub(crate) fn project_rows_on(isa: Isa, grads: &mut Matrix, params: &Matrix, features: &[u32]) {
    let (rows, d) = (grads.rows(), grads.cols());
    check_rows(params.rows(), params.cols(), features, grads);
    let shared = Shared::new(grads.data_mut());
    parallel::for_each(rows.div_ceil(ROWS), rows * d * 2, |task| {
        let first = task * ROWS;
        let features = &features[first..(first + ROWS).min(rows)];
        for (row, &feature) in (first..).zip(features) {
            let along = params.row(feature as usize);
            // SAFETY: both hold `d` values, and no other task writes this row.
            unsafe { project_row(isa, shared.get().add(row * d), along) };
        }
    });
}

kernel! {
    /// # Safety
    /// `grad` is valid for as many values as `along` has.
    fn project_row(grad: *mut f32, along: &[f32]) = project_row_with
}

/// # Safety
/// As for [`project_row`].
#[inline(always)]
unsafe fn project_row_with<S: Simd>(grad: *mut f32, along: &[f32]) {
    let n = along.len();
    // SAFETY: every vector lies within the `n` values.
    unsafe {
        let (mut product, mut squares) = (0.0, 0.0);
        let row = std::slice::from_raw_parts(grad, n);
        elementwise::dot_f32_with::<S>(row, along, &mut product);
        elementwise::dot_f32_with::<S>(along, along, &mut squares);
        if squares > 0.0 {
            let factor = S::splat(-product / squares);
            let mut i = 0;
            while i < n {
                let lanes = (n - i).min(S::LANES);
                let p = load::<S>(along.as_ptr().add(i), lanes);
                let g = load::<S>(grad.add(i), lanes);
                store::<S>(grad.add(i), S::fma(factor, p, g), lanes);
                i += lanes;
            }
        }
    }
}

/// The sum of squares in f64, always in the same order.
pub fn squared_norm(values: &[f32]) -> f64 {
    /// Values that are summed together, and sums under way at once.
    const CHUNK: usize = 1 << 14;
    const CHAINS: usize = 16;
    let chunk = |chunk: &[f32]| {
        let mut sums = [0.0_f64; CHAINS];
        let whole = chunk.chunks_exact(CHAINS);
        let rest = whole.remainder();
        for values in whole {
            for (sum, &x) in sums.iter_mut().zip(values) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        sums.iter().sum::<f64>() + rest
    };
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(chunk).collect();
    sums.iter().sum()
}
