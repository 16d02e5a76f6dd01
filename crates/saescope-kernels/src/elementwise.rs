//! Sums and multiples of whole matrices, and products of single rows.

use rayon::prelude::*;

use crate::matrix::Matrix;

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
