//! Compares the cosines of blocks with plain loops in f64.

use super::*;

/// A matrix `[rows, cols]` of normal numbers (Box and Muller 1958).
fn normal(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (random.next_u32() as f64 + 0.5) / 2_f64.powi(32);
    let mut value = || {
        let (radius, turn) = ((-2.0 * uniform().ln()).sqrt(), uniform());
        (radius * (std::f64::consts::TAU * turn).cos()) as f32
    };
    Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| value()).collect())
}

/// Every cosine of two different rows that are not zero, in f64.
fn plain(matrix: &Matrix) -> Vec<(u32, u32, f64)> {
    let dot = |a: usize, b: usize| -> f64 {
        let pairs = matrix.row(a).iter().zip(matrix.row(b));
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let mut all = Vec::new();
    for a in 0..matrix.rows() {
        for b in 0..matrix.rows() {
            let norms = (dot(a, a) * dot(b, b)).sqrt();
            if a != b && norms > 0.0 {
                all.push((a as u32, b as u32, dot(a, b) / norms));
            }
        }
    }
    all
}

/// More rows than a block has; two are zero, and one is the opposite of another.
fn directions() -> Matrix {
    let mut matrix = normal(BLOCK_ROWS + 41, 24, 1);
    let opposite: Vec<f32> = matrix.row(3).iter().map(|x| -2.5 * x).collect();
    matrix.row_mut(270).copy_from_slice(&opposite);
    matrix.row_mut(5).fill(0.0);
    matrix.row_mut(290).fill(0.0);
    matrix
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn orthogonality_agrees_with_a_plain_loop() {
    let matrix = directions();
    let found = orthogonality(&matrix, Pairs::All, 5);
    let mut pairs = plain(&matrix);
    assert_eq!(found.pairs, pairs.len() as u64);
    assert_eq!((found.rows, found.zero), (matrix.rows() - 2, 2));
    assert!(!found.sampled);
    let mean = pairs.iter().map(|p| p.2.abs()).sum::<f64>() / pairs.len() as f64;
    near(found.mean, mean);
    let nearest = pairs.chunk_by(|p, q| p.0 == q.0);
    let nearest = nearest.map(|row| row.iter().fold(-1.0_f64, |max, p| max.max(p.2)));
    near(found.mean_nearest, nearest.sum::<f64>() / found.rows as f64);
    for (bin, &count) in found.histogram.iter().enumerate() {
        let low = bin as f64 / 20.0;
        let inside = |p: &&(u32, u32, f64)| (low..low + 0.05).contains(&p.2.abs().min(0.999_999));
        let expected = pairs.iter().filter(inside).count() as u64;
        // A cosine at the edge of a bin may fall on either side of it by rounding.
        assert!(count.abs_diff(expected) <= 2, "{bin}: {count} {expected}");
    }
    pairs.retain(|p| p.0 < p.1);
    pairs.sort_by(|p, q| q.2.abs().total_cmp(&p.2.abs()));
    assert_eq!((found.largest[0].a, found.largest[0].b), (3, 270));
    near(found.max, 1.0);
    for (found, expected) in found.largest.iter().zip(&pairs) {
        assert_eq!((found.a, found.b), (expected.0, expected.1));
        near(f64::from(found.cosine), expected.2);
    }
    assert_eq!(found.largest.len(), 5);
}

#[test]
fn a_sample_compares_its_rows_with_all_others_and_depends_on_the_seed_alone() {
    let matrix = directions();
    let sampled = |rows, seed| orthogonality(&matrix, Pairs::Sampled { rows, seed }, 400);
    let found = sampled(60, 4);
    assert!(found.sampled);
    assert_eq!((found.rows, found.pairs), (60, 60 * (295 - 1)));
    assert_eq!(found.histogram.iter().sum::<u64>(), found.pairs);
    assert_eq!(found, sampled(60, 4));
    assert_ne!(found, sampled(60, 5));
    // No pair is listed twice, though two rows of the sample meet twice.
    let mut pairs: Vec<_> = found.largest.iter().map(|p| (p.a, p.b)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), 400);
    let all = orthogonality(&matrix, Pairs::All, 0);
    assert!((found.mean / all.mean - 1.0).abs() < 0.05, "{found:?}");
    assert_eq!(sampled(1000, 4), orthogonality(&matrix, Pairs::All, 400));
}

#[test]
fn random_directions_have_the_mean_cosine_of_theory() {
    let matrix = normal(1000, 768, 2);
    let found = orthogonality(&matrix, Pairs::All, 0);
    let expected = (2.0 / (std::f64::consts::PI * 768.0)).sqrt();
    assert!((expected - 0.0288).abs() < 1e-4);
    assert!((found.mean / expected - 1.0).abs() < 0.01, "{found:?}");
}

#[test]
fn rows_are_compared_with_the_columns_of_every_block() {
    let matrix = normal(BLOCK_COLS + 3, 4, 3);
    let found = orthogonality(&matrix, Pairs::Sampled { rows: 9, seed: 0 }, 3);
    let pairs = plain(&Matrix::from_fn(2, 4, |row, col| {
        let pair = found.largest[0];
        matrix.row(if row == 0 { pair.a } else { pair.b } as usize)[col]
    }));
    near(found.max, pairs[0].2.abs());
    assert_eq!(found.pairs, 9 * (BLOCK_COLS as u64 + 2));
}

#[test]
fn matrices_without_pairs_have_zeros_and_empty_lists() {
    for rows in [0, 1, 2] {
        let mut matrix = Matrix::zeros(rows, 3);
        if rows > 0 {
            matrix.row_mut(0).fill(1.0);
        }
        let found = orthogonality(&matrix, Pairs::All, 3);
        assert_eq!((found.mean, found.max, found.pairs), (0.0, 0.0, 0));
        assert!(found.largest.is_empty());
        assert!(companions(&matrix, &matrix, Pairs::All).is_empty());
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let matrix = directions();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| orthogonality(&matrix, Pairs::All, 7))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn companions_agree_with_a_plain_loop() {
    let (encoder, decoder) = (directions(), normal(BLOCK_ROWS + 41, 9, 8));
    let found = companions(&encoder, &decoder, Pairs::All);
    assert_eq!(found.len(), encoder.rows() - 2);
    let reads = plain(&encoder);
    let writes: std::collections::HashMap<_, _> = plain(&decoder)
        .into_iter()
        .map(|(a, b, cosine)| ((a, b), cosine))
        .collect();
    for companion in found {
        let scores = reads.iter().filter(|pair| pair.0 == companion.feature);
        let scores = scores.map(|&(a, b, cosine)| (b, cosine * writes[&(a, b)]));
        let best = scores.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(companion.other, best.0);
        near(f64::from(companion.score), best.1);
    }
}

#[test]
fn a_budget_covers_all_pairs_or_a_sample() {
    assert_eq!(Pairs::within(100, 10, 1, 7), Pairs::All);
    let sampled = Pairs::Sampled { rows: 9, seed: 7 };
    assert_eq!(Pairs::within(99, 10, 1, 7), sampled);
    let least = Pairs::Sampled { rows: 2, seed: 7 };
    assert_eq!(Pairs::within(0, 10, 1, 7), least);
}
