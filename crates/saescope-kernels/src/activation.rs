//! Elementwise non-linearities of MLPs, gates and soft caps.

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};
use crate::simd::{Simd, each, exp, kernel, load, store};

/// A non-linearity of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
    /// The tanh approximation of GELU, "gelu_new" and "gelu_pytorch_tanh" in checkpoints.
    GeluTanh,
    /// `x sigmoid(x)`.
    Silu,
    /// `max(0, x)`.
    Relu,
}

/// `activation(gate) * up` (Shazeer 2020): a row of `x` `[rows, 2 d]` holds the gate and then the
/// up projection; `out` takes the shape `[rows, d]`.
pub fn gated(activation: Activation, x: &Matrix, out: &mut Matrix) {
    gated_on(Isa::current(), activation, x, out);
}

pub(crate) fn gated_on(isa: Isa, activation: Activation, x: &Matrix, out: &mut Matrix) {
    let d = x.cols() / 2;
    out.reshape(x.rows(), d);
    let shared = Shared::new(out.data_mut());
    by_rows(x.rows(), x.cols() * 8, |row| {
        let gate = x.row(row).as_ptr();
        // SAFETY: a row of `x` holds `2 d` values, one of `out` `d`, and each is written once.
        unsafe {
            gated_row(
                isa,
                activation,
                gate,
                gate.add(d),
                shared.get().add(row * d),
                d,
            )
        }
    });
}

/// `cap * tanh(x / cap)` for every value, as Gemma-2 bounds its logits.
pub fn softcap(cap: f32, x: &mut Matrix) {
    let (rows, cols) = (x.rows(), x.cols());
    let shared = Shared::new(x.data_mut());
    by_rows(rows, cols * 8, |row| {
        // SAFETY: each row is written by one task.
        unsafe { softcap_row(Isa::current(), cap, shared.get().add(row * cols), cols) }
    });
}

kernel! {
    /// `out = activation(gate) * up`
    ///
    /// # Safety
    /// `gate`, `up` and `out` hold `n` values.
    pub(crate) fn gated_row(activation: Activation, gate: *const f32, up: *const f32, out: *mut f32, n: usize)
        = gated_row_with
}

kernel! {
    /// `x = cap * tanh(x / cap)`
    ///
    /// # Safety
    /// `x` holds `n` values.
    fn softcap_row(cap: f32, x: *mut f32, n: usize) = softcap_row_with
}

/// # Safety
/// As for [`gated_row`].
#[inline(always)]
unsafe fn gated_row_with<S: Simd>(
    activation: Activation,
    gate: *const f32,
    up: *const f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        apply_row::<S>(activation, gate, out, n);
        each!(S, n, out, |i, x, lanes| S::mul(
            x,
            load::<S>(up.add(i), lanes)
        ));
    }
}

/// # Safety
/// As for [`softcap_row`].
#[inline(always)]
pub(crate) unsafe fn softcap_row_with<S: Simd>(cap: f32, x: *mut f32, n: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        each!(S, n, x, |at, x, lanes| {
            S::mul(S::splat(cap), tanh::<S>(S::div(x, S::splat(cap))))
        });
    }
}

/// `out = activation(x)` for `n` values; `out` may be `x`.
///
/// # Safety
/// Both hold `n` values, and the processor has the instruction set.
#[inline(always)]
pub(crate) unsafe fn apply_row<S: Simd>(
    activation: Activation,
    x: *const f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        match activation {
            Activation::Gelu => each!(S, n, out, |i, _, lanes| gelu::<S>(load::<S>(
                x.add(i),
                lanes
            ))),
            Activation::GeluTanh => {
                each!(S, n, out, |i, _, lanes| gelu_tanh::<S>(load::<S>(
                    x.add(i),
                    lanes
                )));
            }
            Activation::Silu => {
                each!(S, n, out, |i, _, lanes| {
                    let x = load::<S>(x.add(i), lanes);
                    S::mul(x, sigmoid::<S>(x))
                });
            }
            Activation::Relu => {
                each!(S, n, out, |i, _, lanes| S::max(
                    S::splat(0.0),
                    load::<S>(x.add(i), lanes)
                ));
            }
        }
    }
}

/// `1 / (1 + exp(-x))`
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// `2 sigmoid(2 x) - 1`
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let twice = sigmoid::<S>(S::add(x, x));
        S::sub(S::add(twice, twice), S::splat(1.0))
    }
}

/// `x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))`, which equals the formula with tanh.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn gelu_tanh<S: Simd>(x: S::V) -> S::V {
    // 2 sqrt(2 / pi)
    const SLOPE: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::SQRT_2;
    // SAFETY: as the caller promises.
    unsafe {
        let cubic = S::fma(S::mul(x, x), S::splat(0.044_715), S::splat(1.0));
        let inner = S::mul(S::mul(x, S::splat(SLOPE)), cubic);
        S::mul(x, sigmoid::<S>(inner))
    }
}

/// `x (1 + erf(x / sqrt 2)) / 2`, with erf by Abramowitz & Stegun 7.1.26: absolute error 1.5e-7.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let zero = S::splat(0.0);
        let negative = S::sub(zero, x);
        let z = S::mul(
            S::max(x, negative),
            S::splat(std::f32::consts::FRAC_1_SQRT_2),
        );
        let t = S::div(
            S::splat(1.0),
            S::fma(z, S::splat(0.327_591_1), S::splat(1.0)),
        );
        let mut p = S::splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
            p = S::fma(p, t, S::splat(c));
        }
        // tail = erfc(z) / 2; gelu(x) = max(x, 0) - |x| tail.
        let tail = S::mul(
            S::mul(p, t),
            S::mul(S::splat(0.5), exp::<S>(S::sub(zero, S::mul(z, z)))),
        );
        S::sub(S::max(x, zero), S::mul(S::max(x, negative), tail))
    }
}
