//! The memory and disk that a training will take.

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::jobs::room::Needs;
use crate::runs::ResourceEstimate;
use crate::session::{Job, Warning};

/// Bytes of the program, its threads and a tokenizer.
const PROCESS: u64 = 10 << 20;

/// The memory and disk that a training will take, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Memory of the model's weights.
    pub model: u64,
    /// Memory of the autoencoders' weights.
    pub weights: u64,
    /// Memory of the optimiser's moments.
    pub moments: u64,
    /// Memory of a step.
    pub step: u64,
    /// Memory of the buffer of activations.
    pub buffer: u64,
    /// Disk of the checkpoints.
    pub checkpoints: u64,
    /// Disk of the autoencoders.
    pub sae: u64,
}

impl Plan {
    pub(super) fn new(runs: ResourceEstimate, model: u64, buffer: u64) -> Plan {
        Plan {
            model,
            weights: runs.weights,
            moments: runs.moments,
            step: runs.step,
            buffer,
            checkpoints: runs.checkpoints,
            sae: runs.sae,
        }
    }

    /// All of the memory.
    pub fn memory(&self) -> u64 {
        PROCESS + self.model + self.weights + self.moments + self.step + self.buffer
    }

    /// All of the disk.
    pub fn disk(&self) -> u64 {
        self.checkpoints + self.sae
    }

    /// Warns where memory may not be enough.
    ///
    /// # Errors
    /// When the disk of `folder` has too little room.
    pub(super) fn check(&self, folder: &Path) -> Result<Option<Warning>> {
        let needs = Needs {
            job: Job::Training,
            // The model is in memory already.
            memory: self.memory() - self.model,
            disk: self.disk(),
        };
        needs.check(folder)
    }
}
