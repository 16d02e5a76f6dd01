//! The selection of BatchTopK: the largest pre-activations of a whole batch, without computing all.

use saescope_kernels::{Encoder, Gate, Matrix, SparseRows};

/// Number of tokens from which the first threshold is guessed.
const SAMPLE: usize = 64;

/// The `count` largest positive pre-activations over all rows of `x`, `[tokens, d_in]`. Ties
/// go to earlier tokens, then to lower features (Bussmann et al. 2024).
///
/// `guess` is a threshold that few other pre-activations exceed. It is updated for the next batch, and
/// affects only the time.
pub(super) fn largest(
    encoder: &mut Encoder,
    x: &Matrix,
    count: usize,
    guess: &mut f32,
) -> SparseRows {
    if *guess <= 0.0 {
        *guess = guess_from_sample(encoder, x, count);
    }
    loop {
        let found = above(encoder, x, *guess);
        if found.len() < count && *guess > 0.0 {
            *guess = if *guess > 1e-6 { *guess * 0.5 } else { 0.0 };
            continue;
        }
        let chosen = choose(&found, count);
        let least = chosen
            .values()
            .iter()
            .copied()
            .fold(f32::INFINITY, f32::min);
        // Mostly low enough for the next batch.
        *guess = if least.is_finite() { 0.9 * least } else { 0.0 };
        return chosen;
    }
}

fn above(encoder: &mut Encoder, x: &Matrix, threshold: f32) -> SparseRows {
    encoder.update(|weight, _, gate| *gate = Gate::Above(vec![threshold; weight.rows()]));
    encoder.encode(x)
}

/// A threshold that about enough pre-activations exceed, from a sample of the tokens.
fn guess_from_sample(encoder: &mut Encoder, x: &Matrix, count: usize) -> f32 {
    let sampled = SAMPLE.min(x.rows());
    let rows: Vec<usize> = (0..sampled)
        .map(|i| i * x.rows() / sampled.max(1))
        .collect();
    let mut values = above(encoder, &x.select_rows(&rows), 0.0).values().to_vec();
    let share = count * sampled / x.rows().max(1);
    if share == 0 || share >= values.len() {
        return 0.0;
    }
    let (_, value, _) = values.select_nth_unstable_by(share, |a, b| b.total_cmp(a));
    0.8 * *value
}

fn choose(found: &SparseRows, count: usize) -> SparseRows {
    if found.len() <= count {
        return found.clone();
    }
    let values = found.values();
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.select_nth_unstable_by(count, |&a, &b| {
        let (x, y) = (values[a as usize], values[b as usize]);
        y.total_cmp(&x).then(a.cmp(&b))
    });
    let mut kept = vec![false; values.len()];
    for &at in &order[..count] {
        kept[at as usize] = true;
    }
    let (mut out, mut at) = (SparseRows::default(), 0);
    for row in 0..found.rows() {
        let start = at;
        at += found.row(row).0.len();
        let kept = &kept[start..at];
        let entries = found.entries(row).zip(kept).filter(|(_, kept)| **kept);
        out.push(entries.map(|(entry, _)| entry));
    }
    out
}
