//! The files that make an autoencoder, opened together, and typed reads of their configuration.
//!
//! Neither which files belong together (`open`) nor what a key means (`foreign`) is known here.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// The largest configuration that is read, in bytes; a real one has some kilobytes.
const MAX_CONFIG: u64 = 16 << 20;

/// The files of an autoencoder, opened together.
pub(super) struct AutoencoderFiles {
    pub(super) weights: Checkpoint,
    /// The configuration of the autoencoder; empty if there is none.
    pub(super) config: ConfigObject,
    /// `activation_scaler.json` beside a SAELens checkpoint.
    pub(super) scaler: Option<ConfigObject>,
    /// The configuration of the training run, in the folder above, for sparsify.
    pub(super) run: Option<ConfigObject>,
}

/// The JSON object of a configuration file, or of a key within one; empty if there is none.
pub(super) struct ConfigObject {
    path: PathBuf,
    map: Map<String, Value>,
}

impl ConfigObject {
    /// Reads the file at `path`, if there is one.
    pub(super) fn open(path: &Path) -> Result<Option<ConfigObject>> {
        let len = match std::fs::metadata(path) {
            Ok(kind) if kind.is_file() => kind.len(),
            _ => return Ok(None),
        };
        if len > MAX_CONFIG {
            let reason = format!("{len} bytes are too many for a configuration");
            return Err(Error::format(path, reason));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        ConfigObject::parse(path, &bytes).map(Some)
    }

    /// Reads a configuration from its bytes; errors call it `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigObject> {
        let map = serde_json::from_slice(bytes)
            .map_err(|e| Error::format(path, format!("not a JSON object: {e}")))?;
        Ok(ConfigObject {
            path: path.to_path_buf(),
            map,
        })
    }

    /// An empty configuration; errors call it `path`.
    pub(super) fn none(path: &Path) -> ConfigObject {
        ConfigObject {
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

    /// The whole object; null if it is empty.
    pub(super) fn to_value(&self) -> Value {
        if self.is_empty() {
            Value::Null
        } else {
            Value::Object(self.map.clone())
        }
    }

    /// The object at `key`; empty if there is none.
    pub(super) fn part(&self, key: &str) -> ConfigObject {
        let map = self.map.get(key).and_then(Value::as_object);
        ConfigObject {
            path: self.path.clone(),
            map: map.cloned().unwrap_or_default(),
        }
    }

    /// The value at `key`, unless it is null.
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

    /// The error for a value of `key` that is not supported; `supported` says which are.
    pub(super) fn unsupported(&self, key: &str, supported: &str) -> Error {
        let value = self.get(key).cloned().unwrap_or(Value::Null);
        Error::Unsupported {
            path: self.path.clone(),
            reason: format!("`{key}` is {value}; {supported}"),
        }
    }

    /// Checks a size against the one that the weights have.
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
            Error::format(&self.path, format!("`{key}` is {value}; expected {what}"))
        })
    }
}
