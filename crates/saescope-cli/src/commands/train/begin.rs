//! Runs' folders, made or found.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use saescope::runs::{Difference, Existing, RunConfig, SavedRun, Writer, common_step};
use saescope::train::State;

/// A run as it was asked for.
pub(super) struct Planned {
    /// What tells it from the others of a sweep; empty where it is the only one.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) config: RunConfig,
}

/// A run that begins or goes on.
pub(super) struct Ready {
    pub(super) writer: Writer,
    pub(super) state: Option<State>,
}

/// What happens to runs that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Refused,
    Replaced,
    Resumed,
}

impl Planned {
    /// Whether it went to its end already.
    ///
    /// # Errors
    /// When it did, and is another run.
    pub(super) fn is_finished(&self) -> anyhow::Result<bool> {
        let Ok(run) = SavedRun::open(&self.folder) else {
            return Ok(false);
        };
        if run.is_finished() {
            warn_of(&self.folder, &run.check(&self.config)?);
        }
        Ok(run.is_finished())
    }
}

/// Makes the folders of `planned`, or finds them and the step at which all can go on.
pub(super) fn begin(planned: &[Planned], there: There) -> anyhow::Result<Vec<Ready>> {
    let is_there = |run: &Planned| SavedRun::is_at(&run.folder);
    match there {
        There::Resumed => return resume(planned),
        // Before the first folder is made.
        There::Refused => {
            if let Some(run) = planned.iter().find(|run| is_there(run)) {
                bail!(taken(&run.folder));
            }
        }
        There::Replaced => {}
    }
    let existing = match there {
        There::Replaced => Existing::Replace,
        _ => Existing::Refuse,
    };
    planned.iter().map(|run| create(run, existing)).collect()
}

fn create(run: &Planned, existing: Existing) -> anyhow::Result<Ready> {
    Ok(Ready {
        writer: Writer::create(&run.folder, &run.config, existing)?,
        state: None,
    })
}

fn resume(planned: &[Planned]) -> anyhow::Result<Vec<Ready>> {
    let (there, missing): (Vec<&Planned>, Vec<&Planned>) =
        planned.iter().partition(|run| SavedRun::is_at(&run.folder));
    ensure!(
        !there.is_empty(),
        "{}: there is no run to go on with; leave --resume away to begin one",
        planned[0].folder.display()
    );
    // One whose folder is missing was to be made when the others were killed.
    let step = match missing.is_empty() {
        true => {
            let saved = there.iter().map(|run| SavedRun::open(&run.folder));
            common_step(&saved.collect::<Result<Vec<_>, _>>()?)?
        }
        false => 0,
    };
    let mut ready = Vec::new();
    for run in planned {
        if !SavedRun::is_at(&run.folder) {
            ready.push(create(run, Existing::Refuse)?);
            continue;
        }
        let (writer, state, others) = Writer::resume(&run.folder, &run.config, step)?;
        warn_of(&run.folder, &others);
        ready.push(Ready { writer, state });
    }
    Ok(ready)
}

pub(super) fn taken(folder: &Path) -> String {
    format!(
        "{}: it holds a run already; go on with it by --resume, replace it by --force, or name another \
         folder with -o",
        folder.display()
    )
}

fn warn_of(folder: &Path, differences: &[Difference]) {
    for Difference {
        field,
        ours,
        theirs,
    } in differences
    {
        eprintln!(
            "warning: {}: its `{field}` is {ours}, and is {theirs} now; it goes on, but not bit for bit",
            folder.display()
        );
    }
}
