//! Rotary position embeddings.

use crate::activation::by_rows;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::Shared;
use crate::simd::{Simd, kernel, load, store};

/// Cosines and sines for some positions: what rotates their queries and keys.
pub struct Rotation {
    /// Half the entries of a head that turn.
    half: usize,
    /// `[positions, half]`
    cos: Vec<f32>,
    /// `[positions, half]`
    sin: Vec<f32>,
}

impl Rotation {
    /// Angles `position * frequency` for every position and every pair.
    pub fn new(frequencies: &[f32], positions: impl Iterator<Item = usize>) -> Rotation {
        let mut rotation = Rotation {
            half: frequencies.len(),
            cos: vec![],
            sin: vec![],
        };
        for position in positions {
            for &frequency in frequencies {
                // The product is rounded to f32, as the checkpoints' makers computed it; sine and
                // cosine of that are exact.
                let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                rotation.cos.push(cos as f32);
                rotation.sin.push(sin as f32);
            }
        }
        rotation
    }

    /// Turns the pairs `(i, i + half)` of `n_heads` heads, `d_head` apart, from the first column
    /// of every row on (Su et al. 2021, in the layout of GPT-NeoX and Hugging Face).
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
            let turn = (&self.cos[angles.clone()], &self.sin[angles]);
            for head in 0..n_heads {
                // SAFETY: each row belongs to one task, and its heads lie within it.
                unsafe { turn_head(isa, turn, shared.get().add(row * cols + head * d_head)) };
            }
        });
    }
}

kernel! {
    /// # Safety
    /// `head` holds twice as many values as there are cosines, and as there are sines.
    fn turn_head(turn: (&[f32], &[f32]), head: *mut f32) = turn_head_with
}

/// # Safety
/// As for [`turn_head`].
#[inline(always)]
unsafe fn turn_head_with<S: Simd>((cos, sin): (&[f32], &[f32]), head: *mut f32) {
    let half = cos.len();
    for at in (0..half).step_by(S::LANES) {
        let lanes = (half - at).min(S::LANES);
        // SAFETY: as the caller promises.
        unsafe {
            let (first, second) = (head.add(at), head.add(half + at));
            let (a, b) = (load::<S>(first, lanes), load::<S>(second, lanes));
            let cos = load::<S>(cos.as_ptr().add(at), lanes);
            let sin = load::<S>(sin.as_ptr().add(at), lanes);
            // Rounded after every step: the same bits on every processor.
            store::<S>(first, S::sub(S::mul(a, cos), S::mul(b, sin)), lanes);
            store::<S>(second, S::add(S::mul(b, cos), S::mul(a, sin)), lanes);
        }
    }
}
