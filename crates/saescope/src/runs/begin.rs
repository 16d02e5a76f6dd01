//! Folders of runs that train side by side, made or found.

use std::path::PathBuf;

use super::config::{Difference, RunConfig};
use super::saved::SavedRun;
use super::writer::{Existing, Writer, common_step};
use crate::error::{Error, Result};
use crate::train::State;

/// A run as it was asked for.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// The values that tell it from the others of a sweep; empty for the only one.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Everything that makes it.
    pub config: RunConfig,
}

/// A run that begins or continues.
pub struct ReadyRun {
    /// The writer of its folder.
    pub writer: Writer,
    /// The state from which it continues; none where it begins.
    pub state: Option<State>,
    /// Tolerable differences between the run as it began and as it continues.
    pub differences: Vec<Difference>,
}

impl PlannedRun {
    /// The finished run in its folder, if there is one, and its tolerable differences from this plan.
    ///
    /// # Errors
    /// When the folder holds a finished run of another configuration.
    pub fn finished(&self) -> Result<Option<Vec<Difference>>> {
        let Ok(run) = SavedRun::open(&self.folder) else {
            return Ok(None);
        };
        if !run.is_finished() {
            return Ok(None);
        }
        run.check(&self.config).map(Some)
    }
}

/// Makes the folders of `planned`, or with [`Existing::Resume`] finds the step at which all of them can
/// continue.
///
/// # Errors
/// When a folder holds a run that is neither resumed nor replaced, there is no run to resume, it is one
/// of another configuration, or a folder cannot be written.
pub fn begin(planned: &[PlannedRun], existing: Existing) -> Result<Vec<ReadyRun>> {
    if existing == Existing::Resume {
        return resume(planned);
    }
    // Before the first folder is made.
    let taken = planned.iter().find(|run| SavedRun::is_at(&run.folder));
    if let (Existing::Refuse, Some(run)) = (existing, taken) {
        return Err(Error::RunExists {
            folder: run.folder.clone(),
        });
    }
    planned.iter().map(|run| create(run, existing)).collect()
}

fn create(run: &PlannedRun, existing: Existing) -> Result<ReadyRun> {
    Ok(ReadyRun {
        writer: Writer::create(&run.folder, &run.config, existing)?,
        state: None,
        differences: Vec::new(),
    })
}

fn resume(planned: &[PlannedRun]) -> Result<Vec<ReadyRun>> {
    let saved: Vec<&PlannedRun> = planned
        .iter()
        .filter(|run| SavedRun::is_at(&run.folder))
        .collect();
    if saved.is_empty() {
        return Err(Error::NoRun {
            folder: planned
                .first()
                .map_or_else(PathBuf::new, |run| run.folder.clone()),
        });
    }
    // The folder of a run is missing if the process was killed before it was made.
    let step = if saved.len() == planned.len() {
        let runs = saved.iter().map(|run| SavedRun::open(&run.folder));
        common_step(&runs.collect::<Result<Vec<_>>>()?)?
    } else {
        0
    };
    let mut ready = Vec::new();
    for run in planned {
        if !SavedRun::is_at(&run.folder) {
            ready.push(create(run, Existing::Refuse)?);
            continue;
        }
        let (writer, state, differences) = Writer::resume(&run.folder, &run.config, step)?;
        ready.push(ReadyRun {
            writer,
            state,
            differences,
        });
    }
    Ok(ready)
}
