//! Data sets of the Hub: the choice of the files that hold the texts, and their download.
//!
//! Files are chosen by name alone. A listing beside the cache keeps the choice, so that a data set that
//! is complete needs no network.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::download::{self, Remote};
use super::{HubOptions, HubReference, Kind, files, offline, refused};
use crate::checkpoint::save_whole;
use crate::error::{Error, Result};

/// Extensions of files with texts, by format. The first format that a repository has is taken.
const FORMATS: [&[&str]; 6] = [
    &["parquet"],
    &["arrow", "feather"],
    &["jsonl", "ndjson", "jsonlines"],
    &["json"],
    &["csv", "tsv", "tab"],
    &["txt"],
];
/// JSON files beside the data of a data set.
const RECORDS: [&str; 6] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "manifest.json",
];
const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];
/// Words in names of files that are not meant for training.
const HELD_OUT: [&str; 6] = ["test", "valid", "validation", "val", "dev", "eval"];

/// A data set on the Hub: `org/name`, `org/name@revision`, `org/name:file-or-folder` or
/// `org/name@revision:file-or-folder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetReference(pub(super) HubReference);

/// Number and size of the files that are about to be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files that are not in the cache yet.
    pub files: usize,
    /// Their bytes, as far as the Hub gives sizes.
    pub bytes: u64,
}

/// The files of a reference when it was last downloaded, so that the Hub need not be asked again.
#[derive(Serialize, Deserialize)]
struct Listing {
    commit: String,
    files: Vec<String>,
}

impl DatasetReference {
    /// Parses a reference.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn parse(text: &str) -> Result<DatasetReference> {
        let wrong = || {
            refused(
                text,
                "there is no such file here; data sets on the Hub are written `org/name`, \
                 `org/name@revision` or `org/name:file-or-folder`",
            )
        };
        let (place, inner) = match text.split_once(':') {
            Some((place, inner)) => (place, Some(inner.trim_end_matches('/'))),
            None => (text, None),
        };
        let reference = HubReference::parse(place).map_err(|_| wrong())?;
        if reference.file.is_some() || !inner.is_none_or(files::is_plain) {
            return Err(wrong());
        }
        Ok(DatasetReference(HubReference {
            file: inner.map(str::to_owned),
            ..reference
        }))
    }

    /// Its files, downloaded if need be; `on_plan` receives the size before a download begins.
    ///
    /// # Errors
    /// When there is no such data set, the choice among its files is not clear, or a download fails or
    /// is turned off.
    pub fn resolve(
        &self,
        options: &HubOptions,
        on_plan: &mut dyn FnMut(Plan),
    ) -> Result<Vec<PathBuf>> {
        if let Some(files) = self.cached(options) {
            return Ok(files);
        }
        if options.offline {
            let cache = options.cache.display();
            return Err(offline(
                self,
                format!("the cache {cache} does not hold all of it"),
            ));
        }
        let (listing, files) = download(self, options, on_plan)?;
        self.keep_listing(options, &listing)?;
        Ok(files)
    }

    /// Files of the data set in the cache, if all are there.
    fn cached(&self, options: &HubOptions) -> Option<Vec<PathBuf>> {
        let repository = options.cache.join(self.0.repo(Kind::Dataset).folder_name());
        let kept = std::fs::read(self.listing_path(options)).ok();
        if let Some(listing) = kept.and_then(|json| serde_json::from_slice::<Listing>(&json).ok())
            && !listing.files.is_empty()
            && files::is_plain(&listing.commit)
            && listing.files.iter().all(|file| files::is_plain(file))
        {
            let snapshot = repository.join("snapshots").join(&listing.commit);
            let files = listing.files.iter().map(|file| snapshot.join(file));
            let files: Vec<PathBuf> = files.collect();
            if files.iter().all(|file| file.is_file()) {
                return Some(files);
            }
        }
        // Other programs keep no listing; the names of their files tell if parts are missing.
        let snapshot = self.0.cached(&options.cache, Kind::Dataset)?;
        let names = names(&snapshot);
        let chosen = chosen(&names, self.0.file.as_deref()).ok()?;
        let whole = options.offline && has_all_parts(&chosen);
        whole.then(|| chosen.iter().map(|name| snapshot.join(name)).collect())
    }

    fn listing_path(&self, options: &HubOptions) -> PathBuf {
        let name = self.to_string().replace(['/', '@', ':'], "--");
        options.storage_cache.join("datasets").join(name + ".json")
    }

    fn keep_listing(&self, options: &HubOptions, listing: &Listing) -> Result<()> {
        let path = self.listing_path(options);
        let io = |e| Error::io(&path, e);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let json = serde_json::to_vec(listing).map_err(|e| io(e.into()))?;
        save_whole(&path, |file| std::io::Write::write_all(file, &json))
    }
}

