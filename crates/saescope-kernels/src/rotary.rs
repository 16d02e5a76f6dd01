//! Rotary position embeddings.

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};
use crate::simd::{Simd, kernel, load, store};

/// Cosines and sines of the angles by which queries and keys are rotated.
pub struct Rotation {
    /// Number of pairs of a head that are rotated.
    half: usize,
    /// `[positions, half]`
    cos: Vec<f32>,
    /// `[positions, half]`
    sin: Vec<f32>,
}

impl Rotation {
    /// Angles `position * frequency` of every position and pair.
    pub fn new(frequencies: &[f32], positions: impl Iterator<Item = usize>) -> Rotation {
        let mut rotation = Rotation {
            half: frequencies.len(),
            cos: vec![],
            sin: vec![],
        };
        for position in positions {
            for &frequency in frequencies {
                // The product is rounded to f32, as in the training code of the checkpoints; its
                // sine and cosine are computed in f64.
                let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                rotation.cos.push(cos as f32);
                rotation.sin.push(sin as f32);
            }
        }
        rotation
    }

    /// Rotates the pairs `(i, i + half)` of the `n_heads` heads of width `d_head` in the first
    /// columns of every row of `x`, one row for each position (Su et al. 2021, in the layout of
    /// GPT-NeoX and Hugging Face).
    ///
    /// # Panics
    /// When the number of rows is another, or heads lie outside of a row.
    pub fn apply(&self, x: &mut Matrix, n_heads: usize, d_head: usize) {
        let (rows, cols, half) = (x.rows(), x.cols(), self.half);
        assert_eq!(self.cos.len(), rows * half, "positions of a rotation");
        assert!(
            n_heads * d_head <= cols && 2 * half <= d_head,
            "heads of a rotation"
        );
        let (isa, shared) = (Isa::current(), Shared::new(x.data_mut()));
        by_rows(rows, n_heads * d_head, |row| {
            let angles = row * half..(row + 1) * half;
            let (cos, sin) = (&self.cos[angles.clone()], &self.sin[angles]);
            for head in 0..n_heads {
                // SAFETY: each row belongs to one task, and its heads lie within it.
                unsafe { rotate_head(isa, cos, sin, shared.get().add(row * cols + head * d_head)) };
            }
        });
    }
}

kernel! {
    /// Rotates the pairs of one head.
    ///
    /// # Safety
    /// There are as many sines as cosines, and `head` holds twice as many values.
    fn rotate_head(cos: &[f32], sin: &[f32], head: *mut f32) = rotate_head_with
}

/// # Safety
/// As for [`rotate_head`].
#[inline(always)]
unsafe fn rotate_head_with<S: Simd>(cos: &[f32], sin: &[f32], head: *mut f32) {
    let half = cos.len();
    for at in (0..half).step_by(S::LANES) {
        let lanes = (half - at).min(S::LANES);
        // SAFETY: as the caller promises.
        unsafe {
            let (first, second) = (head.add(at), head.add(half + at));
            let (a, b) = (load::<S>(first, lanes), load::<S>(second, lanes));
            let cos = load::<S>(cos.as_ptr().add(at), lanes);
            let sin = load::<S>(sin.as_ptr().add(at), lanes);
            // No fused multiply-add: the same bits on every processor.
            store::<S>(first, S::sub(S::mul(a, cos), S::mul(b, sin)), lanes);
            store::<S>(second, S::add(S::mul(b, cos), S::mul(a, sin)), lanes);
        }
    }
}
