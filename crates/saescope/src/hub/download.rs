//! Downloads from the Hub through the crate `hf-hub`, in whose cache interrupted files wait to be
//! resumed.
//!
//! All files of a repository are taken from one commit. The choice of files is made elsewhere.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::Progress as Observer;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};

use super::files::{Needed, is_index, is_plain, needed, shards};
use super::{HubOptions, HubReference, Kind, Progress, Report, autoencoder, refused};
use crate::error::{Error, Result};

/// Attempts in a row without a new byte after which a download is given up.
const ATTEMPTS: u32 = 4;

/// Downloads what `reference` needs and the cache lacks.
pub(super) fn download(
    reference: &HubReference,
    kind: Kind,
    options: &HubOptions,
) -> Result<PathBuf> {
    let api = api(reference, options)?;
    let remote = Remote::look_up(reference, kind, options, &api)?;
    let path = match kind {
        Kind::Autoencoder => remote.fetch_autoencoder()?,
        Kind::Model | Kind::Dataset => remote.fetch_all()?,
    };
    remote.note_commit()?;
    Ok(path)
}

/// The client of the Hub.
pub(super) fn api(reference: &HubReference, options: &HubOptions) -> Result<Api> {
    ApiBuilder::from_cache(Cache::new(options.cache.clone()))
        .with_endpoint(options.endpoint.trim_end_matches('/').to_owned())
        .with_token(options.token.clone())
        .with_user_agent("saescope", env!("CARGO_PKG_VERSION"))
        .with_progress(false)
        .build()
        .map_err(|error| refused(reference, &error.to_string()))
}

/// The Hub's description of a repository.
#[derive(serde::Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// A repository at one commit.
pub(super) struct Remote<'a> {
    reference: &'a HubReference,
    kind: Kind,
    options: &'a HubOptions,
    repo: ApiRepo,
    pub(super) commit: String,
    pub(super) names: BTreeSet<String>,
    /// Bytes of the files whose size the Hub gives.
    pub(super) sizes: BTreeMap<String, u64>,
    /// The repository's folder in the cache.
    folder: PathBuf,
}

