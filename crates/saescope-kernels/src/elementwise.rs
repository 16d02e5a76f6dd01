//! Sums and multiples of whole matrices, dot products and weighted sums of rows.

use rayon::prelude::*;

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::{Simd, each, kernel, load, store};

/// The dot product of two rows of one length, summed in order in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b);
    products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The Euclidean length of a row, summed in order in f64.
pub fn norm(x: &[f32]) -> f64 {
    dot(x, x).sqrt()
}

/// Values of a task.
const CHUNK: usize = 1 << 14;

impl Matrix {
    /// `self + other`, in place.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn add(&mut self, other: &Matrix) {
        let shapes = ((self.rows(), self.cols()), (other.rows(), other.cols()));
        assert_eq!(shapes.0, shapes.1, "shapes of a sum");
        let chunks = self
            .data_mut()
            .par_chunks_mut(CHUNK)
            .zip(other.data().par_chunks(CHUNK));
        chunks.for_each(|(to, from)| {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        });
    }

    /// The row and the value of the first entry that is not finite.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        if self.is_finite() {
            return None;
        }
        let at = self.data().iter().position(|x| !x.is_finite())?;
        Some((at / self.cols(), self.data()[at]))
    }

    /// True if every value is finite.
    pub fn is_finite(&self) -> bool {
        // No branch within a chunk, so that the loop becomes one of vectors.
        let chunk = |chunk: &[f32]| chunk.iter().fold(true, |all, x| all & x.is_finite());
        self.data().par_chunks(CHUNK).all(chunk)
    }

    /// `factor * self`, in place.
    pub fn scale(&mut self, factor: f32) {
        self.data_mut().par_chunks_mut(CHUNK).for_each(|chunk| {
            for value in chunk {
                *value *= factor;
            }
        });
    }
}

kernel! {
    /// `sum = a . b`
    ///
    /// # Safety
    /// Both have the same length.
    pub(crate) fn dot_f32(a: &[f32], b: &[f32], sum: &mut f32) = dot_f32_with
}

/// # Safety
/// As for [`dot_f32`].
#[inline(always)]
pub(crate) unsafe fn dot_f32_with<S: Simd>(a: &[f32], b: &[f32], sum: &mut f32) {
    // SAFETY: as the caller promises.
    unsafe { [*sum] = dots_f32_with::<S, 1>(b, [a.as_ptr()]) };
}

/// The dot products of several rows with `x`; each has the same bits as alone.
///
/// # Safety
/// The rows are as long as `x`.
#[inline(always)]
pub(crate) unsafe fn dots_f32_with<S: Simd, const N: usize>(
    x: &[f32],
    rows: [*const f32; N],
) -> [f32; N] {
    /// Independent sums, to hide the latency of an addition.
    const CHAINS: usize = 4;
    let n = x.len();
    let x = x.as_ptr();
    // SAFETY: every vector lies within its row.
    unsafe {
        let mut sums = [[S::splat(0.0); CHAINS]; N];
        let mut i = 0;
        while i + CHAINS * S::LANES <= n {
            for chain in 0..CHAINS {
                let at = i + chain * S::LANES;
                let x = S::load(x.add(at));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    sums[chain] = S::fma(S::load(row.add(at)), x, sums[chain]);
                }
            }
            i += CHAINS * S::LANES;
        }
        while i < n {
            let lanes = (n - i).min(S::LANES);
            let x = load::<S>(x.add(i), lanes);
            for (sums, row) in sums.iter_mut().zip(rows) {
                sums[0] = S::fma(load::<S>(row.add(i), lanes), x, sums[0]);
            }
            i += lanes;
        }
        let mut out = [0.0; N];
        for (out, sums) in out.iter_mut().zip(sums) {
            let halves = (S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
            *out = S::sum(S::add(halves.0, halves.1));
        }
        out
    }
}

/// `out = sum value * x[row]` over `n` entries, pairs of value and row, in their order; a row of
/// `x` has `d` values.
///
/// # Safety
/// The rows exist, and `out` has room for `d` values.
#[inline(always)]
pub(crate) unsafe fn weighted_row_with<S: Simd, E: Fn(usize) -> (f32, usize)>(
    n: usize,
    entry: E,
    x: *const f32,
    d: usize,
    out: *mut f32,
) {
    /// Vectors whose sums stay in registers.
    const VECTORS: usize = 8;
    let block = VECTORS * S::LANES;
    let mut column = 0;
    // SAFETY: every vector lies within a row.
    unsafe {
        while column + block <= d {
            let mut sums = [S::splat(0.0); VECTORS];
            for at in 0..n {
                let (value, row) = entry(at);
                let (value, x) = (S::splat(value), x.add(row * d + column));
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(value, S::load(x.add(v * S::LANES)), *sum);
                }
            }
            for (v, sum) in sums.into_iter().enumerate() {
                S::store(out.add(column + v * S::LANES), sum);
            }
            column += block;
        }
        while column < d {
            let lanes = (d - column).min(S::LANES);
            let mut sum = S::splat(0.0);
            for at in 0..n {
                let (value, row) = entry(at);
                let x = load::<S>(x.add(row * d + column), lanes);
                sum = S::fma(S::splat(value), x, sum);
            }
            store::<S>(out.add(column), sum, lanes);
            column += lanes;
        }
    }
}

