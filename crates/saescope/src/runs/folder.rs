//! The files of a run's folder: their paths, reading and writing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::save_whole;
use crate::error::{Error, Result};
use crate::run_folder::{AUTOENCODER, METRICS};

/// Number of checkpoints that a run keeps. Runs that train side by side write theirs one after another;
/// if they are killed in between, all of them still have the previous one.
pub(super) const CHECKPOINTS_KEPT: usize = 2;

/// Largest size of a configuration or an evaluation in bytes.
const MAX_JSON: u64 = 16 << 20;

/// Largest size of metrics in bytes: a million lines.
const MAX_METRICS: u64 = 1 << 30;

/// The folder of a run.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    pub(super) fn metrics(&self) -> PathBuf {
        self.0.join(METRICS)
    }

    pub(super) fn sae(&self) -> PathBuf {
        self.0.join(AUTOENCODER)
    }

    pub(super) fn evaluation(&self) -> PathBuf {
        self.0.join("eval.json")
    }

    pub(super) fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    pub(super) fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}.safetensors"))
    }

    /// The steps of all checkpoints, ascending.
    pub(super) fn steps(&self) -> Result<Vec<u64>> {
        let folder = self.checkpoints();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(folder, e)),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&folder, e))?;
            steps.extend(entry.file_name().to_str().and_then(step_of));
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

/// The step in the name of a checkpoint; `None` for other names.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
    let step: u64 = digits.parse().ok()?;
    // `step-007` and `step-+7` parse, but no run writes them.
    (step.to_string() == digits).then_some(step)
}

/// Reads a small file; `None` if it is missing.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    read_up_to(path, MAX_JSON)
}

/// Reads the metrics; `None` if they are missing.
pub(super) fn read_metrics(path: &Path) -> Result<Option<Vec<u8>>> {
    read_up_to(path, MAX_METRICS)
}

fn read_up_to(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let length = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(Error::format(path, "it is not a file")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    if length > limit {
        let reason = format!("it has {length} bytes, more than a run writes");
        return Err(Error::format(path, reason));
    }
    std::fs::read(path)
        .map(Some)
        .map_err(|e| Error::io(path, e))
}

/// Writes a text, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    save_whole(path, |file| {
        std::io::Write::write_all(file, text.as_bytes())
    })
}

/// Writes a value as indented JSON, whole or not at all.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::format(path, format!("cannot be written: {e}")))?;
    write(path, &(text + "\n"))
}

/// Removes a file or a folder with its contents, if it exists.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    removed.map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_run_gives_are_checkpoints() {
        assert_eq!(step_of("step-12.safetensors"), Some(12));
        let others = [
            "step-012.safetensors",
            "step-+12.safetensors",
            "step-12",
            "step-99999999999999999999.safetensors",
            ".tmp12",
        ];
        for name in others {
            assert_eq!(step_of(name), None, "{name}");
        }
    }
}
