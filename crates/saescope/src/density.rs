//! The densities of features: the share of tokens on which each is active, and their distribution.

/// The density above which a feature is called dense.
pub const DENSE: f64 = 0.1;

/// Number of bins of [`Densities::histogram`]: one below 1e-6, and one for each half decade up to 1.
pub const BINS: usize = 13;

/// The distribution of a dictionary's features over densities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Densities {
    /// Number of features that were never active.
    pub never: usize,
    /// Number of features that were active on more than a tenth of the tokens.
    pub dense: usize,
    /// Number of features by the decimal logarithm of their density: densities below 1e-6 in the first
    /// bin, then bins of half a decade, density 1 in the last.
    pub histogram: Vec<usize>,
}

/// The densities of features, given the number of tokens, out of `tokens`, on which each was active.
pub fn densities(active: &[u64], tokens: u64) -> Densities {
    let mut found = Densities {
        histogram: vec![0; BINS],
        ..Densities::default()
    };
    for &active in active {
        let density = active as f64 / tokens.max(1) as f64;
        found.never += usize::from(active == 0);
        found.dense += usize::from(density > DENSE);
        // A density of 0 has the logarithm minus infinity, which is clamped to the first bin.
        let bin = ((density.log10() + 6.0) * 2.0).floor() + 1.0;
        found.histogram[bin.clamp(0.0, (BINS - 1) as f64) as usize] += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_counted_by_the_half_decade_of_their_density() {
        let active = [0, 5, 20, 40, 500_000, 2_000_000, 10_000_000, 1_000_000];
        let found = densities(&active, 10_000_000);
        assert_eq!((found.never, found.dense), (1, 2));
        assert_eq!(found.histogram, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
        assert_eq!(densities(&[0, 0], 0).never, 2);
    }
}
