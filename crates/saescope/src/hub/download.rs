//! Downloads through the crate `hf-hub`, in whose cache interrupted files wait to be resumed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::Progress as Watch;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};

use super::files::{Needed, is_index, is_plain, needed, shards};
use super::{HubOptions, HubReference, Kind, Progress, Report, autoencoder, refused};
use crate::error::{Error, Result};

/// Attempts in a row that may bring nothing before a download is given up.
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

/// What the Hub says of a repository.
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
    /// Bytes of the files of which the Hub says so.
    pub(super) sizes: BTreeMap<String, u64>,
    /// The repository's folder in the cache.
    folder: PathBuf,
}

impl<'a> Remote<'a> {
    /// Asks which files there are, and which commit the revision is: all are taken from that one,
    /// even if the revision moves meanwhile.
    pub(super) fn look_up(
        reference: &'a HubReference,
        kind: Kind,
        options: &'a HubOptions,
        api: &Api,
    ) -> Result<Remote<'a>> {
        let info = ask(&api.repo(reference.repo(kind)), kind).map_err(|failure| {
            refused(reference, &failure.explain(reference, kind, options, None))
        })?;
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

    /// hf-hub notes a commit under the revision it is told, here the commit itself. Under the name
    /// that was asked for it is noted only now that everything is there.
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
            let reason = format!("there is no file `{file}` in it, but {}", names.join(", "));
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
            // As long as something arrives, a bad line may break as often as it likes.
            failures = if arrived.get() > before {
                1
            } else {
                failures + 1
            };
            if failures == ATTEMPTS || !failure.may_pass() {
                let reason = failure.explain(self.reference, self.kind, self.options, Some(file));
                return Err(refused(self.reference, &reason));
            }
            if matches!(failure, Failure::Status(416) | Failure::Part) {
                self.mend_parts(total.get());
            }
            std::thread::sleep(Duration::from_millis(100 << failures));
        }
    }

    /// hf-hub appends whatever a server sends; what has the wrong length is thrown away.
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

    /// hf-hub resumes a part by asking for what follows it. For one that is whole, left by a
    /// program that was ended before renaming it, there is nothing to ask for: it loses a byte. One
    /// that is too long belongs to no such file.
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

/// Asks for the names of a repository's files, and of a data set for their sizes too.
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

/// Passes on how far a download is.
struct Counter<'a> {
    report: Option<&'a Report>,
    file: &'a str,
    total: &'a Cell<u64>,
    done: u64,
    /// The most there has been in any attempt.
    arrived: &'a Cell<u64>,
}

impl Watch for Counter<'_> {
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

/// Why an attempt failed.
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
    /// Whether another attempt may fare better.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Status(status) => matches!(status, 408 | 416 | 429 | 500..),
            Failure::Network(_) | Failure::Cut(_) | Failure::Part => true,
            Failure::Locked | Failure::Other(_) => false,
        }
    }

    /// What happened and what to do next.
    fn explain(
        &self,
        of: &HubReference,
        kind: Kind,
        options: &HubOptions,
        file: Option<&str>,
    ) -> String {
        let hub = &options.endpoint;
        let folder = match kind {
            Kind::Dataset => "datasets/",
            Kind::Model | Kind::Autoencoder => "",
        };
        let what = file.unwrap_or("the list of its files");
        match self {
            Failure::Status(status @ (401 | 403)) => format!(
                "{hub} does not hand out {what} ({status}): check the name; if it is private or \
                 its terms are to be accepted first, do so at {hub}/{folder}{} and give a token that \
                 may see it (HF_TOKEN)",
                of.repository
            ),
            Failure::Status(404) => format!(
                "{hub} has no such repository, or no revision `{}` of it (404), and no such file \
                 or folder is here; check the name",
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
                "{what} did not arrive whole ({text}); run the command again, and it goes on \
                 where it stopped"
            ),
            Failure::Part => format!("what the cache holds of {what} cannot be resumed"),
            Failure::Locked => {
                format!("another program is downloading {what}; wait until it has")
            }
            Failure::Other(text) => format!("{what}: {text}"),
        }
    }
}
