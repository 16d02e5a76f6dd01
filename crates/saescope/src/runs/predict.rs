//! What a run will take, before it begins.

use std::ops::Add;

use super::writer::KEPT;
use crate::train::{Objective, TrainConfig};

/// Bytes of a number.
const F32: u64 = 4;
/// Bytes that the screen of an encoder keeps of a weight.
const SCREEN: u64 = 2;

/// What a run will take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// Memory of the weights.
    pub weights: u64,
    /// Memory of the optimiser's moments.
    pub moments: u64,
    /// Memory that a step takes besides: activations of features and gradients.
    pub step: u64,
    /// Disk of the checkpoints, the one being written included.
    pub checkpoints: u64,
    /// Disk of the autoencoder.
    pub sae: u64,
}

impl Predicted {
    /// What training activations of width `d_in` into such of width `d_out` takes.
    pub fn of(config: &TrainConfig, d_in: usize, d_out: usize) -> Predicted {
        let (d_in, d_out, d_sae) = (d_in as u64, d_out as u64, config.d_sae as u64);
        let batch = config.batch_tokens as u64;
        let skip = config.transcoder.is_some_and(|transcoder| transcoder.skip);
        let skip = if skip { d_in * d_out } else { 0 };
        // Biases and thresholds: four at most.
        let numbers = d_sae * (d_in + d_out + 4) + d_out + skip;
        let weights = numbers * F32;
        let rows = batch * (2 * d_in + 3 * d_out) * F32;
        let step = match &config.objective {
            Objective::TopK { k, .. }
            | Objective::BatchTopK { k, .. }
            | Objective::Matryoshka { k, .. } => {
                // Values and places of active features, by token and by feature.
                d_sae * d_in * SCREEN + 16 * batch * *k as u64 + rows
            }
            // Pre-activations and their gradients of every feature, and dense gradients.
            _ => 2 * batch * d_sae * F32 + weights + rows,
        };
        Predicted {
            weights,
            moments: 2 * weights,
            step,
            checkpoints: (KEPT as u64 + 1) * 3 * weights,
            sae: weights,
        }
    }

    /// Memory of all of it.
    pub fn memory(&self) -> u64 {
        self.weights + self.moments + self.step
    }

    /// Disk of all of it.
    pub fn disk(&self) -> u64 {
        self.checkpoints + self.sae
    }
}

impl Add for Predicted {
    type Output = Predicted;

    /// Runs side by side take a step one after another.
    fn add(self, other: Predicted) -> Predicted {
        Predicted {
            weights: self.weights + other.weights,
            moments: self.moments + other.moments,
            step: self.step.max(other.step),
            checkpoints: self.checkpoints + other.checkpoints,
            sae: self.sae + other.sae,
        }
    }
}
