//! Frequencies of rotary positions, and the scalings that stretch them over longer contexts.

use std::f64::consts::TAU;

use serde::Serialize;

use super::keys::Keys;
use crate::error::Result;

/// The rotation of queries and keys in one kind of layer (Su et al. 2021).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Pair `i` of `n` turns by `base^(-i / n)` per position before scaling.
    pub base: f64,
    /// The fraction of a head that rotates.
    pub fraction: f64,
    /// The scaling of the frequencies for a longer context.
    pub scaling: Scaling,
}

/// The scaling of rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Frequencies are not scaled.
    None,
    /// All frequencies are divided by a factor (Chen et al. 2023).
    Linear(f64),
    /// Slow frequencies are divided, fast ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// Divisor of slow frequencies.
        factor: f64,
        /// Slow frequencies make fewer turns than this in `original_n_ctx` positions.
        low_freq_factor: f64,
        /// Fast frequencies make more turns than this.
        high_freq_factor: f64,
        /// Context of the first training.
        original_n_ctx: f64,
    },
    /// Each frequency has its own divisor, which a GGUF stores in place of Llama 3's parameters.
    Factors(Vec<f32>),
}

impl Rope {
    /// Rotation of whole heads without scaling.
    pub(super) fn plain(base: f64) -> Rope {
        Rope {
            base,
            fraction: 1.0,
            scaling: Scaling::None,
        }
    }

    /// Reads the object of `rope_scaling` or `rope_parameters`; `default` if there is none.
    pub(super) fn read(object: Option<Keys>, default: Rope, n_ctx: usize) -> Result<Rope> {
        let Some(mut keys) = object else {
            return Ok(default);
        };
        let base = keys.positive_or("rope_theta", default.base)?;
        let fraction = keys.positive_or("partial_rotary_factor", default.fraction)?;
        let old_type: Option<String> = keys.get("type")?;
        let kind = keys.get("rope_type")?.or(old_type);
        let scaling = match kind.as_deref().unwrap_or("default") {
            "default" => Scaling::None,
            "linear" => Scaling::Linear(keys.required_positive("factor")?),
            "llama3" => Scaling::Llama3 {
                factor: keys.required_positive("factor")?,
                low_freq_factor: keys.required_positive("low_freq_factor")?,
                high_freq_factor: keys.required_positive("high_freq_factor")?,
                original_n_ctx: keys
                    .positive_or("original_max_position_embeddings", n_ctx as f64)?,
            },
            other => {
                let what = format!("is \"{other}\"; supported are default, linear and llama3");
                return Err(keys.unsupported("rope_type", &what));
            }
        };
        // Hugging Face too ignores the parameters of types other than the named one.
        keys.ignore(&[
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        ]);
        keys.finish()?;
        Ok(Rope {
            base,
            fraction,
            scaling,
        })
    }

    /// Number of entries of a head that rotate.
    pub(super) fn d_rot(&self, d_head: usize) -> usize {
        (d_head as f64 * self.fraction) as usize
    }

    /// The angle per position of every pair, `[d_rot / 2]`.
    pub(super) fn frequencies(&self, d_rot: usize) -> Vec<f32> {
        (0..d_rot / 2)
            .map(|pair| {
                // Rounded to f32 where torch rounds, so that distant positions have the same angle.
                let exponent = (2 * pair) as f32 / d_rot as f32;
                let frequency = 1.0 / self.base.powf(f64::from(exponent)) as f32;
                self.scaling.apply(pair, frequency)
            })
            .collect()
    }
}

impl Scaling {
    /// Its name in configurations and the divisor of the slowest pair; `None` without scaling.
    pub fn summary(&self) -> Option<(&'static str, f64)> {
        match self {
            Scaling::None => None,
            Scaling::Linear(factor) => Some(("linear", *factor)),
            Scaling::Llama3 { factor, .. } => Some(("llama3", *factor)),
            Scaling::Factors(factors) => {
                Some(("factors", factors.last().map_or(1.0, |&f| f64::from(f))))
            }
        }
    }

    fn apply(&self, pair: usize, frequency: f32) -> f32 {
        match self {
            Scaling::None => frequency,
            Scaling::Linear(factor) => frequency / *factor as f32,
            Scaling::Factors(factors) => frequency / factors[pair],
            Scaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_n_ctx,
            } => {
                let wavelength = TAU / f64::from(frequency);
                let turns = original_n_ctx / wavelength;
                let keep = if turns < *low_freq_factor {
                    0.0
                } else if turns > *high_freq_factor {
                    1.0
                } else {
                    (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
                };
                let frequency = f64::from(frequency);
                ((1.0 - keep) * frequency / factor + keep * frequency) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_by_the_base() {
        let expected = [1.0, 0.1, 0.01, 0.001];
        for (frequency, expected) in Rope::plain(1e4).frequencies(8).into_iter().zip(expected) {
            assert!(
                (frequency - expected).abs() <= 1e-7 * expected,
                "{frequency}"
            );
        }
    }

    #[test]
    fn llama3_keeps_fast_pairs_divides_slow_ones_and_blends_between() {
        let rope = Rope {
            scaling: Scaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_n_ctx: 8192.0,
            },
            ..Rope::plain(500_000.0)
        };
        let (plain, scaled) = (Rope::plain(500_000.0).frequencies(64), rope.frequencies(64));
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        let blended = (0..32)
            .filter(|&pair| scaled[pair] < plain[pair] && scaled[pair] > plain[pair] / 8.0)
            .count();
        // Wavelengths from 8192 / 4 to 8192 hold 64 / 2 * ln(4) / ln(500000) = 3.4 pairs.
        assert_eq!(blended, 3);
    }
}
