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
    /// Sums under way at once, to hide the latency of an addition.
    const CHAINS: usize = 4;
    let n = a.len();
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: every vector lies within both.
    unsafe {
        let mut sums = [S::splat(0.0); CHAINS];
        let mut i = 0;
        while i + CHAINS * S::LANES <= n {
            for (chain, sum) in sums.iter_mut().enumerate() {
                let at = i + chain * S::LANES;
                *sum = S::fma(S::load(a.add(at)), S::load(b.add(at)), *sum);
            }
            i += CHAINS * S::LANES;
        }
        while i < n {
            let lanes = (n - i).min(S::LANES);
            let (x, y) = (load::<S>(a.add(i), lanes), load::<S>(b.add(i), lanes));
            sums[0] = S::fma(x, y, sums[0]);
            i += lanes;
        }
        let halves = (S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
        *sum = S::sum(S::add(halves.0, halves.1));
    }
}
