//! The starting weights.

use saescope_kernels::{Matrix, squared_row_distances, weighted_sum_of_rows};

use super::input::{PreparedBatch, column_means};
use super::random::{Draw, directions};
use super::weights::{Vectors, Weights};
use super::{InitBias, Objective, TrainConfig};

impl Weights {
    /// The weights before the first step, whose batch is `tokens`.
    pub(super) fn init(config: &TrainConfig, tokens: &PreparedBatch) -> Weights {
        let (d_in, d_out) = (tokens.x.cols(), tokens.target().cols());
        let (d_sae, norm) = (config.d_sae, config.init.decoder_norm);
        let w_dec = directions((d_sae, d_out), norm, config.seed, Draw::Decoder);
        let w_enc = if config.init.tied {
            w_dec.clone()
        } else {
            directions((d_sae, d_in), norm, config.seed, Draw::Encoder)
        };
        let for_features = |used: bool, value: f32| vec![value; if used { d_sae } else { 0 }];
        let threshold = match config.objective {
            Objective::JumpRelu { threshold, .. } => for_features(true, threshold),
            _ => Vec::new(),
        };
        let gated = matches!(config.objective, Objective::Gated { .. });
        let skip = config.transcoder.is_some_and(|transcoder| transcoder.skip);
        let vectors = Vectors {
            b_enc: vec![0.0; d_sae],
            b_dec: match config.init.b_dec {
                InitBias::Zero => vec![0.0; d_out],
                InitBias::Mean => column_means(tokens.target()),
                InitBias::GeometricMedian => geometric_median(tokens.target()),
            },
            threshold,
            r_mag: for_features(gated, 0.0),
            b_mag: for_features(gated, 0.0),
            w_skip: vec![0.0; if skip { d_in * d_out } else { 0 }],
        };
        Weights::new(config, w_enc, w_dec, vectors)
    }
}

/// The point whose distances from the rows of `x`, `[tokens, d]`, have the smallest sum
/// (Weiszfeld 1937), to a thousandth of the mean distance.
pub(super) fn geometric_median(x: &Matrix) -> Vec<f32> {
    const ITERATIONS: usize = 100;
    let mut median = column_means(x);
    for _ in 0..ITERATIONS {
        let distances = squared_row_distances(x, &median).into_iter();
        let distances: Vec<f64> = distances.map(f64::sqrt).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        // A row at the median itself would have an infinite weight.
        let least = 1e-6 * mean;
        let weights: Vec<f64> = distances.iter().map(|d| 1.0 / d.max(least)).collect();
        let total: f64 = weights.iter().sum();
        if !total.is_finite() {
            break;
        }
        let shares: Vec<f32> = weights.iter().map(|w| (w / total) as f32).collect();
        let sums = weighted_sum_of_rows(x, &shares);
        let next: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
        let moved = distance(&next, &median);
        median = next;
        if moved <= 1e-5 * mean {
            break;
        }
    }
    median
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt()
}
