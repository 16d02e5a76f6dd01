//! Numbers that tell a changed text from a broken one.

use std::collections::HashSet;

use rayon::prelude::*;
use saescope_kernels::Matrix;

/// How far two next-token distributions are apart, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// `KL(steered || plain)`: how surprising the steered model's choices are to the plain one.
    pub kl: f64,
    /// `KL(plain || steered)`
    pub reverse_kl: f64,
}

/// The divergence of the distributions of each row of logits, `[tokens, d_vocab]` both. The
/// distributions are those of temperature 1, before any filter.
pub fn divergence(plain: &Matrix, steered: &Matrix) -> Vec<Divergence> {
    let rows = (0..plain.rows().min(steered.rows())).into_par_iter();
    rows.map(|row| {
        let (p, q) = (plain.row(row), steered.row(row));
        let (log_p, log_q) = (log_sum_exp(p), log_sum_exp(q));
        let mut sum = Divergence::default();
        for (&p, &q) in p.iter().zip(q) {
            let (p, q) = (f64::from(p) - log_p, f64::from(q) - log_q);
            // A probability of zero contributes nothing, whatever its logarithm.
            let part = |p: f64, q: f64| {
                let weight = p.exp();
                if weight > 0.0 { weight * (p - q) } else { 0.0 }
            };
            sum.kl += part(q, p);
            sum.reverse_kl += part(p, q);
        }
        // Rounding may leave a little less than nothing.
        Divergence {
            kl: sum.kl.max(0.0),
            reverse_kl: sum.reverse_kl.max(0.0),
        }
    })
    .collect()
}

/// `-ln p(token)` of each token; row `i` of `logits`, `[tokens, d_vocab]`, are those from which
/// `tokens[i]` could have been chosen.
pub fn losses(logits: &Matrix, tokens: &[u32]) -> Vec<f64> {
    let rows = (0..logits.rows().min(tokens.len())).into_par_iter();
    rows.map(|row| {
        let logits = logits.row(row);
        log_sum_exp(logits) - f64::from(logits[tokens[row] as usize])
    })
    .collect()
}

/// `exp` of the mean of the [`losses`] of a text. `None` without any.
pub fn perplexity(losses: &[f64]) -> Option<f64> {
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    (!losses.is_empty()).then(|| mean.exp())
}

/// The share of `n`-grams that occurred before: `1 - |unique n-grams| / |n-grams|` (seq-rep-n of
/// Welleck et al. 2020). `None` where there are fewer than `n` tokens.
pub fn repetition(tokens: &[u32], n: usize) -> Option<f64> {
    if n == 0 || tokens.len() < n {
        return None;
    }
    let unique: HashSet<&[u32]> = tokens.windows(n).collect();
    Some(1.0 - unique.len() as f64 / (tokens.len() + 1 - n) as f64)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(probabilities: &[f32]) -> Matrix {
        // Logits are probabilities up to a constant.
        let logits = probabilities.iter().map(|p| p.ln() + 3.0).collect();
        Matrix::from_vec(1, probabilities.len(), logits)
    }

    #[test]
    fn divergence_is_that_of_the_formula_and_none_of_the_same() {
        let (p, q) = (row(&[0.5, 0.25, 0.25]), row(&[0.25, 0.5, 0.25]));
        let found = divergence(&p, &row(&[0.8, 0.1, 0.1]))[0];
        let kl = 0.8 * (0.8_f64 / 0.5).ln() + 0.2 * (0.1_f64 / 0.25).ln();
        let reverse = 0.5 * (0.5_f64 / 0.8).ln() + 0.5 * (0.25_f64 / 0.1).ln();
        assert!((found.kl - kl).abs() < 1e-6, "{found:?}");
        assert!((found.reverse_kl - reverse).abs() < 1e-6, "{found:?}");
        assert_eq!(divergence(&p, &p)[0], Divergence::default());
        assert!(divergence(&p, &q)[0].kl > 0.1);
    }

    #[test]
    fn a_token_that_cannot_come_does_not_spoil_the_sum() {
        let found = divergence(&row(&[0.5, 0.5, 1e-30]), &row(&[0.5, 0.5, 0.0]))[0];
        assert!(found.kl.is_finite(), "{found:?}");
    }

    #[test]
    fn perplexity_of_a_fair_choice_is_the_number_of_choices() {
        let logits = Matrix::zeros(2, 5);
        assert!((perplexity(&losses(&logits, &[1, 4])).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(perplexity(&losses(&logits, &[])), None);
    }

    #[test]
    fn repetition_counts_what_came_before() {
        assert_eq!(repetition(&[1, 2, 3, 4], 3), Some(0.0));
        assert_eq!(repetition(&[7; 6], 3), Some(0.75));
        assert_eq!(repetition(&[1, 2], 3), None);
    }
}
