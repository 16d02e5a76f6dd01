//! Layer norm and RMS norm over rows.

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};
use crate::simd::{Simd, each, kernel, load, store};

/// A norm of rows `[rows, d]`.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    /// True if the mean is subtracted first.
    centred: bool,
}

impl<'a> Norm<'a> {
    /// `(x - mean) / sqrt(variance + eps) * weight + bias` (Ba et al. 2016), the variance with
    /// divisor `d`; weight and bias are `[d]`.
    ///
    /// # Panics
    /// When weight and bias differ in length.
    pub fn layer(weight: &'a [f32], bias: Option<&'a [f32]>, eps: f32) -> Norm<'a> {
        assert!(
            bias.is_none_or(|bias| bias.len() == weight.len()),
            "length of a norm's bias"
        );
        Norm {
            weight,
            bias,
            eps,
            centred: true,
        }
    }

    /// `x / sqrt(mean(x^2) + eps) * weight` (Zhang & Sennrich 2019); the weight is `[d]`.
    pub fn rms(weight: &'a [f32], eps: f32) -> Norm<'a> {
        Norm {
            weight,
            bias: None,
            eps,
            centred: false,
        }
    }

    /// Writes the norm of every row of `x` `[rows, d]` to `out`, which takes the same shape.
    ///
    /// # Panics
    /// When `x` is not as wide as the weight.
    pub fn apply(&self, x: &Matrix, out: &mut Matrix) {
        self.apply_on(Isa::current(), x, out);
    }

    pub(crate) fn apply_on(&self, isa: Isa, x: &Matrix, out: &mut Matrix) {
        let cols = x.cols();
        out.reshape(x.rows(), cols);
        let shared = Shared::new(out.data_mut());
        by_rows(x.rows(), 4 * cols, |row| {
            // SAFETY: each row is written once.
            let to = unsafe { std::slice::from_raw_parts_mut(shared.get().add(row * cols), cols) };
            self.row(isa, x.row(row), to);
        });
    }

    /// Writes the norm of one row to `to`.
    pub(crate) fn row(&self, isa: Isa, x: &[f32], to: &mut [f32]) {
        assert_eq!(self.weight.len(), x.len(), "length of a norm's weight");
        assert_eq!(to.len(), x.len(), "length of a normed row");
        // SAFETY: both are as long as the weight, and an `Isa` is only handed out where it is
        // available.
        unsafe { norm_row(isa, self, x.as_ptr(), to.as_mut_ptr()) }
    }
}

/// RMS norm of query or key heads, in place: in every row of `x`, of `n_heads` runs of
/// `weight.len()` values from column `start` on.
///
/// # Panics
/// When a row is shorter.
pub fn rms_norm_heads(x: &mut Matrix, start: usize, n_heads: usize, weight: &[f32], eps: f32) {
    let (rows, cols, d) = (x.rows(), x.cols(), weight.len());
    assert!(start + n_heads * d <= cols, "heads of a row");
    let norm = Norm::rms(weight, eps);
    let shared = Shared::new(x.data_mut());
    let isa = Isa::current();
    by_rows(rows, 2 * n_heads * d, |row| {
        for head in 0..n_heads {
            // SAFETY: the head lies within the row, and each row belongs to one task.
            unsafe {
                let head = shared.get().add(row * cols + start + head * d);
                norm_row(isa, &norm, head, head);
            }
        }
    });
}

kernel! {
    /// `out = norm(x)`
    ///
    /// # Safety
    /// `x` and `out`, which may be the same, hold as many values as the weight.
    fn norm_row(norm: &Norm, x: *const f32, out: *mut f32) = norm_row_with
}

/// # Safety
/// As for [`norm_row`].
#[inline(always)]
unsafe fn norm_row_with<S: Simd>(norm: &Norm, x: *const f32, out: *mut f32) {
    let n = norm.weight.len();
    // SAFETY: `x`, `out`, weight and bias all hold `n` values.
    unsafe {
        let mean = if norm.centred {
            total::<S, false>(x, n, 0.0) / n as f32
        } else {
            0.0
        };
        // Lanes past the end are zeros, and subtracting the mean would make them count: the
        // remainder is summed apart.
        let whole = n / S::LANES * S::LANES;
        let mut squares = total::<S, true>(x, whole, mean);
        for i in whole..n {
            squares += (*x.add(i) - mean) * (*x.add(i) - mean);
        }
        let mean = S::splat(mean);
        let inverse = S::splat(1.0 / (squares / n as f32 + norm.eps).sqrt());
        let weight = norm.weight.as_ptr();
        each!(S, n, out, |i, _, lanes| {
            let x = S::mul(S::sub(load::<S>(x.add(i), lanes), mean), inverse);
            let weight = load::<S>(weight.add(i), lanes);
            match norm.bias {
                Some(bias) => S::fma(x, weight, load::<S>(bias.as_ptr().add(i), lanes)),
                None => S::mul(x, weight),
            }
        });
    }
}

/// The sum of `n` values, or with `SQUARES` of `(x - mean)^2`.
///
/// # Safety
/// `x` holds `n` values.
#[inline(always)]
unsafe fn total<S: Simd, const SQUARES: bool>(x: *const f32, n: usize, mean: f32) -> f32 {
    const CHAINS: usize = 4;
    // SAFETY: every load stays within the `n` values.
    unsafe {
        let mean = S::splat(mean);
        // Several chains, so that no addition waits for the one before.
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

/// `sum + x`, or with `SQUARES` `sum + (x - mean)^2`.
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