/// `out += factors[i] * x_r` for every row `r = rows[i]` of `x` `[n, d]`, one after the other;
/// `out` is `[d]`.
///
/// # Panics
/// When a row does not exist, or a length is another.
pub fn accumulate_rows(out: &mut [f32], x: &Matrix, rows: &[usize], factors: &[f32]) {
    accumulate_rows_on(Isa::current(), out, x, rows, factors);
}

pub(crate) fn accumulate_rows_on(
    isa: Isa,
    out: &mut [f32],
    x: &Matrix,
    rows: &[usize],
    factors: &[f32],
) {
    assert_eq!(out.len(), x.cols(), "length of a sum of rows");
    assert_eq!(factors.len(), rows.len(), "factors of rows");
    for (&row, &factor) in rows.iter().zip(factors) {
        // SAFETY: `out` is as long as a row.
        unsafe { add_scaled(isa, out.as_mut_ptr(), factor, x.row(row)) };
    }
}

/// `sum weights[row] * x[row]` over the rows of `x` `[rows, cols]`; returns `[cols]`. Groups of
/// rows are summed in f32 and the groups in f64, always in the same order.
///
/// # Panics
/// When `weights` is not `[rows]`.
pub fn weighted_sum_of_rows(x: &Matrix, weights: &[f32]) -> Vec<f64> {
    weighted_sum_of_rows_on(Isa::current(), x, weights)
}

pub(crate) fn weighted_sum_of_rows_on(isa: Isa, x: &Matrix, weights: &[f32]) -> Vec<f64> {
    /// Rows of a group: so few that f32 loses a few bits at most.
    const ROWS: usize = 64;
    assert_eq!(weights.len(), x.rows(), "weights of rows");
    let mut groups = Matrix::zeros(x.rows().div_ceil(ROWS), x.cols());
    let tasks = groups.data_mut().par_chunks_exact_mut(x.cols().max(1));
    tasks.enumerate().for_each(|(group, out)| {
        let first = group * ROWS;
        let weights = &weights[first..(first + ROWS).min(x.rows())];
        let rows = x.data()[first * x.cols()..].as_ptr();
        // SAFETY: the rows from the first on exist, and `out` has room for one.
        unsafe { weighted_rows(isa, weights, rows, x.cols(), out.as_mut_ptr()) };
    });
    let mut sums = vec![0.0; x.cols()];
    for group in 0..groups.rows() {
        let pairs = sums.iter_mut().zip(groups.row(group));
        pairs.for_each(|(sum, &group)| *sum += f64::from(group));
    }
    sums
}

kernel! {
    /// `out = sum weights[row] * x[row]`; a row of `x` has `d` values.
    ///
    /// # Safety
    /// There are as many rows as weights, and `out` has room for `d` values.
    fn weighted_rows(weights: &[f32], x: *const f32, d: usize, out: *mut f32) = weighted_rows_with
}

/// # Safety
/// As for [`weighted_rows`].
#[inline(always)]
unsafe fn weighted_rows_with<S: Simd>(weights: &[f32], x: *const f32, d: usize, out: *mut f32) {
    // SAFETY: as the caller promises.
    unsafe {
        let entry = |row: usize| (*weights.get_unchecked(row), row);
        weighted_row_with::<S, _>(weights.len(), entry, x, d, out);
    }
}

kernel! {
    /// `to += factor * row`, rounded twice.
    ///
    /// # Safety
    /// `to` holds as many values as `row`.
    pub(crate) fn add_scaled(to: *mut f32, factor: f32, row: &[f32]) = add_scaled_with
}

/// # Safety
/// As for [`add_scaled`].
#[inline(always)]
unsafe fn add_scaled_with<S: Simd>(to: *mut f32, factor: f32, row: &[f32]) {
    let (n, row) = (row.len(), row.as_ptr());
    // SAFETY: as the caller promises.
    unsafe {
        let factor = S::splat(factor);
        each!(S, n, to, |i, x, lanes| {
            S::add(x, S::mul(factor, load::<S>(row.add(i), lanes)))
        });
    }
}
