//! Reproducible values, references in f64 and comparisons.

use half::bf16;

pub(super) use crate::*;

pub(super) const SIZES: [usize; 6] = [1, 7, 17, 48, 49, 1000];

/// Reproducible values in -1..1.
pub(super) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

pub(super) fn matrix(rows: usize, cols: usize, seed: u64) -> Matrix {
    Matrix::from_vec(rows, cols, values(rows * cols, seed))
}

pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    let scale = expected.iter().map(|x| x.abs()).fold(1e-6, f64::max);
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / scale;
        assert!(
            error <= tolerance,
            "{context}, entry {i}: {found}, expected {expected}"
        );
    }
}

pub(super) fn pack(isa: Isa, weight: &Matrix, precision: Precision) -> Weight {
    let shape = (weight.rows(), weight.cols());
    let fill = |range: std::ops::Range<usize>, out: &mut [f32]| {
        out.copy_from_slice(&weight.data()[range.start * shape.1..range.end * shape.1]);
        Ok::<_, ()>(())
    };
    Weight::pack_for(isa, shape.0, shape.1, precision, fill).unwrap()
}

pub(super) fn rounded(x: &Matrix) -> Matrix {
    Matrix::from_fn(x.rows(), x.cols(), |r, c| {
        bf16::from_f32(x.row(r)[c]).to_f32()
    })
}

pub(super) fn product_f64(x: &Matrix, weight: &Matrix, bias: &[f32]) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let row = |r: usize| (0..weight.rows()).map(move |c| (r, c));
    (0..x.rows())
        .flat_map(row)
        .map(|(r, c)| dot(x.row(r), weight.row(c)) + f64::from(bias[c]))
        .collect()
}

pub(super) fn act_f64(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Gelu => {
            // Phi by Simpson's rule over 2,000 steps, independent of the kernel's series.
            let (steps, density) = (2000, |t: f64| (-t * t / 2.0).exp());
            let h = x / f64::from(steps);
            let inner: f64 = (1..steps)
                .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
                .sum();
            let area = (density(0.0) + inner + density(x)) * h / 3.0;
            x * (0.5 + area / (2.0 * std::f64::consts::PI).sqrt())
        }
    }
}

pub(super) const ACTIVATIONS: [Activation; 4] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Relu,
];

/// Sparse rows with some entries; every fifth row has none.
pub(super) fn sparse(rows: usize, n_features: usize, seed: u64) -> SparseRows {
    let chances = matrix(rows, n_features, seed);
    let mut sparse = SparseRows::default();
    for row in 0..rows {
        let entries = chances.row(row).iter().enumerate();
        let entries = entries.filter(|(_, chance)| row % 5 != 3 && **chance > 0.6);
        sparse.push(entries.map(|(feature, chance)| (feature as u32, chance - 0.8)));
    }
    sparse
}

pub(super) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}
