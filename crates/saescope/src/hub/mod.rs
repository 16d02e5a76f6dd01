//! Files of models, autoencoders and data sets: at a path, in a repository of the Hugging Face Hub and
//! its cache, in OpenAI's public storage, or bundled with the library.
//!
//! A path comes first. A repository that the cache holds completely is used as it is, without asking
//! the network. This module reads no environment variable: its caller looks variables up for
//! [`HubOptions::from_variables`]. It knows names and sizes of files, and nothing of their content but
//! the index of shards.

mod autoencoder;
mod bundled;
mod dataset;
mod demo;
mod download;
mod files;
mod openai;
#[cfg(test)]
mod tests;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hf_hub::{Repo, RepoType};

pub use bundled::bundled;
pub use dataset::{DatasetReference, Plan};
pub use demo::unpacked as demo_folder;
pub use openai::{OpenAiReference, STORAGE};

use crate::error::{Error, Result};

/// Name of the bundled model and of its autoencoder.
pub const DEMO: &str = "demo";

/// The Hub's own address.
pub const ENDPOINT: &str = "https://huggingface.co";

/// Caches, addresses and rights of downloads. [`HubOptions::new`] has the defaults.
#[derive(Clone)]
pub struct HubOptions {
    /// The folder of the cache: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The Hub's address: `HF_ENDPOINT`, or [`ENDPOINT`].
    pub endpoint: String,
    /// The folder for files that do not come from the Hub: `saescope` in `HF_HOME`, beside its cache.
    pub storage_cache: PathBuf,
    /// The address of OpenAI's storage: [`STORAGE`].
    pub storage: String,
    /// Token of the user: `HF_TOKEN`, or the content of the file `token` in `HF_HOME`.
    pub token: Option<String>,
    /// True if nothing may be downloaded: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// Receives the progress of each download.
    pub progress: Option<Report>,
}

/// Receiver of the progress of downloads.
pub type Report = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Progress of the download of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file's name in its repository.
    pub file: &'a str,
    /// Bytes that have arrived, those of an earlier attempt included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

impl HubOptions {
    /// The Hub's own address, without a token, online and silent, with its cache in `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let cache = cache.into();
        HubOptions {
            storage_cache: cache.with_file_name("saescope"),
            storage: STORAGE.to_owned(),
            cache,
            endpoint: ENDPOINT.to_owned(),
            token: None,
            offline: false,
            progress: None,
        }
    }
}

/// A person's name for a model or an autoencoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The bundled model, or its autoencoder: [`DEMO`].
    Demo,
    /// A file or a folder.
    Path(PathBuf),
    /// A repository on the Hub, or one file or folder of it.
    Hub(HubReference),
    /// An autoencoder in OpenAI's storage.
    OpenAi(OpenAiReference),
}

/// The kind of thing that a reference is to name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Autoencoder,
    Dataset,
}

/// A repository of the Hub or a file of it: `org/name`, `org/name@revision`, `org/name/file` or
/// `org/name/file@revision`. For an autoencoder `file` may be a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag or a commit; `main` where none is given.
    pub revision: Option<String>,
    /// One file of the repository, a whole model where none is given; for an autoencoder a file or a
    /// folder.
    pub file: Option<String>,
}