impl fmt::Display for DatasetReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.repository)?;
        if let Some(revision) = &self.0.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(inner) = &self.0.file {
            write!(f, ":{inner}")?;
        }
        Ok(())
    }
}

/// Downloads the files of a data set that the cache lacks.
fn download(
    reference: &DatasetReference,
    options: &HubOptions,
    on_plan: &mut dyn FnMut(Plan),
) -> Result<(Listing, Vec<PathBuf>)> {
    let hub = &reference.0;
    let api = download::api(hub, options)?;
    let remote = Remote::look_up(hub, Kind::Dataset, options, &api)?;
    let chosen = chosen(&remote.names, hub.file.as_deref());
    let chosen = chosen.map_err(|reason| refused(reference, &reason))?;
    let missing = chosen
        .iter()
        .filter(|file| !remote.snapshot().join(file).is_file());
    let sizes: Vec<u64> = missing
        .map(|file| remote.sizes.get(file).copied().unwrap_or(0))
        .collect();
    if !sizes.is_empty() {
        on_plan(Plan {
            files: sizes.len(),
            bytes: sizes.iter().sum(),
        });
    }
    let files: Result<Vec<PathBuf>> = chosen.iter().map(|file| remote.fetch(file)).collect();
    let files = files?;
    remote.note_commit()?;
    let listing = Listing {
        commit: remote.commit,
        files: chosen,
    };
    Ok((listing, files))
}

/// The names of the files in a folder of the cache and in its folders.
fn names(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        let entries = std::fs::read_dir(folder.join(&inner));
        for entry in entries.into_iter().flatten().flatten() {
            let name = inner.join(entry.file_name());
            let path = folder.join(&name);
            if path.is_dir() {
                waiting.push(name);
            } else if path.is_file()
                && let Some(name) = name.to_str()
            {
                found.insert(name.replace('\\', "/"));
            }
        }
    }
    found
}

