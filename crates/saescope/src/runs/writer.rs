//! Writing the folder of a run while it trains.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::{Difference, RunConfig};
use super::folder::{self, CHECKPOINTS_KEPT, Folder};
use super::line::{self, MetricsLine};
use super::saved::{self, SavedRun};
use super::state::save_state;
use crate::checkpoint::save_whole;
use crate::error::{Error, Result};
use crate::sae::Sae;
use crate::train::{Metrics, Sink, State};

/// The treatment of a run that the folder already holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// The old run stays, and the new one is refused.
    #[default]
    Refuse,
    /// The old run is removed.
    Replace,
    /// It continues.
    Resume,
}

/// The writer of the folder of a run.
#[derive(Debug)]
pub struct Writer {
    folder: Folder,
    config: RunConfig,
    metrics: File,
}

impl Writer {
    /// Begins a run in `folder` and writes its configuration.
    ///
    /// # Errors
    /// When the folder holds a run that is not to be replaced, holds files of another program, or cannot
    /// be written.
    pub fn create(folder: &Path, config: &RunConfig, existing: Existing) -> Result<Writer> {
        let folder = Folder(folder.to_path_buf());
        if folder.0.is_file() {
            let reason = "it is a file; a run needs a folder";
            return Err(Error::format(&folder.0, reason));
        }
        std::fs::create_dir_all(&folder.0).map_err(|e| Error::io(&folder.0, e))?;
        // Checked before anything is removed, since the folder may be that of a model.
        if saved::config_at(&folder.config())?.is_none() {
            refuse_others(&folder)?;
        } else if existing == Existing::Replace {
            clear(&folder)?;
        } else {
            return Err(Error::RunExists { folder: folder.0 });
        }
        write_config(&folder, config)?;
        Writer::open(folder, config.clone())
    }

    /// Resumes the run in `folder` from its checkpoint at `step`, or from the start if that is 0, and
    /// removes everything later. Returns the differences of `config` from that of the run, with which it
    /// can still resume.
    ///
    /// # Errors
    /// When the folder holds no run, a run of another configuration, or cannot be written.
    pub fn resume(
        folder: &Path,
        config: &RunConfig,
        step: u64,
    ) -> Result<(Writer, Option<State>, Vec<Difference>)> {
        let saved = SavedRun::open(folder)?;
        let differences = saved.check(config)?;
        let state = match step {
            0 => None,
            step => Some(saved.state(step)?),
        };
        let folder = saved.folder().to_path_buf();
        let folder = Folder(folder);
        rewind(&folder, step)?;
        let writer = Writer::open(folder, saved.config)?;
        Ok((writer, state, differences))
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn line(&mut self, line: &MetricsLine) -> Result<()> {
        let path = self.folder.metrics();
        let text = line::text(&path, line)?;
        let written = self.metrics.write_all(text.as_bytes());
        written.map_err(|e| Error::io(path, e))
    }

    /// Finishes the run with its autoencoder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(self, sae: &Sae) -> Result<()> {
        sae.save(&self.folder.sae())
    }

    fn open(folder: Folder, config: RunConfig) -> Result<Writer> {
        let path = folder.checkpoints();
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        let path = folder.metrics();
        let mut options = OpenOptions::new();
        let metrics = options.create(true).append(true).open(&path);
        let metrics = metrics.map_err(|e| Error::io(&path, e))?;
        Ok(Writer {
            folder,
            config,
            metrics,
        })
    }
}

impl Sink for Writer {
    fn step(&mut self, _step: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        self.line(&MetricsLine::new(metrics))
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        // The lines must be on disk before the checkpoint that they belong to.
        let synced = self.metrics.sync_data();
        synced.map_err(|e| Error::io(self.folder.metrics(), e))?;
        save_state(state, &self.folder.checkpoint(state.step()))?;
        if self.config.input.is_none() {
            self.config.input = Some(state.input_statistics());
            write_config(&self.folder, &self.config)?;
        }
        let steps = self.folder.steps()?;
        for &step in &steps[..steps.len().saturating_sub(CHECKPOINTS_KEPT)] {
            folder::remove(&self.folder.checkpoint(step))?;
        }
        Ok(())
    }
}

/// The last step at which all of `runs` have a checkpoint; 0 if there is none.
///
/// # Errors
/// When a folder cannot be read.
pub fn common_step(runs: &[SavedRun]) -> Result<u64> {
    let mut common: Option<Vec<u64>> = None;
    for run in runs {
        let steps = run.checkpoints()?;
        common = Some(match common {
            None => steps,
            Some(before) => before.into_iter().filter(|s| steps.contains(s)).collect(),
        });
    }
    Ok(common.unwrap_or_default().last().copied().unwrap_or(0))
}

fn write_config(folder: &Folder, config: &RunConfig) -> Result<()> {
    let path = folder.config();
    folder::write_json(&path, config)
}

/// Refuses a folder with files whose names a run would use, and a folder that is an autoencoder itself,
/// which would be opened in place of that of the run.
fn refuse_others(folder: &Folder) -> Result<()> {
    let names = [
        folder.metrics(),
        folder.checkpoints(),
        folder.sae(),
        folder.evaluation(),
        folder.report(),
    ];
    match names.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(Error::Exists {
            path: path.clone(),
            reason: "no run has written it; choose another folder".to_owned(),
        }),
        None if Sae::is_at(&folder.0) => Err(Error::Exists {
            path: folder.0.clone(),
            reason: "it holds an autoencoder that no run has written; choose another folder"
                .to_owned(),
        }),
        None => Ok(()),
    }
}

/// Removes the files of a run, its configuration last.
fn clear(folder: &Folder) -> Result<()> {
    for step in folder.steps()? {
        folder::remove(&folder.checkpoint(step))?;
    }
    remove_results(folder)?;
    folder::remove(&folder.metrics())?;
    folder::remove(&folder.config())
}

/// Removes the results that are written at the end of a run.
fn remove_results(folder: &Folder) -> Result<()> {
    folder::remove(&folder.report())?;
    folder::remove(&folder.evaluation())?;
    folder::remove(&folder.sae())
}

/// Removes everything of a run that is later than `step`.
pub(super) fn rewind(folder: &Folder, step: u64) -> Result<()> {
    for later in folder.steps()?.into_iter().filter(|later| *later > step) {
        folder::remove(&folder.checkpoint(later))?;
    }
    remove_results(folder)?;
    let path = folder.metrics();
    let kept = line::until(&path, step)?;
    save_whole(&path, |file| file.write_all(&kept))
}