impl<'a> Remote<'a> {
    /// Asks for the files of the repository and the commit of the revision. All files are taken from that
    /// commit, even if the revision moves meanwhile.
    pub(super) fn look_up(
        reference: &'a HubReference,
        kind: Kind,
        options: &'a HubOptions,
        api: &Api,
    ) -> Result<Remote<'a>> {
        let info = ask(&api.repo(reference.repo(kind)), kind)
            .map_err(|failure| failure.explain(reference, kind, options, None))?;
        if !is_plain(&info.sha) {
            return Err(refused(reference, "the Hub's answer names no commit"));
        }
        let at_commit = HubReference {
            revision: Some(info.sha.clone()),
            ..reference.clone()
        };
        let sizes = info.siblings.iter();
        let sizes = sizes.filter_map(|file| Some((file.rfilename.clone(), file.size?)));
        Ok(Remote {
            reference,
            kind,
            options,
            repo: api.repo(at_commit.repo(kind)),
            commit: info.sha,
            sizes: sizes.collect(),
            names: info
                .siblings
                .into_iter()
                .map(|file| file.rfilename)
                .collect(),
            folder: options.cache.join(reference.repo(kind).folder_name()),
        })
    }

    /// Notes the commit under the revision that was asked for, once everything is there. hf-hub has noted
    /// it under the revision that it was given, which is the commit itself.
    pub(super) fn note_commit(&self) -> Result<()> {
        if self.commit != self.reference.revision() {
            let cache = Cache::new(self.options.cache.clone());
            let noted = cache.repo(self.reference.repo(self.kind));
            let noted = noted.create_ref(&self.commit);
            noted.map_err(|error| Error::io(&self.folder, error))?;
            std::fs::remove_file(self.folder.join("refs").join(&self.commit)).ok();
        }
        Ok(())
    }

    pub(super) fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshots").join(&self.commit)
    }

    fn fetch_all(&self) -> Result<PathBuf> {
        if let Some(file) = &self.reference.file {
            return self.fetch(file);
        }
        let files = match needed(&self.names).map_err(|reason| refused(self.reference, &reason))? {
            Needed::File(file) => return self.fetch(&file),
            Needed::Folder(files) => files,
        };
        for file in &files {
            let path = self.fetch(file)?;
            if is_index(file) {
                let shards = shards(&path).map_err(|reason| Error::format(&path, reason))?;
                for shard in &shards {
                    self.fetch(shard)?;
                }
            }
        }
        Ok(self.snapshot())
    }

    fn fetch_autoencoder(&self) -> Result<PathBuf> {
        let inner = self.reference.file.as_deref();
        let files = autoencoder::needed(&self.names, inner);
        for file in &files.map_err(|reason| refused(self.reference, &reason))? {
            self.fetch(file)?;
        }
        Ok(inner.map_or_else(|| self.snapshot(), |inner| self.snapshot().join(inner)))
    }

    pub(super) fn fetch(&self, file: &str) -> Result<PathBuf> {
        let local = self.snapshot().join(file);
        if local.is_file() {
            return Ok(local);
        }
        if !self.names.contains(file) || !is_plain(file) {
            let names: Vec<&str> = self.names.iter().map(String::as_str).take(20).collect();
            let reason = format!("it has no file `{file}`; there are {}", names.join(", "));
            return Err(refused(self.reference, &reason));
        }
        let (total, arrived) = (Cell::new(0), Cell::new(0));
        let mut failures = 0;
        loop {
            let before = arrived.get();
            let watch = Counter {
                report: self.options.progress.as_ref(),
                file,
                total: &total,
                done: 0,
                arrived: &arrived,
            };
            let failure = match self.repo.download_with_progress(file, watch) {
                Ok(path) => match self.check(&path, total.get()) {
                    Ok(()) => return Ok(path),
                    Err(failure) => failure,
                },
                Err(error) => Failure::from(error),
            };
            // A bad connection may break any number of times, as long as bytes arrive.
            failures = if arrived.get() > before {
                1
            } else {
                failures + 1
            };
            if failures == ATTEMPTS || !failure.may_pass() {
                let (reference, kind) = (self.reference, self.kind);
                return Err(failure.explain(reference, kind, self.options, Some(file)));
            }
            if matches!(failure, Failure::Status(416) | Failure::Part) {
                self.mend_parts(total.get());
            }
            std::thread::sleep(Duration::from_millis(100 << failures));
        }
    }

    /// Deletes a file of the wrong length: hf-hub appends whatever a server sends.
    fn check(&self, path: &PathBuf, total: u64) -> Result<(), Failure> {
        let found = std::fs::metadata(path).map_or(0, |file| file.len());
        if found == total {
            return Ok(());
        }
        if let Ok(blob) = path.canonicalize() {
            std::fs::remove_file(blob).ok();
        }
        std::fs::remove_file(path).ok();
        Err(Failure::Cut(format!("{found} of {total} bytes arrived")))
    }

    /// Makes parts fit to be resumed: hf-hub asks for the bytes after a part. A part that is complete,
    /// left by a program that ended before it was renamed, has none: it loses its last byte. A part that
    /// is too long belongs to another file and is deleted.
    fn mend_parts(&self, total: u64) {
        let entries = std::fs::read_dir(self.folder.join("blobs"));
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            let len = entry.metadata().map_or(0, |file| file.len());
            if path.extension().is_none_or(|extension| extension != "part") || total == 0 {
                continue;
            }
            if len > total {
                std::fs::remove_file(&path).ok();
            } else if len == total
                && let Ok(part) = std::fs::OpenOptions::new().write(true).open(&path)
            {
                part.set_len(total - 1).ok();
            }
        }
    }
}