/// Chooses from the `names` of a repository's files: `inner` itself, or the files of one format and one
/// split in the folder `inner`.
fn chosen(names: &BTreeSet<String>, inner: Option<&str>) -> Result<Vec<String>, String> {
    let inner = inner.unwrap_or_default();
    if names.contains(inner) {
        return Ok(vec![inner.to_owned()]);
    }
    let within = |name: &&String| {
        let rest = name.strip_prefix(inner);
        inner.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let inside: Vec<&str> = names.iter().filter(within).map(String::as_str).collect();
    let of_format = |extensions: &&[&str]| {
        let ends = |name: &&str| extensions.contains(&extension(name)) && !is_record(name);
        let found: Vec<&str> = inside.iter().copied().filter(ends).collect();
        (!found.is_empty()).then_some(found)
    };
    let Some(files) = FORMATS.iter().find_map(of_format) else {
        return Err(without_texts(names, inner));
    };
    let has = |name: &str, words: &[&str]| {
        let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
        parts.into_iter().any(|part| words.contains(&part))
    };
    let train: Vec<&str> = files
        .iter()
        .copied()
        .filter(|name| has(name, &["train"]))
        .collect();
    let chosen = if train.is_empty() {
        let kept = files.iter().filter(|name| !has(name, &HELD_OUT));
        let kept: Vec<&str> = kept.copied().collect();
        if kept.is_empty() { files } else { kept }
    } else {
        train
    };
    let folders: BTreeSet<&str> = chosen.iter().map(|name| parent(name)).collect();
    if folders.len() > 1 {
        let shown: Vec<&str> = folders.iter().copied().take(12).collect();
        let more = match folders.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return Err(format!(
            "its texts are in several folders; name one, as in org/name:{}; there are {}{more}",
            shown.last().unwrap_or(&""),
            shown.join(", "),
        ));
    }
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// Reason for refusing a repository or a folder of it that has no texts.
fn without_texts(names: &BTreeSet<String>, inner: &str) -> String {
    let all: Vec<&str> = names.iter().map(String::as_str).take(12).collect();
    let place = if inner.is_empty() { "it" } else { inner };
    format!(
        "{place} has no texts: no Parquet, Arrow, JSON, CSV, TSV or .txt file; there are {}",
        all.join(", ")
    )
}

fn extension(name: &str) -> &str {
    let plain = COMPRESSED.iter().find_map(|end| name.strip_suffix(end));
    let plain = plain.unwrap_or(name);
    plain
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension)
}

/// True for a file about the data, and not of it.
fn is_record(name: &str) -> bool {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    RECORDS.contains(&file) || file.starts_with('.') || file.starts_with("cache-")
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// True if all parts of files named like `…-00000-of-00003` are there.
fn has_all_parts(names: &[String]) -> bool {
    let parts = |name: &String| {
        let (_, rest) = name.split_once("-of-")?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    names
        .first()
        .and_then(parts)
        .is_none_or(|parts: usize| parts == names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str], inner: Option<&str>) -> Result<Vec<String>, String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        chosen(&names, inner)
    }

    #[test]
    fn every_format_of_a_corpus_is_chosen_also_compressed() {
        for (names, expected) in [
            (
                &["README.md", "train.csv", "test.csv"][..],
                &["train.csv"][..],
            ),
            (&["a.tsv.gz", "b.tsv.gz"], &["a.tsv.gz", "b.tsv.gz"]),
            (
                &["train.json", "valid.json", "dataset_infos.json"],
                &["train.json"],
            ),
            (&["data.json.zst", "data.csv"], &["data.json.zst"]),
            (&["x.jsonl.gz", "x.json", "x.csv"], &["x.jsonl.gz"]),
            (
                &[
                    "dataset_dict.json",
                    "train/data-00000-of-00002.arrow",
                    "train/data-00001-of-00002.arrow",
                    "train/state.json",
                    "train/cache-1.arrow",
                    "test/data-00000-of-00001.arrow",
                ],
                &[
                    "train/data-00000-of-00002.arrow",
                    "train/data-00001-of-00002.arrow",
                ],
            ),
            (
                &["data/train-00000-of-00001.parquet", "train.csv"],
                &["data/train-00000-of-00001.parquet"],
            ),
            (&["notes.txt.gz"], &["notes.txt.gz"]),
        ] {
            assert_eq!(choose(names, None).unwrap(), expected, "{names:?}");
        }
        assert_eq!(
            choose(&["a/x.csv", "b/x.csv"], Some("a")).unwrap(),
            ["a/x.csv"]
        );
        assert!(choose(&["a/x.csv", "b/x.csv"], None).is_err());
    }

    #[test]
    fn a_repository_without_texts_says_what_it_has() {
        let error = choose(&["images.zip", "dataset_info.json"], None).unwrap_err();
        assert!(
            error.contains("images.zip") && error.contains("CSV"),
            "{error}"
        );
    }
}
