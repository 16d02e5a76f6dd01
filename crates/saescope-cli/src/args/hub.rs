//! How the Hub is reached, as the variables of its own Python client say, and how that is shown.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
pub(crate) use saescope::hub::DEMO;
use saescope::hub::{DatasetReference, ENDPOINT, HubOptions, Progress, demo_folder};

use saescope::session::Session;
use saescope::show::number::bytes;

use crate::print::bar::{Counted, bar};

/// A session that reaches the Hub as the variables of its own client say, and shows downloads.
pub(crate) fn session() -> anyhow::Result<Session> {
    Ok(Session::new(shown(&Arc::new(Downloads::default()))?))
}

/// The options of the environment, downloads shown by `downloads`.
fn shown(downloads: &Arc<Downloads>) -> anyhow::Result<HubOptions> {
    let downloads = Arc::clone(downloads);
    Ok(HubOptions {
        progress: Some(Arc::new(move |progress: &Progress| {
            downloads.show(progress)
        })),
        ..options(|name| std::env::var_os(name))?
    })
}

/// A file as given, or one of the bundled ones: `demo/NAME`.
pub(crate) fn locate_file(path: &Path) -> anyhow::Result<PathBuf> {
    let bundled = if path.exists() { None } else { bundled(path)? };
    Ok(bundled.unwrap_or_else(|| path.to_path_buf()))
}

/// The bundled file that `demo/NAME` names.
pub(crate) fn bundled(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Ok(name) = path.strip_prefix(DEMO) else {
        return Ok(None);
    };
    let options = options(|name| std::env::var_os(name))?;
    let folder = demo_folder(&options)?;
    let file = folder.join(name);
    if !file.exists() {
        // What lies beside it, or would, is the likeliest to be meant.
        let beside = file.parent().filter(|beside| beside.is_dir());
        let beside = beside.unwrap_or(&folder);
        bail!(
            "{}: nothing of that name is bundled; there is {}",
            path.display(),
            names(beside)?
        );
    }
    Ok(Some(file))
}

/// The names of what is in a folder.
fn names(folder: &Path) -> anyhow::Result<String> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<std::io::Result<_>>()?;
    names.sort();
    Ok(names.join(", "))
}

/// The files of a data set, downloaded if need be.
pub(crate) fn locate_dataset(reference: &str) -> anyhow::Result<Vec<PathBuf>> {
    let options = shown(&Arc::new(Downloads::default()))?;
    let parsed = DatasetReference::parse(reference)?;
    let found = parsed.resolve(&options, &mut |plan| {
        let size = bytes(plan.bytes);
        eprintln!("downloading {} files of {parsed}: {size}", plan.files);
    });
    Ok(found?)
}

/// The folder that keeps texts as tokens: beside the Hub's cache.
pub(crate) fn corpus_cache() -> anyhow::Result<PathBuf> {
    let options = options(|name| std::env::var_os(name))?;
    Ok(options.storage_cache.join("corpora"))
}

/// The same session, which downloads nothing.
pub(crate) fn offline(session: &Session) -> Session {
    let mut session = session.clone();
    session.hub.offline = true;
    session
}

/// Bytes of a download whose size is said first.
const LARGE: u64 = 50_000_000;

/// The options that variables ask for; empty ones ask for nothing.
fn options(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<HubOptions> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let text = |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
    let home = match variable("HF_HOME") {
        Some(home) => PathBuf::from(home),
        None => variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".cache")))
            .context("there is no home folder to keep models in; set HF_HOME to a folder")?
            .join("huggingface"),
    };
    let cache = variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
    let stored = || std::fs::read_to_string(home.join("token")).ok();
    let token = text("HF_TOKEN")
        .or_else(stored)
        .map(|token| token.trim().to_owned());
    let offline = text("HF_HUB_OFFLINE").map(|value| value.to_ascii_lowercase());
    Ok(HubOptions {
        endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
        token: token.filter(|token| !token.is_empty()),
        offline: offline.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes" | "on")),
        storage_cache: home.join("saescope"),
        ..HubOptions::new(cache)
    })
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
            // Also where no bar is drawn: a long download may be worth another thought.
            if progress.total >= LARGE {
                let (total, done) = (bytes(progress.total), bytes(progress.done));
                eprintln!(
                    "downloading {}: {total}, of which {done} are here",
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> HubOptions {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        options(|name| value(name).map(|(_, value)| value.into())).unwrap()
    }

    #[test]
    fn the_cache_is_where_the_python_client_has_it() {
        let home = ("HF_HOME", "/h");
        assert_eq!(with(&[home]).cache, Path::new("/h/hub"));
        assert_eq!(with(&[home, ("HF_HUB_CACHE", "/c")]).cache, Path::new("/c"));
        assert_eq!(
            with(&[("XDG_CACHE_HOME", "/x")]).cache,
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(
            with(&[home, ("HF_HUB_CACHE", "")]).cache,
            Path::new("/h/hub")
        );
    }

    #[test]
    fn offline_is_said_in_any_of_the_clients_ways() {
        for (value, offline) in [
            ("1", true),
            ("YES", true),
            ("true", true),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(
                with(&[("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value}"
            );
        }
    }

    #[test]
    fn the_token_of_the_environment_comes_before_the_stored_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "stored\n").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(with(&[home]).token.as_deref(), Some("stored"));
        assert_eq!(
            with(&[home, ("HF_TOKEN", "given")]).token.as_deref(),
            Some("given")
        );
        assert_eq!(with(&[("HF_HOME", "/nonexistent")]).token, None);
    }

    #[test]
    fn the_endpoint_can_be_a_mirror() {
        let mirror = "https://mirror.example";
        assert_eq!(
            with(&[("HF_HOME", "/h"), ("HF_ENDPOINT", mirror)]).endpoint,
            mirror
        );
        assert_eq!(with(&[("HF_HOME", "/h")]).endpoint, ENDPOINT);
    }
}