/// Asks for the names of a repository's files, and for their sizes if it is a data set.
fn ask(repo: &ApiRepo, kind: Kind) -> Result<Info, Failure> {
    /// Bytes of the longest answer: that of a data set of some 100,000 files.
    const MAX_ANSWER: u64 = 64 << 20;
    let mut request = repo.info_request();
    if kind == Kind::Dataset {
        request = request.query("blobs", "true");
    }
    let answer = request.call().map_err(|e| Failure::from(Box::new(e)))?;
    let answer = answer.into_reader().take(MAX_ANSWER);
    serde_json::from_reader(answer).map_err(|e| Failure::Other(e.to_string()))
}

/// Passes the progress of a download on.
struct Counter<'a> {
    report: Option<&'a Report>,
    file: &'a str,
    total: &'a Cell<u64>,
    done: u64,
    /// The largest number of bytes in any attempt.
    arrived: &'a Cell<u64>,
}

impl Observer for Counter<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.total.set(size as u64);
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.arrived.set(self.arrived.get().max(self.done));
        if let Some(report) = self.report {
            report(&Progress {
                file: self.file,
                done: self.done,
                total: self.total.get(),
            });
        }
    }

    fn finish(&mut self) {}
}

/// Failure of one attempt.
enum Failure {
    Status(u16),
    Network(String),
    Cut(String),
    Part,
    Locked,
    Other(String),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        match error {
            ApiError::RequestError(error) => Failure::from(error),
            ApiError::IoError(error) => Failure::Cut(error.to_string()),
            ApiError::InvalidResume => Failure::Part,
            ApiError::LockAcquisition(_) => Failure::Locked,
            other => Failure::Other(other.to_string()),
        }
    }
}

impl From<Box<ureq::Error>> for Failure {
    fn from(error: Box<ureq::Error>) -> Failure {
        let text = error.to_string();
        match error.into_response() {
            Some(response) => Failure::Status(response.status()),
            None => Failure::Network(text),
        }
    }
}

impl Failure {
    /// True if another attempt may succeed.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Status(status) => matches!(status, 408 | 416 | 429 | 500..),
            Failure::Network(_) | Failure::Cut(_) | Failure::Part => true,
            Failure::Locked | Failure::Other(_) => false,
        }
    }

    /// The error for a person: the cause and the next step.
    fn explain(
        &self,
        of: &HubReference,
        kind: Kind,
        options: &HubOptions,
        file: Option<&str>,
    ) -> Error {
        let hub = &options.endpoint;
        let folder = match kind {
            Kind::Dataset => "datasets/",
            Kind::Model | Kind::Autoencoder => "",
        };
        let what = file.unwrap_or("the list of its files");
        let reason = match self {
            Failure::Status(status @ (401 | 403)) => {
                let reason = format!(
                    "{hub} refuses {what} ({status}); check the name; if the repository is private \
                     or has terms to accept, accept them at {hub}/{folder}{} and give a token that \
                     may read it",
                    of.repository
                );
                return Error::AccessDenied {
                    reference: of.to_string(),
                    reason,
                };
            }
            Failure::Status(404) => format!(
                "{hub} has no such repository, or no revision `{}` of it (404), and there is no such \
                 file or folder here; check the name",
                of.revision()
            ),
            Failure::Status(status) => {
                format!("{hub} answered {status} when asked for {what}; try again later")
            }
            Failure::Network(text) => format!(
                "{hub} cannot be reached ({text}); try again with a network, or give the path of \
                 a local model"
            ),
            Failure::Cut(text) => format!(
                "{what} did not arrive whole ({text}); a new attempt resumes where it stopped"
            ),
            Failure::Part => format!("what the cache holds of {what} cannot be resumed"),
            Failure::Locked => {
                format!("another program is downloading {what}; wait until it is done")
            }
            Failure::Other(text) => format!("{what}: {text}"),
        };
        refused(of, &reason)
    }
}
