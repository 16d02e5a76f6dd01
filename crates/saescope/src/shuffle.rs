//! Random orders that are the same everywhere for the same seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Random numbers for one purpose: streams of one seed are independent.
pub(crate) fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// A number below `n`, each as likely as any other; 0 when `n` is 0.
///
/// The upper half of a product; the few values that would be biased are drawn again (Lemire 2019).
pub(crate) fn below(random: &mut ChaCha8Rng, n: u64) -> u64 {
    loop {
        let product = u128::from(random.next_u64()) * u128::from(n);
        let (high, low) = ((product >> 64) as u64, product as u64);
        if low >= n || low >= n.wrapping_neg() % n.max(1) {
            return high;
        }
    }
}

/// Puts `items` in a random order, every order as likely as any other (Fisher and Yates 1938).
pub(crate) fn shuffle<T>(items: &mut [T], random: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        let chosen = below(random, last as u64 + 1) as usize;
        items.swap(last, chosen);
    }
}

/// The numbers below `len` in a random order.
pub(crate) fn permutation(len: u32, random: &mut ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    shuffle(&mut order, random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_four_is_as_likely_as_any_other() {
        let mut counts = std::collections::BTreeMap::new();
        let mut random = random(7, 0);
        const DRAWS: usize = 24_000;
        for _ in 0..DRAWS {
            *counts.entry(permutation(4, &mut random)).or_insert(0.0) += 1.0;
        }
        assert_eq!(counts.len(), 24);
        let expected = DRAWS as f64 / 24.0;
        let chi2: f64 = counts
            .values()
            .map(|count: &f64| (count - expected).powi(2) / expected)
            .sum();
        // 23 degrees of freedom: above 49.7 once in a thousand.
        assert!(chi2 < 49.7, "{chi2}");
    }

    #[test]
    fn seeds_and_streams_give_different_orders() {
        let order = |seed, stream| permutation(100, &mut random(seed, stream));
        assert_eq!(order(1, 2), order(1, 2));
        assert_ne!(order(1, 2), order(1, 3));
        assert_ne!(order(1, 2), order(2, 2));
    }

    #[test]
    fn zero_is_the_only_number_below_one_and_stands_for_none_below_zero() {
        assert_eq!(below(&mut random(0, 0), 0), 0);
        assert_eq!(below(&mut random(0, 0), 1), 0);
    }
}
