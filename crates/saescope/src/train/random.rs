//! Random numbers that depend on a seed and a purpose, and never on earlier draws: a run that resumes
//! draws the numbers of an uninterrupted one.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rayon::prelude::*;
use saescope_kernels::{Matrix, scale_rows_to_norm};

/// The purpose of random numbers.
#[derive(Clone, Copy)]
pub(super) enum Draw {
    Decoder,
    Encoder,
    /// Dead features, in this step.
    Dead(u64),
}

/// The random numbers of one row.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64, draw: Draw, row: u32) -> Random {
        let purpose = match draw {
            Draw::Decoder => 0,
            Draw::Encoder => 1,
            Draw::Dead(step) => step.wrapping_add(2),
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(purpose << 32 | u64::from(row));
        Random(random)
    }

    /// A uniform number from 0 to 1, 1 excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal numbers (Box & Muller 1958).
    pub(super) fn normal(&mut self, out: &mut [f32]) {
        for pair in out.chunks_mut(2) {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            for (out, value) in pair.iter_mut().zip([cos, sin]) {
                *out = (radius * value) as f32;
            }
        }
    }
}

/// Rows of norm `norm` in random directions, in a matrix of `shape`.
pub(super) fn directions(shape: (usize, usize), norm: f32, seed: u64, draw: Draw) -> Matrix {
    let (rows, d) = shape;
    let mut matrix = Matrix::zeros(rows, d);
    let each = matrix.data_mut().par_chunks_exact_mut(d).enumerate();
    each.for_each(|(row, out)| {
        Random::new(seed, draw, row as u32).normal(out);
    });
    scale_rows_to_norm(&mut matrix, norm);
    matrix
}
