//! Sums and multiples of whole matrices, and products of single rows.

use rayon::prelude::*;

use crate::matrix::Matrix;
use crate::simd::{Simd, kernel, load};

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
