//! Rotary position embeddings.

use crate::activation::by_rows;
use crate::matrix::Matrix;
use crate::parallel::Shared;

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
        let shared = Shared::new(x.data_mut());
        by_rows(rows, n_heads * d_head, |row| {
            // SAFETY: each row belongs to one task.
            let x = unsafe { std::slice::from_raw_parts_mut(shared.get().add(row * cols), cols) };
            let (cos, sin) = (
                &self.cos[row * half..][..half],
                &self.sin[row * half..][..half],
            );
            for head in x.chunks_exact_mut(d_head).take(n_heads) {
                let (first, second) = head[..2 * half].split_at_mut(half);
                let pairs = first.iter_mut().zip(second);
                for ((a, b), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        });
    }
}
