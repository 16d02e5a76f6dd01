//! Which files make an autoencoder, and what lies beside them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Sae;
use super::foreign;
use super::foreign::end_of;
use super::record::SourceFile;
use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::error::{Error, Result};

const SAELENS: &str = "sae_weights.safetensors";
const SPARSIFY: &str = "sae.safetensors";

/// Weights that a folder is searched for, first match first, and the configuration beside them.
const NAMES: [(&str, &str); 5] = [
    (SAELENS, "cfg.json"),
    (SPARSIFY, "cfg.json"),
    ("ae.pt", "config.json"),
    ("params.npz", "config.json"),
    ("params.safetensors", "config.json"),
];

/// The folder of the autoencoder in that of the run that trained it.
pub(crate) const IN_RUN: &str = "sae";

/// A configuration is some kilobytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Files that were opened together.
pub(super) struct Found {
    pub(super) weights: Checkpoint,
    /// The configuration of the autoencoder.
    pub(super) config: Config,
    /// `activation_scaler.json` of a SAELens checkpoint.
    pub(super) scaler: Option<Config>,
    /// The configuration of the run, in the folder above, of sparsify.
    pub(super) run: Option<Config>,
}

/// A configuration, or a part of one; empty where there is none.
pub(super) struct Config {
    path: PathBuf,
    map: Map<String, Value>,
}

pub(super) fn open(path: &Path) -> Result<Sae> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let file = if kind.is_dir() {
        find(path)?
    } else if path.extension().is_some_and(|e| e == "json") {
        find(path.parent().unwrap_or(Path::new("")))?
    } else {
        path.to_path_buf()
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let weights = Checkpoint::open(&file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = NAMES.iter().find(|(weights, _)| *weights == name);
    // Mid-training checkpoints of dictionary_learning lie one folder deeper than their configuration.
    let config = match beside {
        Some((_, config)) => Config::open(&folder.join(config))?,
        None => match Config::open(&folder.join("config.json"))? {
            None => Config::open(&folder.join("../config.json"))?,
            found => found,
        },
    };
    foreign::read(&Found {
        weights,
        config: config.unwrap_or_else(|| Config::none(&file)),
        scaler: match name.as_ref() {
            SAELENS => Config::open(&folder.join("activation_scaler.json"))?,
            _ => None,
        },
        run: match name.as_ref() {
            SPARSIFY => Config::open(&folder.join("../config.json"))?,
            _ => None,
        },
    })
}

/// Hashes those of `files` that lie where an autoencoder was opened: the file itself, what lies in the
/// folder or beside the file, and the configuration one folder above.
pub(super) fn hash_files(files: &mut [SourceFile], path: &Path) -> Result<()> {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    for file in files {
        let name = file.name.rsplit('/').next().unwrap_or_default();
        let mut places = [folder.join(name), folder.join("..").join(name)].into_iter();
        let is_it = |place: &PathBuf| {
            end_of(place) == file.name
                && std::fs::metadata(place).is_ok_and(|kind| kind.len() == file.bytes)
        };
        if let Some(place) = places.find(is_it) {
            let (hash, _) = digest::of_file(&place)?;
            file.sha256 = Some(digest::hex(&hash));
        }
    }
    Ok(())
}

pub(super) fn is_at(path: &Path) -> bool {
    let named = |name: &str| NAMES.iter().any(|(weights, _)| *weights == name);
    if path.is_dir() {
        return in_folder(path).is_some();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No model is kept in these; one in a `.bin` or `.safetensors` may be either's.
    let own = path.extension().is_some_and(|e| e == "pt" || e == "npz");
    named(&name) || own || name == "cfg.json"
}

pub(super) fn from_bytes(path: &Path, weights: Vec<u8>, config: Option<&[u8]>) -> Result<Sae> {
    let config = config
        .map(|config| Config::parse(path, config))
        .transpose()?;
    foreign::read(&Found {
        weights: Checkpoint::from_bytes(path, weights)?,
        config: config.unwrap_or_else(|| Config::none(path)),
        scaler: None,
        run: None,
    })
}

/// The weights in a folder.
fn find(folder: &Path) -> Result<PathBuf> {
    in_folder(folder).ok_or_else(|| {
        if is_run(folder) {
            let reason = "the folder holds a training run that did not come to its end; `saescope train` \
                          goes on with it by --resume";
            return Error::format(folder, reason);
        }
        let names: Vec<&str> = NAMES.iter().map(|(weights, _)| *weights).collect();
        let names = names.join(", ");
        let reason = format!(
            "the folder holds no autoencoder: none of {names}; name the file or a folder within"
        );
        Error::format(folder, reason)
    })
}

/// The weights in a folder, or in that of the autoencoder in the folder of a run.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let within = |folder: &Path| {
        let mut known = NAMES.iter().map(|(weights, _)| folder.join(weights));
        known.find(|path| path.is_file())
    };
    within(folder).or_else(|| is_run(folder).then(|| within(&folder.join(IN_RUN)))?)
}

/// Whether a folder is that of a run: others have one called [`IN_RUN`] too, the metrics tell.
fn is_run(folder: &Path) -> bool {
    folder.join("metrics.jsonl").is_file()
}

impl Config {
    /// Reads the file at `path`, if there is one.
    fn open(path: &Path) -> Result<Option<Config>> {
        let len = match std::fs::metadata(path) {
            Ok(kind) if kind.is_file() => kind.len(),
            _ => return Ok(None),
        };
        if len > MAX_CONFIG {
            let reason = format!("{len} bytes are no configuration");
            return Err(Error::format(path, reason));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Config::parse(path, &bytes).map(Some)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Config> {
        let map = serde_json::from_slice(bytes)
            .map_err(|e| Error::format(path, format!("not a JSON object: {e}")))?;
        Ok(Config {
            path: path.to_path_buf(),
            map,
        })
    }

    fn none(path: &Path) -> Config {
        Config {
            path: path.to_path_buf(),
            map: Map::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All of it.
    pub(super) fn to_value(&self) -> Value {
        match self.is_empty() {
            true => Value::Null,
            false => Value::Object(self.map.clone()),
        }
    }

    /// The object at `key`, empty where there is none.
    pub(super) fn part(&self, key: &str) -> Config {
        let map = self.map.get(key).and_then(Value::as_object);
        Config {
            path: self.path.clone(),
            map: map.cloned().unwrap_or_default(),
        }
    }

    /// What is at `key`, unless it is null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", Value::as_str)
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a size", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    /// Refuses what `key` says.
    pub(super) fn unsupported(&self, key: &str, supported: &str) -> Error {
        let value = self.get(key).cloned().unwrap_or(Value::Null);
        Error::Unsupported {
            path: self.path.clone(),
            reason: format!("`{key}` is {value}; {supported}"),
        }
    }

    /// Refuses a size that is not what the weights have.
    pub(super) fn agrees(&self, key: &str, found: usize) -> Result<()> {
        match self.size(key)? {
            Some(size) if size != found => Err(Error::Shape {
                what: format!("{}: `{key}`", self.path.display()),
                expected: format!("the {found} of the weights"),
                found: size.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            Error::format(
                &self.path,
                format!("`{key}` is {value}, where {what} is expected"),
            )
        })
    }
}
