//! Layer norm and RMS norm over rows.

use crate::activation::by_rows;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::Shared;
use crate::simd::{Simd, each, kernel, load, store};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for every row (Ba et al. 2016), the variance
/// with divisor `n`.
pub fn layer_norm(x: &Matrix, weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut Matrix) {
    norm_on(Isa::current(), x, (weight, bias, eps, true), out);
}

/// `x / sqrt(mean of squares + eps) * weight` for every row (Zhang & Sennrich 2019).
pub fn rms_norm(x: &Matrix, weight: &[f32], eps: f32, out: &mut Matrix) {
    norm_on(Isa::current(), x, (weight, None, eps, false), out);
}

/// RMS norm of the first `n_heads` runs of `weight.len()` values of every row, in place: the norm
/// of query or key heads, which start at column `start`.
pub fn rms_norm_heads(x: &mut Matrix, start: usize, n_heads: usize, weight: &[f32], eps: f32) {
    let (rows, cols, d) = (x.rows(), x.cols(), weight.len());
    assert!(start + n_heads * d <= cols, "heads of a row");
    let params = Params {
        weight,
        bias: None,
        eps,
        centred: false,
    };
    let shared = Shared::new(x.data_mut());
    let isa = Isa::current();
    by_rows(rows, 2 * n_heads * d, |row| {
        for head in 0..n_heads {
            // SAFETY: the head lies within the row, and each row belongs to one task.
            unsafe {
                let head = shared.get().add(row * cols + start + head * d);
                norm_row(isa, &params, head, head);
            }
        }
    });
}

struct Params<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    /// Take the mean away first.
    centred: bool,
}

pub(crate) fn norm_on(
    isa: Isa,
    x: &Matrix,
    (weight, bias, eps, centred): (&[f32], Option<&[f32]>, f32, bool),
    out: &mut Matrix,
) {
    let params = Params {
        weight,
        bias,
        eps,
        centred,
    };
    let cols = x.cols();
    out.reshape(x.rows(), cols);
    assert_eq!(params.weight.len(), cols, "length of a norm's weight");
    assert!(
        params.bias.is_none_or(|bias| bias.len() == cols),
        "length of a norm's bias"
    );
    let shared = Shared::new(out.data_mut());
    by_rows(x.rows(), 4 * cols, |row| {
        // SAFETY: rows of both hold as many values as the weight, and each is written once.
        unsafe {
            norm_row(
                isa,
                &params,
                x.row(row).as_ptr(),
                shared.get().add(row * cols),
            )
        }
    });
}

kernel! {
    /// # Safety
    /// `x` and `out`, which may be the same, hold as many values as the weight.
    fn norm_row(params: &Params, x: *const f32, out: *mut f32) = norm_row_with
}

/// # Safety
/// As for `norm_row`.
#[inline(always)]
unsafe fn norm_row_with<S: Simd>(params: &Params, x: *const f32, out: *mut f32) {
    let n = params.weight.len();
    // SAFETY: `x`, `out`, weight and bias all hold `n` values.
    unsafe {
        let mean = if params.centred {
            total::<S, false>(x, n, 0.0) / n as f32
        } else {
            0.0
        };
        // Lanes past the end are zeros, of which the mean must not be taken away: the remainder
        // is summed apart.
        let whole = n / S::LANES * S::LANES;
        let mut squares = total::<S, true>(x, whole, mean);
        for i in whole..n {
            squares += (*x.add(i) - mean) * (*x.add(i) - mean);
        }
        let mean = S::splat(mean);
        let inverse = S::splat(1.0 / (squares / n as f32 + params.eps).sqrt());
        let weight = params.weight.as_ptr();
        each!(S, n, out, |i, _, lanes| {
            let x = S::mul(S::sub(load::<S>(x.add(i), lanes), mean), inverse);
            let weight = load::<S>(weight.add(i), lanes);
            match params.bias {
                Some(bias) => S::fma(x, weight, load::<S>(bias.as_ptr().add(i), lanes)),
                None => S::mul(x, weight),
            }
        });
    }
}

/// The sum of `n` values, or of the squares of their distances from `mean`.
///
/// # Safety
/// `x` holds `n` values.
#[inline(always)]
unsafe fn total<S: Simd, const SQUARES: bool>(x: *const f32, n: usize, mean: f32) -> f32 {
    const CHAINS: usize = 4;
    // SAFETY: every load stays within the `n` values.
    unsafe {
        let mean = S::splat(mean);
        // Several chains, so that one addition need not wait for the last.
        let mut sums = [S::splat(0.0); CHAINS];
        let whole = n - n % (CHAINS * S::LANES);
        for i in (0..whole).step_by(CHAINS * S::LANES) {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let x = S::load(x.add(i + chain * S::LANES));
                *sum = add::<S, SQUARES>(*sum, x, mean);
            }
        }
        for (i, sum) in (whole..n).step_by(S::LANES).zip(&mut sums) {
            let x = load::<S>(x.add(i), (n - i).min(S::LANES));
            *sum = add::<S, SQUARES>(*sum, x, mean);
        }
        S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
    }
}

/// `sum` and `x`, or the square of its distance from `mean`.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn add<S: Simd, const SQUARES: bool>(sum: S::V, x: S::V, mean: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        if SQUARES {
            let x = S::sub(x, mean);
            S::fma(x, x, sum)
        } else {
            S::add(sum, x)
        }
    }
}
