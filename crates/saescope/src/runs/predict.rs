//! What a run will take, before it begins.

use std::ops::Add;

use super::folder::CHECKPOINTS_KEPT;
use crate::train::{Objective, TrainConfig};

/// Bytes of a number.
const F32: u64 = 4;
/// Bytes that the screen of an encoder keeps of a weight.
const SCREEN: u64 = 2;

/// Bytes that a step has of an active feature of a token: where it is, by token and by feature, its
/// value and what the gradient needs of it. Measured; docs/training.md has the comparison.
const ENTRY: u64 = 50;
/// The same of JumpReLU and of Gated, without what finds the largest.
const JUMP_ENTRY: u64 = 40;
const GATED_ENTRY: u64 = 56;

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
        let active = match &config.objective {
            Objective::TopK { k, .. } => ENTRY * batch * *k as u64,
            // More than are chosen are found.
            Objective::BatchTopK { k, .. } => 2 * ENTRY * batch * *k as u64,
            Objective::Matryoshka { k, prefixes, .. } => {
                // Each prefix has an error of its own, and tokens beside it.
                let errors = prefixes.len() as u64 * batch * (d_in + 3 * d_out) * F32;
                2 * ENTRY * batch * *k as u64 + errors
            }
            // Before the penalty has an effect, half of the features are active.
            Objective::JumpRelu { .. } => JUMP_ENTRY * batch * d_sae / 2,
            Objective::Gated { .. } => GATED_ENTRY * batch * d_sae / 2,
            // Activations and gradients of all features, and the gradients of the matrices, which the
            // others never hold whole.
            Objective::L1 { .. } => 2 * batch * d_sae * F32 + weights,
        };
        let step = d_sae * d_in * SCREEN + rows + active;
        Predicted {
            weights,
            moments: 2 * weights,
            step,
            checkpoints: (CHECKPOINTS_KEPT as u64 + 1) * 3 * weights,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Recipe;

    /// Peak resident MB of `saescope train` in docs/training.md, less the model, the buffer and what a
    /// process takes anyway.
    #[test]
    fn what_was_measured_is_predicted_to_a_fifth() {
        for (recipe, measured) in [
            (Recipe::TopK, 20.2),
            (Recipe::L1, 152.8),
            (Recipe::JumpRelu, 337.5),
            (Recipe::Gated, 480.2),
            (Recipe::Matryoshka, 45.4),
        ] {
            let config = TrainConfig::recipe(recipe, 64, 4096, 3);
            assert_eq!(config.batch_tokens, 4096);
            let predicted = Predicted::of(&config, 64, 64).memory() as f64 / 1e6;
            let off = predicted / measured - 1.0;
            assert!(
                off.abs() < 0.2,
                "{recipe:?}: {predicted} MB, not {measured}"
            );
        }
    }
}
