//! Numbers that tell a changed text from a broken one.

use std::collections::HashSet;

use saescope_kernels::Matrix;

use crate::distribution::Distributions;

/// Divergence of two next-token distributions, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// `KL(steered || plain)`: the surprise of the plain model at the steered model's choices.
    pub kl: f64,
    /// `KL(plain || steered)`
    pub reverse_kl: f64,
}

/// The divergence of the distributions of each row of logits, `[tokens, d_vocab]` both.
pub fn divergence(plain: &Matrix, steered: &Matrix) -> Vec<Divergence> {
    let (plain, steered) = (Distributions::new(plain), Distributions::new(steered));
    let both = steered.kl(&plain).into_iter().zip(plain.kl(&steered));
    both.map(|(kl, reverse_kl)| Divergence { kl, reverse_kl })
        .collect()
}

/// `-ln p(token)` of each token; `tokens[i]` is chosen from row `i` of `logits`, `[tokens, d_vocab]`.
pub fn losses(logits: &Matrix, tokens: &[u32]) -> Vec<f64> {
    let distributions = Distributions::new(logits);
    let rows = (0..logits.rows()).zip(tokens);
    rows.map(|(row, &token)| distributions.loss(row, token))
        .collect()
}

/// `exp` of the mean of the [`losses`] of a text; `None` without losses.
pub fn perplexity(losses: &[f64]) -> Option<f64> {
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    (!losses.is_empty()).then(|| mean.exp())
}

/// The share of `n`-grams that occurred before: `1 - |unique n-grams| / |n-grams|` (seq-rep-n of
/// Welleck et al. 2020). `None` with fewer than `n` tokens.
pub fn repetition(tokens: &[u32], n: usize) -> Option<f64> {
    if n == 0 || tokens.len() < n {
        return None;
    }
    let unique: HashSet<&[u32]> = tokens.windows(n).collect();
    Some(1.0 - unique.len() as f64 / (tokens.len() + 1 - n) as f64)
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
    fn divergence_follows_the_formula_and_is_zero_for_equal_distributions() {
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
    fn a_token_of_probability_zero_keeps_the_divergence_finite() {
        let found = divergence(&row(&[0.5, 0.5, 1e-30]), &row(&[0.5, 0.5, 0.0]))[0];
        assert!(found.kl.is_finite(), "{found:?}");
    }

    #[test]
    fn perplexity_of_a_uniform_distribution_is_the_number_of_tokens() {
        let logits = Matrix::zeros(2, 5);
        assert!((perplexity(&losses(&logits, &[1, 4])).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(perplexity(&losses(&logits, &[])), None);
    }

    #[test]
    fn repetition_counts_n_grams_that_occurred_before() {
        assert_eq!(repetition(&[1, 2, 3, 4], 3), Some(0.0));
        assert_eq!(repetition(&[7; 6], 3), Some(0.75));
        assert_eq!(repetition(&[1, 2], 3), None);
    }
}
