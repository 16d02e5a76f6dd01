//! The public storage of OpenAI's autoencoders for GPT-2 small (Gao et al. 2024), with a download that
//! resumes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{HubOptions, Progress, offline, refused};
use crate::error::{Error, Result};

/// The storage's own address.
pub const STORAGE: &str = "https://openaipublic.blob.core.windows.net";

/// Layers of GPT-2 small.
const LAYERS: usize = 12;
/// Versions, the endings of their folders' names, and their locations.
const VERSIONS: [(&str, &str, &[&str]); 4] = [
    ("v1", "", &["mlp_post_act", "resid_delta_mlp"]),
    ("v4", "_v4", &["mlp_post_act", "resid_delta_mlp"]),
    ("v5_32k", "_v5_32k", &V5),
    ("v5_128k", "_v5_128k", &V5),
];
const V5: [&str; 4] = [
    "resid_delta_attn",
    "resid_delta_mlp",
    "resid_post_attn",
    "resid_post_mlp",
];

/// Attempts in a row without a new byte after which a download is given up.
const ATTEMPTS: u32 = 4;

/// An autoencoder of OpenAI's: `openai/VERSION/LOCATION/LAYER`, as in `openai/v5_128k/resid_post_mlp/8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAiReference {
    version: &'static str,
    location: &'static str,
    layer: usize,
}

impl OpenAiReference {
    /// Parses the text after `openai/`. `None` if it does not begin with a version: it may be a
    /// repository of the Hub.
    pub(super) fn parse(text: &str) -> Option<Result<OpenAiReference>> {
        let (version, rest) = text.split_once('/').unwrap_or((text, ""));
        let (version, _, locations) = VERSIONS.iter().find(|(name, ..)| *name == version)?;
        let (location, layer) = rest.split_once('/').unwrap_or((rest, ""));
        let location = locations.iter().find(|known| **known == location);
        let layer = layer.parse().ok().filter(|layer| *layer < LAYERS);
        Some(match (location, layer) {
            (Some(location), Some(layer)) => Ok(OpenAiReference {
                version,
                location,
                layer,
            }),
            _ => Err(refused(
                format!("openai/{text}"),
                &format!(
                    "OpenAI's autoencoders are written openai/{version}/LOCATION/LAYER, with a layer \
                     from 0 to {} and one of these locations: {}",
                    LAYERS - 1,
                    locations.join(", ")
                ),
            )),
        })
    }

    /// Path of the file in the storage.
    fn file(&self) -> String {
        let of_version = VERSIONS.iter().find(|(name, ..)| *name == self.version);
        let ending = of_version.map_or("", |(_, ending, _)| ending);
        let OpenAiReference {
            location, layer, ..
        } = self;
        format!("sparse-autoencoder/gpt2-small/{location}{ending}/autoencoders/{layer}.pt")
    }

    /// The local file, downloaded if need be.
    pub(super) fn resolve(&self, options: &HubOptions) -> Result<PathBuf> {
        let path = options.storage_cache.join("openai").join(self.file());
        if path.is_file() {
            return Ok(path);
        }
        if options.offline {
            return Err(offline(self, format!("there is no {}", path.display())));
        }
        self.download(&path, options)?;
        Ok(path)
    }

