//! An estimate of the memory and disk of a run, before it begins.

use std::ops::Add;

use super::folder::CHECKPOINTS_KEPT;
use crate::train::{Objective, TrainConfig};

/// Bytes of an f32.
const F32: u64 = 4;
/// Bytes per weight in the screen of an encoder.
const SCREEN: u64 = 2;

/// Bytes per active feature of a token in a step: its indices by token and by feature, its value, and
/// its gradients. Measured; docs/training.md has the comparison.
const ENTRY: u64 = 50;
/// The same for JumpReLU and for Gated, which do not search for the largest.
const JUMP_ENTRY: u64 = 40;
const GATED_ENTRY: u64 = 56;

/// An estimate of the memory and disk of a run, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceEstimate {
    /// Memory of the weights.
    pub weights: u64,
    /// Memory of the optimiser's moments.
    pub moments: u64,
    /// Further memory of a step: activations of features, and gradients.
    pub step: u64,
    /// Disk of the checkpoints, with the one that is being written.
    pub checkpoints: u64,
    /// Disk of the autoencoder.
    pub sae: u64,
}

impl ResourceEstimate {
    /// The estimate for an autoencoder from width `d_in` to width `d_out`.
    pub fn of(config: &TrainConfig, d_in: usize, d_out: usize) -> ResourceEstimate {
        let (d_in, d_out, d_sae) = (d_in as u64, d_out as u64, config.d_sae as u64);
        let batch = config.batch_tokens as u64;
        let skip = config.transcoder.is_some_and(|transcoder| transcoder.skip);
        let skip = if skip { d_in * d_out } else { 0 };
        // There are at most four biases and thresholds per feature.
        let numbers = d_sae * (d_in + d_out + 4) + d_out + skip;
        let weights = numbers * F32;
        let rows = batch * (2 * d_in + 3 * d_out) * F32;
        let active = match &config.objective {
            Objective::TopK { k, .. } => ENTRY * batch * *k as u64,
            // More entries are found than chosen.
            Objective::BatchTopK { k, .. } => 2 * ENTRY * batch * *k as u64,
            Objective::Matryoshka { k, prefixes, .. } => {
                // Each prefix has its own error and its own copy of the tokens.
                let errors = prefixes.len() as u64 * batch * (d_in + 3 * d_out) * F32;
                2 * ENTRY * batch * *k as u64 + errors
            }
            // Until the penalty takes effect, half of the features are active.
            Objective::JumpRelu { .. } => JUMP_ENTRY * batch * d_sae / 2,
            Objective::Gated { .. } => GATED_ENTRY * batch * d_sae / 2,
            // Activations and gradients of all features, and whole gradients of the matrices.
            Objective::L1 { .. } => 2 * batch * d_sae * F32 + weights,
        };
        let step = d_sae * d_in * SCREEN + rows + active;
        ResourceEstimate {
            weights,
            moments: 2 * weights,
            step,
            checkpoints: (CHECKPOINTS_KEPT as u64 + 1) * 3 * weights,
            sae: weights,
        }
    }

    /// Total memory.
    pub fn memory(&self) -> u64 {
        self.weights + self.moments + self.step
    }

    /// Total disk.
    pub fn disk(&self) -> u64 {
        self.checkpoints + self.sae
    }
}

impl Add for ResourceEstimate {
    type Output = ResourceEstimate;

    /// Adds up runs that train side by side; their steps alternate.
    fn add(self, other: ResourceEstimate) -> ResourceEstimate {
        ResourceEstimate {
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

    /// Peak resident MB of `saescope train` in docs/training.md, less the model, the buffer and the
    /// process itself.
    #[test]
    fn estimates_are_within_a_fifth_of_measurements() {
        for (recipe, measured) in [
            (Recipe::TopK, 20.2),
            (Recipe::L1, 152.8),
            (Recipe::JumpRelu, 337.5),
            (Recipe::Gated, 480.2),
            (Recipe::Matryoshka, 45.4),
        ] {
            let config = TrainConfig::recipe(recipe, 64, 4096, 3);
            assert_eq!(config.batch_tokens, 4096);
            let predicted = ResourceEstimate::of(&config, 64, 64).memory() as f64 / 1e6;
            let off = predicted / measured - 1.0;
            assert!(
                off.abs() < 0.2,
                "{recipe:?}: {predicted} MB, not {measured}"
            );
        }
    }
}
