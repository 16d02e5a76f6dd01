//! What a run will take, said and checked before it begins.

use std::path::Path;

use anyhow::bail;
use saescope::runs::ResourceEstimate;
use saescope::show::number::bytes;
use serde::Serialize;

use crate::print::rss;

/// Bytes of what else the process holds: the program, its threads, a tokenizer.
const PROCESS: u64 = 10 << 20;

/// What a training will take, in bytes.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Plan {
    model: u64,
    weights: u64,
    moments: u64,
    step: u64,
    buffer: u64,
    checkpoints: u64,
    sae: u64,
}

impl Plan {
    pub(crate) fn new(runs: ResourceEstimate, model: u64, buffer: u64) -> Plan {
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

    fn memory(&self) -> u64 {
        PROCESS + self.model + self.weights + self.moments + self.step + self.buffer
    }

    fn disk(&self) -> u64 {
        self.checkpoints + self.sae
    }

    /// Says what will be taken.
    pub(crate) fn say(&self) {
        eprintln!(
            "memory: about {} (model {}, autoencoder {}, moments {}, buffer {}, step {})",
            bytes(self.memory()),
            bytes(self.model),
            bytes(self.weights),
            bytes(self.moments),
            bytes(self.buffer),
            bytes(self.step)
        );
        eprintln!(
            "disk: up to {} (checkpoints {}, autoencoder {})",
            bytes(self.disk()),
            bytes(self.checkpoints),
            bytes(self.sae)
        );
    }

    /// Refuses what the disk has no room for, and warns where memory may not be enough: how much of it
    /// others will give back is not known.
    pub(crate) fn check(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some(free) = free_disk(folder)
            && free < self.disk()
        {
            bail!(
                "{}: the disk has {} left, and the run takes up to {}; make room, name another folder \
                 with -o, or take fewer features",
                folder.display(),
                bytes(free),
                bytes(self.disk())
            );
        }
        // The model is in memory already.
        let missing = (self.memory() - self.model) as f64;
        if let Some(free) = rss::free_mb().map(|mb| mb * 1e6)
            && free < missing
        {
            eprintln!(
                "warning: the machine has {} of memory left, and the run takes about {} more; fewer \
                 features, a smaller --batch or --buffer need less",
                bytes(free as u64),
                bytes(missing as u64)
            );
        }
        Ok(())
    }
}

/// Bytes that the disk has left where `folder` is, or will be.
fn free_disk(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("."));
    free_at(there)
}

#[cfg(unix)]
fn free_at(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_at(_path: &Path) -> Option<u64> {
    None
}
