//! Access to the Hub by the environment variables of its own Python client, and the progress bar of
//! downloads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
pub(crate) use saescope::hub::DEMO;
use saescope::hub::{self, DatasetReference, HubOptions, Progress};
use saescope::session::Session;
use saescope::show::number::bytes;

use crate::print;
use crate::print::bar::{Counted, bar};

/// A session with the options of the environment, which shows downloads.
pub(crate) fn session() -> anyhow::Result<Session> {
    Ok(Session::new(shown(&Arc::new(Downloads::default()))?))
}

/// The options of the environment, with downloads shown by `downloads`.
fn shown(downloads: &Arc<Downloads>) -> anyhow::Result<HubOptions> {
    let downloads = Arc::clone(downloads);
    Ok(HubOptions {
        progress: Some(Arc::new(move |progress: &Progress| {
            downloads.show(progress)
        })),
        ..options()?
    })
}

/// A file as given, or a bundled one: `demo/NAME`.
pub(crate) fn locate_file(path: &Path) -> anyhow::Result<PathBuf> {
    let bundled = if path.exists() { None } else { bundled(path)? };
    Ok(bundled.unwrap_or_else(|| path.to_path_buf()))
}

/// The bundled file that `demo/NAME` names; none for any other path.
pub(crate) fn bundled(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(hub::bundled(path, &options()?)?)
}

/// The files of a data set, downloaded if need be.
pub(crate) fn locate_dataset(reference: &str) -> anyhow::Result<Vec<PathBuf>> {
    let options = shown(&Arc::new(Downloads::default()))?;
    let parsed = DatasetReference::parse(reference)?;
    let found = parsed.resolve(&options, &mut |plan| {
        let size = bytes(plan.bytes);
        print::note!("downloading {} files of {parsed}: {size}", plan.files);
    });
    Ok(found?)
}

/// The folder that keeps the tokens of texts, beside the Hub's cache.
pub(crate) fn corpus_cache() -> anyhow::Result<PathBuf> {
    let options = options()?;
    Ok(options.storage_cache.join("corpora"))
}

/// The same session with downloads turned off.
pub(crate) fn offline(session: &Session) -> Session {
    let mut session = session.clone();
    session.hub.offline = true;
    session
}

/// Bytes of a download whose size is printed first.
const LARGE: u64 = 50_000_000;

/// The options that the environment asks for.
fn options() -> anyhow::Result<HubOptions> {
    let home = std::env::home_dir();
    Ok(HubOptions::from_variables(home, |name| {
        std::env::var_os(name)
    })?)
}

/// A bar on standard error for the file that is being downloaded; none when that is not a terminal.
#[derive(Default)]
struct Downloads {
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl Downloads {
    fn show(&self, progress: &Progress) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_none_or(|(file, _)| file != progress.file)
        {
            // Printed even without a bar: a person may not want a long download.
            if progress.total >= LARGE {
                let (total, done) = (bytes(progress.total), bytes(progress.done));
                print::note!(
                    "downloading {}: {total}, {done} of them already here",
                    progress.file
                );
            }
            let bar = bar(progress.file, Counted::Bytes, progress.total);
            // The time left is estimated from this attempt alone.
            bar.set_position(progress.done);
            bar.reset_eta();
            *current = Some((progress.file.to_owned(), bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_position(progress.done);
            if progress.done >= progress.total {
                bar.finish_and_clear();
            }
        }
    }
}
