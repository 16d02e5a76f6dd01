//! Reading the folder of a run.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::config::{Difference, RunConfig};
use super::folder::{self, Folder};
use super::line::{self, MetricsLine};
use super::state::load_state;
use crate::error::{Error, Result};
use crate::sae::Sae;
use crate::train::State;

/// A run in its folder, finished or not.
#[derive(Clone, Debug)]
pub struct SavedRun {
    pub(super) folder: Folder,
    /// Its configuration.
    pub config: RunConfig,
    /// Its metrics, in the order of steps.
    pub lines: Vec<MetricsLine>,
    /// The evaluation of its autoencoder on held-out data; none until it is measured.
    pub evaluation: Option<Value>,
}

impl SavedRun {
    /// True if `folder` holds a run, and not the `config.json` of another program.
    pub fn is_at(folder: &Path) -> bool {
        let path = Folder(folder.to_path_buf()).config();
        config_at(&path).is_ok_and(|found| found.is_some())
    }

    /// Opens the run in a folder.
    ///
    /// # Errors
    /// When there is none, or one of its files is not valid.
    pub fn open(folder: &Path) -> Result<SavedRun> {
        let folder = Folder(folder.to_path_buf());
        let config = config_at(&folder.config())?.ok_or_else(|| {
            let reason = "the folder holds no run: there is no `config.json`";
            Error::format(&folder.0, reason)
        })?;
        let lines = line::read(&folder.metrics())?;
        let evaluation = evaluation_at(&folder.evaluation())?;
        Ok(SavedRun {
            folder,
            config,
            lines,
            evaluation,
        })
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Checks that it is the run of `config`; returns the differences with which it can still resume.
    ///
    /// # Errors
    /// When it is another run, with the first field that differs.
    pub fn check(&self, config: &RunConfig) -> Result<Vec<Difference>> {
        let differences = self.config.differences(config);
        match differences.iter().find(|d| !d.is_tolerable()) {
            None => Ok(differences),
            Some(Difference {
                field,
                ours,
                theirs,
            }) => Err(Error::Argument(format!(
                "{}: its `{field}` is {ours}, but {theirs} was given; a run resumes only with its own \
                 configuration",
                self.folder.0.display()
            ))),
        }
    }

    /// Path of its autoencoder, which exists once the run is finished.
    pub fn sae_folder(&self) -> PathBuf {
        self.folder.sae()
    }

    /// True if the run is finished: its autoencoder exists.
    pub fn is_finished(&self) -> bool {
        Sae::is_at(&self.folder.sae())
    }

    /// Writes the evaluation of its autoencoder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_evaluation(&mut self, evaluation: &impl Serialize) -> Result<()> {
        let path = self.folder.evaluation();
        let value = serde_json::to_value(evaluation);
        let value = value.map_err(|e| Error::format(&path, e.to_string()))?;
        folder::write_json(&path, &value)?;
        self.evaluation = Some(value);
        Ok(())
    }

    /// The steps of its checkpoints, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<u64>> {
        self.folder.steps()
    }

    /// Reads the state at a step.
    ///
    /// # Errors
    /// When there is no such checkpoint, or it is broken.
    pub fn state(&self, step: u64) -> Result<State> {
        let path = self.folder.checkpoint(step);
        let state = load_state(&path)?;
        if state.step() != step {
            let reason = format!("it was written at step {}, not {step}", state.step());
            return Err(Error::format(path, reason));
        }
        Ok(state)
    }
}

pub(super) fn config_at(path: &Path) -> Result<Option<RunConfig>> {
    let Some(bytes) = folder::read(path)? else {
        return Ok(None);
    };
    let config = serde_json::from_slice(&bytes).map_err(|e| {
        Error::format(
            path,
            format!("it is not the configuration of a training run: {e}"),
        )
    })?;
    Ok(Some(config))
}

fn evaluation_at(path: &Path) -> Result<Option<Value>> {
    let bytes = folder::read(path)?;
    let parsed = bytes.map(|bytes| {
        serde_json::from_slice(&bytes).map_err(|e| Error::format(path, e.to_string()))
    });
    parsed.transpose()
}