impl Reference {
    /// Parses a reference.
    ///
    /// [`DEMO`] is always the bundled model. Text that exists as a path, or begins with `.`, `/` or `~`,
    /// is a path. `openai/v5_128k/resid_post_mlp/8` and the like name autoencoders of OpenAI's. Any other
    /// text is `org/name`, which may also be written `hf:org/name`.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(text: &str) -> Result<Reference> {
        if text == DEMO {
            return Ok(Reference::Demo);
        }
        if let Some(hub) = text.strip_prefix("hf:") {
            return HubReference::parse(hub).map(Reference::Hub);
        }
        let path = Path::new(text);
        let looks_like_path =
            text.starts_with(['.', '/', '~']) || text.contains('\\') || path.is_absolute();
        if !text.is_empty() && (looks_like_path || path.exists()) {
            return Ok(Reference::Path(path.to_path_buf()));
        }
        if let Some(storage) = text
            .strip_prefix("openai/")
            .and_then(OpenAiReference::parse)
        {
            return storage.map(Reference::OpenAi);
        }
        HubReference::parse(text).map(Reference::Hub)
    }

    /// The local file or folder of the model that the reference names, downloaded if need be.
    ///
    /// # Errors
    /// [`Error::Offline`] when it would have to be downloaded and downloads are turned off,
    /// [`Error::AccessDenied`] when a token is missing, and [`Error::Hub`] for any other reason.
    pub fn resolve(&self, options: &HubOptions) -> Result<PathBuf> {
        self.resolve_kind(Kind::Model, options)
    }

    /// The local file or folder of the autoencoder that the reference names, downloaded if need be.
    ///
    /// # Errors
    /// As [`Reference::resolve`].
    pub fn resolve_autoencoder(&self, options: &HubOptions) -> Result<PathBuf> {
        self.resolve_kind(Kind::Autoencoder, options)
    }

    fn resolve_kind(&self, kind: Kind, options: &HubOptions) -> Result<PathBuf> {
        match self {
            Reference::Demo => demo::folder(kind, options),
            Reference::Path(path) if path.exists() => Ok(path.clone()),
            Reference::Path(path) => {
                Err(refused(path.display(), "there is no such file or folder"))
            }
            Reference::Hub(reference) => reference.resolve(kind, options),
            Reference::OpenAi(reference) if kind == Kind::Autoencoder => reference.resolve(options),
            Reference::OpenAi(reference) => Err(refused(
                reference,
                "it is an autoencoder; its model is openai-community/gpt2",
            )),
        }
    }
}

impl HubReference {
    fn parse(text: &str) -> Result<HubReference> {
        let (place, revision) = match text.split_once('@') {
            Some((place, revision)) => (place, Some(revision)),
            None => (text, None),
        };
        let mut parts = place.splitn(3, '/');
        let (org, name, file) = (parts.next(), parts.next(), parts.next());
        let name_fits = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            name.chars().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        match (org, name) {
            (Some(org), Some(name))
                if name_fits(org)
                    && name_fits(name)
                    && file.is_none_or(files::is_plain)
                    && revision.is_none_or(files::is_plain) =>
            {
                Ok(HubReference {
                    repository: format!("{org}/{name}"),
                    revision: revision.map(str::to_owned),
                    file: file.map(str::to_owned),
                })
            }
            _ => Err(refused(
                text,
                "there is no such file or folder here; models on the Hub are written `org/name`, \
                 `org/name@revision` or `org/name/file.gguf`, and autoencoders `org/name/folder`",
            )),
        }
    }

    /// Path in the cache, downloaded from the Hub if need be.
    fn resolve(&self, kind: Kind, options: &HubOptions) -> Result<PathBuf> {
        let snapshot = self.cached(&options.cache, kind);
        let complete = match kind {
            Kind::Autoencoder => autoencoder::complete,
            Kind::Model | Kind::Dataset => files::complete,
        };
        if let Some(folder) = &snapshot
            && let Some(whole) = complete(folder, self.file.as_deref())
            // One GGUF in the cache may be one of several in the repository.
            && (whole.is_dir() || self.file.is_some() || options.offline)
        {
            return Ok(whole);
        }
        if !options.offline {
            return download::download(self, kind, options);
        }
        let cache = options.cache.display();
        Err(offline(
            self,
            match snapshot {
                Some(_) => format!("the cache {cache} holds only a part of it"),
                None => format!("the cache {cache} does not hold it"),
            },
        ))
    }

    /// The folder of the cache that holds this revision.
    fn cached(&self, cache: &Path, kind: Kind) -> Option<PathBuf> {
        let repository = cache.join(self.repo(kind).folder_name());
        let revision = self.revision();
        let snapshots = repository.join("snapshots");
        // A commit names its own snapshot; a branch or a tag is a file that names a commit.
        let commit = std::fs::read_to_string(repository.join("refs").join(revision));
        [commit.unwrap_or_default().trim(), revision]
            .into_iter()
            .filter(|commit| files::is_plain(commit))
            .map(|commit| snapshots.join(commit))
            .find(|folder| folder.is_dir())
    }

    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    fn repo(&self, kind: Kind) -> Repo {
        let kind = match kind {
            Kind::Model | Kind::Autoencoder => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.repository.clone(), kind, self.revision().to_owned())
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        Ok(())
    }
}

/// A reference to something that would have to be downloaded while downloads are turned off.
fn offline(reference: impl fmt::Display, reason: String) -> Error {
    Error::Offline {
        reference: reference.to_string(),
        reason,
    }
}

/// A reference that cannot be resolved.
fn refused(reference: impl fmt::Display, reason: &str) -> Error {
    Error::Hub {
        reference: reference.to_string(),
        reason: reason.to_owned(),
    }
}
