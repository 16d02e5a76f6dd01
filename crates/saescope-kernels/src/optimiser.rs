//! Adam over rows and slices.

use rayon::prelude::*;

use crate::elementwise;
use crate::gradient::{Gradient, RowNorm};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel, load, store};

/// The coefficients of one step of Adam (Kingma & Ba 2015), in the form of `torch.optim.Adam`:
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
    /// Step number `t`, counted from 1.
    pub fn new(lr: f32, beta1: f32, beta2: f32, eps: f32, t: u64) -> AdamStep {
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

/// Parameters `[n, d]` and their moments.
pub struct AdamState<'a> {
    /// The parameters that a step changes.
    pub params: &'a mut Matrix,
    /// The first moment.
    pub m: &'a mut Matrix,
    /// The second moment.
    pub v: &'a mut Matrix,
}

/// Steps every row against `scale * gradient`; returns the sum of the unscaled gradient's squares.
///
/// # Panics
/// When shapes differ.
pub fn adam_rows(
    state: AdamState,
    gradient: &Gradient,
    scale: f32,
    step: AdamStep,
    norm: RowNorm,
) -> f64 {
    adam_rows_on(Isa::current(), state, gradient, scale, step, norm)
}

pub(crate) fn adam_rows_on(
    isa: Isa,
    state: AdamState,
    gradient: &Gradient,
    scale: f32,
    step: AdamStep,
    norm: RowNorm,
) -> f64 {
    let (n, d) = (state.params.rows(), state.params.cols());
    for moment in [&*state.m, &*state.v] {
        assert_eq!((moment.rows(), moment.cols()), (n, d), "shape of a moment");
    }
    let pointers = [state.params, state.m, state.v].map(|matrix| Shared::new(matrix.data_mut()));
    let factors = Factors::new(step, scale);
    gradient.by_rows(isa, n, d, |row, grad| {
        let [params, m, v] = pointers.map(|pointer| pointer.get().wrapping_add(row * d));
        // SAFETY: rows of `d` values each, which no other task touches.
        unsafe {
            let along = std::slice::from_raw_parts(params, d);
            let squares = grad.compute(along, norm);
            let values = squares.map_or(std::ptr::null(), |_| grad.values().as_ptr());
            adam_row(isa, &factors, AdamRow { params, m, v }, values, d, norm);
            squares.unwrap_or(0.0)
        }
    })
}

/// Steps `params` against `scale * grad`, as [`adam_rows`] steps a row.
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
        let [params, m, v] = pointers.map(|pointer| pointer.get().wrapping_add(first));
        let grad = grad[first..].as_ptr();
        let len = (n - first).min(CHUNK);
        // SAFETY: `len` values each, which no other task touches.
        unsafe {
            let row = AdamRow { params, m, v };
            adam_row(Isa::current(), &factors, row, grad, len, RowNorm::Free)
        };
    });
}

/// The factors of a step.
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

/// Parameters and moments of one row.
#[derive(Clone, Copy)]
struct AdamRow {
    params: *mut f32,
    m: *mut f32,
    v: *mut f32,
}

kernel! {
    /// Steps `n` values; a null `grad` is a gradient of zeros.
    ///
    /// # Safety
    /// All pointers but a null `grad` are valid for `n` values and do not overlap.
    fn adam_row(
        factors: &Factors,
        row: AdamRow,
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
    row: AdamRow,
    grad: *const f32,
    n: usize,
    norm: RowNorm,
) {
    let AdamRow { params: p, m, v } = row;
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
            let denominator = S::add(S::div(S::sqrt(new_v), root), eps);
            let change = S::div(S::mul(size, new_m), denominator);
            store::<S>(p.add(i), S::add(load::<S>(p.add(i), lanes), change), lanes);
            i += lanes;
        }
        if norm == RowNorm::Unit {
            to_unit::<S>(p, n);
        }
    }
}

/// Scales a row to norm 1; a row of zeros stays.
///
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

/// The sum of the squares of `values` in f64, always in the same order.
pub fn squared_norm(values: &[f32]) -> f64 {
    /// Values of a chunk, and independent sums within it.
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