    /// Downloads to a part beside `path`, which a later call resumes, and renames the part when it is
    /// complete.
    fn download(&self, path: &Path, options: &HubOptions) -> Result<()> {
        let folder = path.parent().unwrap_or(path);
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let part = path.with_extension("pt.part");
        let held = || std::fs::metadata(&part).map_or(0, |file| file.len());
        let mut failures = 0;
        loop {
            let before = held();
            let failure = match self.fetch(&part, options) {
                Ok(()) => return std::fs::rename(&part, path).map_err(|e| Error::io(path, e)),
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Passing(reason)) => reason,
            };
            // A bad connection may break any number of times, as long as bytes arrive.
            failures = if held() > before { 1 } else { failures + 1 };
            if failures == ATTEMPTS {
                let reason = format!("{failure}; a new attempt resumes where it stopped");
                return Err(refused(self, &reason));
            }
            std::thread::sleep(Duration::from_millis(100 << failures));
        }
    }

    /// One attempt: asks for the bytes that the part lacks and appends them.
    fn fetch(&self, part: &Path, options: &HubOptions) -> Result<(), Failure> {
        let io = |error| Failure::Refused(Error::io(part, error));
        let mut file = OpenOptions::new();
        let file = file.create(true).append(true).open(part).map_err(io)?;
        let mut done = file.metadata().map_err(io)?.len();
        let answer = match self.ask(done, options) {
            Ok(answer) => answer,
            Err(ureq::Error::Status(416, answer)) => {
                let range = answer.header("Content-Range").unwrap_or_default();
                if range == format!("bytes */{done}") {
                    return Ok(());
                }
                // The part is longer than the file: it belongs to another.
                file.set_len(0).map_err(io)?;
                let reason = "the part could not be resumed";
                return Err(Failure::Passing(reason.to_owned()));
            }
            Err(error) => return Err(self.failure(error, options)),
        };
        if answer.status() != 206 {
            // A server that does not know ranges sends the file from its beginning.
            file.set_len(0).map_err(io)?;
            done = 0;
        }
        let length = answer.header("Content-Length");
        let Some(length) = length.and_then(|n| n.parse::<u64>().ok()) else {
            let reason = format!("{} does not give the length of the file", options.storage);
            return Err(Failure::Refused(refused(self, &reason)));
        };
        let mut target = Part {
            file,
            path: part,
            done,
            total: done + length,
        };
        self.append(&mut target, answer, options)
    }

    /// Asks for the file from byte `start` on.
    #[expect(
        clippy::result_large_err,
        reason = "ureq's own error, which the caller converts at once"
    )]
    fn ask(&self, start: u64, options: &HubOptions) -> Result<ureq::Response, ureq::Error> {
        let url = format!("{}/{}", options.storage.trim_end_matches('/'), self.file());
        let agent = ureq::AgentBuilder::new()
            .user_agent(concat!("saescope/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Duration::from_secs(30))
            .timeout_read(Duration::from_secs(60))
            .try_proxy_from_env(true)
            .build();
        let request = agent.get(&url);
        let request = match start {
            0 => request,
            start => request.set("Range", &format!("bytes={start}-")),
        };
        request.call()
    }

    /// Appends the answer to a part until the part is complete.
    fn append(
        &self,
        part: &mut Part,
        answer: ureq::Response,
        options: &HubOptions,
    ) -> Result<(), Failure> {
        let path = part.path;
        let io = |error| Failure::Refused(Error::io(path, error));
        let name = self.to_string();
        let total = part.total;
        let report = |done| {
            if let Some(report) = &options.progress {
                let file = name.as_str();
                report(&Progress { file, done, total });
            }
        };
        report(part.done);
        let mut body = answer.into_reader();
        let mut buffer = vec![0; 1 << 18];
        while part.done < total {
            let read = body.read(&mut buffer);
            let read = read.map_err(|error| Failure::Passing(error.to_string()))?;
            if read == 0 {
                let reason = format!("{} of {total} bytes arrived", part.done);
                return Err(Failure::Passing(reason));
            }
            part.file.write_all(&buffer[..read]).map_err(io)?;
            part.done += read as u64;
            report(part.done);
        }
        part.file.sync_all().map_err(io)
    }

    fn failure(&self, error: ureq::Error, options: &HubOptions) -> Failure {
        let storage = &options.storage;
        match error {
            ureq::Error::Status(408 | 429 | 500.., answer) => {
                Failure::Passing(format!("{storage} answered {}", answer.status()))
            }
            ureq::Error::Status(status, _) => {
                let reason = format!(
                    "{storage} answered {status} for {}; give the path of a local file, or a \
                     converted copy as `org/name/folder`",
                    self.file()
                );
                Failure::Refused(refused(self, &reason))
            }
            ureq::Error::Transport(error) => {
                Failure::Passing(format!("{storage} cannot be reached ({error})"))
            }
        }
    }
}

/// A file that is being downloaded.
struct Part<'a> {
    file: File,
    path: &'a Path,
    /// Bytes that have arrived.
    done: u64,
    /// Bytes of the complete file.
    total: u64,
}

/// Failure of one attempt.
enum Failure {
    /// Another attempt may succeed.
    Passing(String),
    /// No other attempt can succeed.
    Refused(Error),
}

impl fmt::Display for OpenAiReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenAiReference {
            version,
            location,
            layer,
        } = self;
        write!(f, "openai/{version}/{location}/{layer}")
    }
}
