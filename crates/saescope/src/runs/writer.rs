//! Writes a run's folder while the run goes on.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::folder::{self, Folder};
use super::{Difference, Line, RunConfig, SavedRun};
use super::{line, saved};
use crate::checkpoint::save_whole;
use crate::error::{Error, Result};
use crate::sae::Sae;
use crate::train::{Go, Metrics, Sink, State};

/// Checkpoints that are kept. Side by side, runs write theirs one after another, and what kills them
/// in between leaves all of them with the one before.
pub(super) const KEPT: usize = 2;

/// What happens to a run that is in the folder already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the new one is refused.
    Refuse,
    /// It makes room.
    Replace,
}

/// Writes a run's folder.
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
    /// When the folder holds a run and is not to be replaced, holds another program's
    /// `config.json`, or cannot be written.
    pub fn create(folder: &Path, config: &RunConfig, existing: Existing) -> Result<Writer> {
        let folder = Folder(folder.to_path_buf());
        if folder.0.is_file() {
            let reason = "it is a file, and a run is a folder";
            return Err(Error::format(&folder.0, reason));
        }
        std::fs::create_dir_all(&folder.0).map_err(|e| Error::io(&folder.0, e))?;
        // Before anything is removed: the folder may be a model's.
        if saved::config_at(&folder.config())?.is_none() {
            refuse_others(&folder)?;
        } else if existing == Existing::Replace {
            clear(&folder)?;
        } else {
            return Err(Error::Argument(format!(
                "{}: it holds a run already; resume or replace it, or choose another folder",
                folder.0.display()
            )));
        }
        write_config(&folder, config)?;
        Writer::open(folder, config.clone())
    }

    /// Goes on with the run in `folder`, from its checkpoint at `step` or from the start where that is
    /// 0. What came after it is forgotten. Returns in what harmless way `config` differs from
    /// that of the run.
    ///
    /// # Errors
    /// When the folder holds no run or one of another configuration, or cannot be written.
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
        forget(&folder, step)?;
        let writer = Writer::open(folder, saved.config)?;
        Ok((writer, state, differences))
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: &Line) -> Result<()> {
        let path = self.folder.metrics();
        let text = line::text(&path, line)?;
        let written = self.metrics.write_all(text.as_bytes());
        written.map_err(|e| Error::io(path, e))
    }

    /// Ends the run with its autoencoder.
    ///
    /// # Errors
    /// When it cannot be written.
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
    fn step(&mut self, _step: u64) -> Go {
        Go::On
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        self.line(&Line::new(metrics))
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        // The lines up to here, before what makes them count.
        let synced = self.metrics.sync_data();
        synced.map_err(|e| Error::io(self.folder.metrics(), e))?;
        state.save(&self.folder.checkpoint(state.step()))?;
        if self.config.input.is_none() {
            self.config.input = Some(state.input_statistics());
            write_config(&self.folder, &self.config)?;
        }
        let steps = self.folder.steps()?;
        for &step in &steps[..steps.len().saturating_sub(KEPT)] {
            folder::remove(&self.folder.checkpoint(step))?;
        }
        Ok(())
    }
}

/// The last step at which all of `runs` have a checkpoint; 0 where there is none.
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
    folder::write(&path, &pretty(&path, config)?)
}

/// Refuses a folder in which something has the name of what a run writes, and one that is an
/// autoencoder itself, which would be found in the place of the run's.
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

/// Removes what a run wrote, its configuration last.
fn clear(folder: &Folder) -> Result<()> {
    for step in folder.steps()? {
        folder::remove(&folder.checkpoint(step))?;
    }
    remove_results(folder)?;
    folder::remove(&folder.metrics())?;
    folder::remove(&folder.config())
}

/// Removes what is written at a run's end.
fn remove_results(folder: &Folder) -> Result<()> {
    folder::remove(&folder.report())?;
    folder::remove(&folder.evaluation())?;
    folder::remove(&folder.sae())
}

/// Takes a run back to `step`.
pub(super) fn forget(folder: &Folder, step: u64) -> Result<()> {
    for later in folder.steps()?.into_iter().filter(|later| *later > step) {
        folder::remove(&folder.checkpoint(later))?;
    }
    remove_results(folder)?;
    let path = folder.metrics();
    let kept = line::until(&path, step)?;
    save_whole(&path, |file| file.write_all(&kept))
}

pub(super) fn pretty(path: &Path, value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::format(path, format!("cannot be written: {e}")))?;
    Ok(text + "\n")
}
