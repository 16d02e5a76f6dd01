//! Sums and counts of activations that are the same in whatever order they come.

use serde::{Deserialize, Serialize};

/// A sum of numbers as a whole multiple of 2^-40: adding integers has no order, as adding floats has.
///
/// Numbers are rounded to that multiple; those of 2^-17 and more lose nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExactSum(pub i128);

const UNIT: f64 = (1_u64 << 40) as f64;

impl ExactSum {
    /// Adds a number.
    pub fn add(&mut self, value: f64) {
        self.0 = self.0.saturating_add((value * UNIT).round() as i128);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: ExactSum) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// The sum.
    pub fn value(self) -> f64 {
        self.0 as f64 / UNIT
    }
}

/// Count, sums and maximum of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Number of activations above 0.
    pub count: u64,
    /// Their sum.
    pub sum: ExactSum,
    /// The sum of their squares.
    pub squares: ExactSum,
    /// The largest; 0 if there is none.
    pub max: f32,
}

impl Moments {
    /// Adds an activation.
    pub fn add(&mut self, activation: f32) {
        let value = f64::from(activation);
        self.count += 1;
        self.sum.add(value);
        self.squares.add(value * value);
        self.max = self.max.max(activation);
    }

    /// Adds those of another part of the corpus.
    pub fn merge(&mut self, other: &Moments) {
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(other.sum);
        self.squares.merge(other.squares);
        self.max = self.max.max(other.max);
    }

    /// Mean of the activations above 0; 0 if there is none.
    pub fn mean(&self) -> f64 {
        self.sum.value() / self.count.max(1) as f64
    }

    /// Mean of their squares.
    pub fn mean_square(&self) -> f64 {
        self.squares.value() / self.count.max(1) as f64
    }
}

/// Number of the bins of a histogram.
pub const BINS: usize = 256;
/// Bins of a factor of two.
const BINS_PER_OCTAVE: u32 = 8;
/// The exponent of the lower edge of bin 0, which also holds everything below.
const LOWEST_EXPONENT: i32 = -14;

/// The bin of an activation above 0: eight of equal width between two powers of two, from 2^-14 to 2^18. The
/// first and the last also hold what lies beyond.
pub fn bin(activation: f32) -> u8 {
    const MANTISSA: u32 = f32::MANTISSA_DIGITS - 1;
    // Exponent and first three bits of the mantissa of a positive float ascend with it.
    let steps = i64::from(activation.to_bits() >> (MANTISSA - BINS_PER_OCTAVE.ilog2()));
    let lowest = i64::from(LOWEST_EXPONENT + 127) * i64::from(BINS_PER_OCTAVE);
    (steps - lowest).clamp(0, BINS as i64 - 1) as u8
}

/// The lower edge of a bin, which is the upper one of the bin before; of bin 256 the upper edge of the last.
pub fn edge(bin: usize) -> f64 {
    let per_octave = BINS_PER_OCTAVE as usize;
    let octave = LOWEST_EXPONENT + (bin / per_octave) as i32;
    (1.0 + (bin % per_octave) as f64 / f64::from(BINS_PER_OCTAVE)) * f64::from(octave).exp2()
}

/// Numbers of activations by their [`bin`], those that are not 0, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub Vec<(u8, u32)>);

impl Histogram {
    /// Adds `count` activations of a bin.
    pub fn add(&mut self, bin: u8, count: u32) {
        match self.0.binary_search_by_key(&bin, |&(bin, _)| bin) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(count),
            Err(at) => self.0.insert(at, (bin, count)),
        }
    }

    /// Adds those of another part of the corpus.
    pub fn merge(&mut self, other: &Histogram) {
        other
            .0
            .iter()
            .for_each(|&(bin, count)| self.add(bin, count));
    }

    /// Number of activations.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(_, count)| u64::from(count)).sum()
    }

    /// The activation below which a part `q` of them lies, interpolated within its bin, whose edges are at
    /// most an eighth apart; `max` is the largest. 0 if there is none.
    pub fn quantile(&self, q: f64, max: f32) -> f64 {
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut before = 0.0;
        for &(bin, count) in &self.0 {
            let count = f64::from(count);
            if before + count >= rank {
                let (low, high) = (edge(bin.into()), edge(usize::from(bin) + 1));
                let low = if bin == 0 { 0.0 } else { low };
                let within = low + (high - low) * (rank - before) / count;
                return within.min(f64::from(max));
            }
            before += count;
        }
        f64::from(max)
    }
}

/// A bar of a histogram as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Lower edge.
    pub from: f64,
    /// Upper edge.
    pub to: f64,
    /// Number of activations.
    pub count: u32,
}

impl Histogram {
    /// Its bars, ascending.
    pub fn bars(&self) -> Vec<Bar> {
        let bar = |&(bin, count): &(u8, u32)| Bar {
            from: edge(bin.into()),
            to: edge(usize::from(bin) + 1),
            count,
        };
        self.0.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_activation_lies_between_the_edges_of_its_bin() {
        for value in [
            0.0001_f32, 0.02, 0.5, 0.999_999, 1.0, 1.1249, 1.125, 7.3, 900.0, 200_000.0,
        ] {
            let bin = usize::from(bin(value));
            assert!(
                edge(bin) <= value.into() && f64::from(value) < edge(bin + 1),
                "{value}"
            );
        }
        assert_eq!(
            (bin(f32::MIN_POSITIVE), bin(1e30), bin(f32::INFINITY)),
            (0, 255, 255)
        );
        assert_eq!(bin(1.0) + 8, bin(2.0));
    }

    proptest! {
        #[test]
        fn sums_and_quantiles_do_not_depend_on_the_order(mut values in prop::collection::vec(1e-4_f32..3e3, 1..60), cut in 0_usize..60) {
            let of = |values: &[f32]| {
                let (mut moments, mut histogram) = (Moments::default(), Histogram::default());
                for &value in values {
                    moments.add(value);
                    histogram.add(bin(value), 1);
                }
                (moments, histogram)
            };
            let whole = of(&values);
            values.reverse();
            let cut = cut.min(values.len());
            let (mut first, second) = (of(&values[..cut]), of(&values[cut..]));
            first.0.merge(&second.0);
            first.1.merge(&second.1);
            prop_assert_eq!(&first, &whole);
            let sum: f64 = values.iter().copied().map(f64::from).sum();
            prop_assert!((whole.0.sum.value() - sum).abs() <= 1e-9 * sum);

            values.sort_by(f32::total_cmp);
            for q in [0.1, 0.5, 0.9] {
                let rank = (q * values.len() as f64).ceil().max(1.0) as usize;
                let exact = f64::from(values[rank - 1]);
                let shown = whole.1.quantile(q, whole.0.max);
                prop_assert!(shown / exact < 1.126 && exact / shown < 1.126, "{} {}", shown, exact);
            }
        }
    }
}
