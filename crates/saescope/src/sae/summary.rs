//! The norms of an autoencoder's directions, summed up.

use serde::Serialize;

use super::Sae;

/// The norms of an autoencoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NormSummary {
    /// Norms of the features' directions.
    pub decoder_norms: Norms,
    /// Norms of the features' encoder rows.
    pub encoder_norms: Norms,
}

/// The distribution of some norms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Norms {
    /// The least.
    pub least: f32,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub largest: f32,
    /// Number of norms that are 0.
    pub zero: usize,
}

impl Sae {
    /// The norms of its directions and of its encoder's rows.
    pub fn norms(&self) -> NormSummary {
        NormSummary {
            decoder_norms: Norms::of(&self.decoder_norms()),
            encoder_norms: Norms::of(&self.encoder_norms()),
        }
    }
}

impl Norms {
    fn of(norms: &[f32]) -> Norms {
        Norms {
            least: norms.iter().copied().fold(f32::INFINITY, f32::min),
            mean: norms.iter().map(|&n| f64::from(n)).sum::<f64>() / norms.len() as f64,
            largest: norms.iter().copied().fold(0.0, f32::max),
            zero: norms.iter().filter(|&&n| n == 0.0).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_zero_are_counted() {
        let expected = Norms {
            least: 0.0,
            mean: 1.0,
            largest: 3.0,
            zero: 2,
        };
        assert_eq!(Norms::of(&[0.0, 1.0, 3.0, 0.0]), expected);
    }
}
