//! Sums and multiples of whole matrices, and products of single rows.

use rayon::prelude::*;

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::{Simd, kernel, load, store};

/// The dot product of two rows of one length, summed in order in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b);
    products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Values that a task takes at a time.
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

    /// Whether every value is a number.
    pub fn is_finite(&self) -> bool {
        // Without a branch for every value.
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
    /// `sum` becomes the dot product.
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

/// The dot products of several rows with `x`, each the same bits as alone.
///
/// # Safety
/// The rows are as long as `x`.
#[inline(always)]
pub(crate) unsafe fn dots_f32_with<S: Simd, const N: usize>(
    x: &[f32],
    rows: [*const f32; N],
) -> [f32; N] {
    /// Sums under way at once, to hide the latency of an addition.
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

/// `out = sum value * x[row]` over `n` entries, value and row, in their order; `x` is a pointer and
/// the length of its rows.
///
/// # Safety
/// The rows exist, and `out` has room for one.
#[inline(always)]
pub(crate) unsafe fn weighted_row_with<S: Simd, E: Fn(usize) -> (f32, usize)>(
    n: usize,
    entry: E,
    (x, d): (*const f32, usize),
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

/// `sum weights[row] * x[row]`, `[cols]`: in f32 over a few rows at a time, in f64 over those, always
/// in the same order.
///
/// # Panics
/// When there are not as many weights as rows.
pub fn weighted_sum_of_rows(x: &Matrix, weights: &[f32]) -> Vec<f64> {
    weighted_sum_of_rows_on(Isa::current(), x, weights)
}

pub(crate) fn weighted_sum_of_rows_on(isa: Isa, x: &Matrix, weights: &[f32]) -> Vec<f64> {
    /// So few that f32 loses no more than a few bits.
    const ROWS: usize = 64;
    assert_eq!(weights.len(), x.rows(), "weights of rows");
    let mut parts = Matrix::zeros(x.rows().div_ceil(ROWS), x.cols());
    let tasks = parts.data_mut().par_chunks_exact_mut(x.cols().max(1));
    tasks.enumerate().for_each(|(part, out)| {
        let first = part * ROWS;
        let weights = &weights[first..(first + ROWS).min(x.rows())];
        let rows = x.data()[first * x.cols()..].as_ptr();
        // SAFETY: the rows from the first on exist, and `out` has room for one.
        unsafe { weighted_rows(isa, weights, (rows, x.cols()), out.as_mut_ptr()) };
    });
    let mut sums = vec![0.0; x.cols()];
    for part in 0..parts.rows() {
        let pairs = sums.iter_mut().zip(parts.row(part));
        pairs.for_each(|(sum, &part)| *sum += f64::from(part));
    }
    sums
}

kernel! {
    /// `out = sum weights[row] * x[row]`; `x` is a pointer and the length of its rows.
    ///
    /// # Safety
    /// There are as many rows as weights, and `out` has room for one.
    fn weighted_rows(weights: &[f32], x: (*const f32, usize), out: *mut f32) = weighted_rows_with
}

/// # Safety
/// As for [`weighted_rows`].
#[inline(always)]
unsafe fn weighted_rows_with<S: Simd>(weights: &[f32], x: (*const f32, usize), out: *mut f32) {
    // SAFETY: as the caller promises.
    unsafe {
        let entry = |row: usize| (*weights.get_unchecked(row), row);
        weighted_row_with::<S, _>(weights.len(), entry, x, out);
    }
}
