//! The files that make an autoencoder, opened together, and typed reads of their configuration.
//!
//! Neither which files belong together (`open`) nor what a key means (`foreign`) is known here.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::source::Source;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::torch::Value as TorchValue;
use crate::error::{Error, Result};
use crate::stand_in;

/// The largest configuration that is read, in bytes; a real one has some kilobytes.
const MAX_CONFIG: u64 = 16 << 20;

/// The files of an autoencoder, opened together.
pub(super) struct AutoencoderFiles {
    pub(super) weights: Checkpoint,
    /// What stands before the names of its tensors: wrappers of a module or of a training run's checkpoint.
    pub(super) prefix: String,
    /// The configuration of the autoencoder; empty if there is none.
    pub(super) config: ConfigObject,
    /// `activation_scaler.json` beside a SAELens checkpoint.
    pub(super) scaler: Option<ConfigObject>,
    /// The configuration of the training run, in the folder above, for sparsify.
    pub(super) run: Option<ConfigObject>,
}

/// Prefixes of a compiled module and of one that was trained on several devices.
const MODULES: [&str; 2] = ["_orig_mod.", "module."];
/// Keys under which a checkpoint of a training run holds the weights.
const WRAPPERS: [&str; 6] = [
    "model_state_dict.",
    "state_dict.",
    "sae_state_dict.",
    "model.",
    "sae.",
    "ae.",
];

impl AutoencoderFiles {
    /// The tensors, under the names that their project gives them.
    pub(super) fn source(&self) -> Source<'_> {
        Source::below(&self.weights, &self.prefix)
    }

    /// True if the weights are part of a larger checkpoint, at `key` of its dict.
    pub(super) fn is_below(&self, key: &str) -> bool {
        self.prefix.split('.').any(|part| part == key)
    }
}

/// What stands before the names of an autoencoder's tensors; other tensors of the file, such as those of
/// the optimizer, do not belong to it.
pub(super) fn prefix(weights: &Checkpoint) -> String {
    let mut prefix = String::new();
    // No writer wraps deeper: a checkpoint's dict of a compiled module on several devices.
    for _ in 0..4 {
        let below = |part: &str| {
            weights
                .names()
                .any(|name| strip(name, &prefix, part).is_some())
        };
        let all = |part: &str| {
            let mut inner = weights.names().filter(|name| name.starts_with(&prefix));
            inner.all(|name| strip(name, &prefix, part).is_some())
        };
        let wrapped = |part: &&&str| is_dict(weights, &prefix, part) && below(part);
        let found = MODULES.iter().find(|part| below(part) && all(part));
        let Some(part) = found.or_else(|| WRAPPERS.iter().find(wrapped)) else {
            break;
        };
        prefix.push_str(part);
    }
    prefix
}

fn strip<'a>(name: &'a str, prefix: &str, part: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_prefix(part)
}

/// True if the dict at `prefix` has another one at the key `part`, which ends with a dot. A plain module's
/// `encoder.weight` is one key with a dot in it.
fn is_dict(weights: &Checkpoint, prefix: &str, part: &str) -> bool {
    let mut value = weights.torch();
    for key in prefix
        .split_terminator('.')
        .chain([part.trim_end_matches('.')])
    {
        value = value.and_then(|value| value.get(key));
    }
    matches!(value, Some(TorchValue::Dict(_)))
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
        stand_in::check_text(path, &bytes)?;
        if path.extension().is_some_and(|e| e == "yaml") {
            let map = plain_yaml(&String::from_utf8_lossy(&bytes));
            let path = path.to_path_buf();
            return Ok(Some(ConfigObject { path, map }));
        }
        ConfigObject::parse(path, &bytes).map(Some)
    }

    /// Reads a configuration from its bytes; errors call it `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<ConfigObject> {
        let read = serde_json::from_slice(bytes);
        // Python writes numbers that JSON does not have.
        let read = read.or_else(|error| match quote_not_finite(bytes) {
            Some(quoted) => serde_json::from_slice(&quoted).map_err(|_| error),
            None => Err(error),
        });
        let map = read.map_err(|e| Error::format(path, format!("not a JSON object: {e}")))?;
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

/// The texts and whole numbers of a YAML file's outermost keys, all that circuit-tracer's configurations
/// need of one. Lists and maps, and their items, are omitted.
fn plain_yaml(text: &str) -> Map<String, Value> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '#', '-']));
    let pairs = lines.filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        let value = value.split(" #").next().unwrap_or_default().trim();
        let quoted = ['"', '\'']
            .iter()
            .find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        let number = value.parse::<u64>().ok().map(Value::from);
        let read = number.unwrap_or_else(|| quoted.unwrap_or(value).into());
        (!value.is_empty() && value != "null" && value != "~")
            .then(|| (key.trim().to_owned(), read))
    });
    pairs.collect()
}

/// JSON in which `NaN`, `Infinity` and `-Infinity`, as Python's `json` writes them, are texts of these
/// names; nothing if there is none. A key that needs a number refuses the text.
fn quote_not_finite(bytes: &[u8]) -> Option<Vec<u8>> {
    const NAMES: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::with_capacity(bytes.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        let name = NAMES.iter().find(|name| bytes[at..].starts_with(name));
        let mut taken = 1;
        match (in_text, name) {
            (true, _) if byte == b'\\' => taken = 2,
            (false, Some(name)) => {
                found = true;
                quoted.extend([b"\"", *name, b"\""].concat());
                at += name.len();
                continue;
            }
            _ => in_text ^= byte == b'"',
        }
        let end = bytes.len().min(at + taken);
        quoted.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    found.then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigObject> {
        ConfigObject::parse(Path::new("cfg.json"), text.as_bytes())
    }

    #[test]
    fn numbers_that_json_does_not_have_are_read_where_nobody_needs_them() {
        let config = parse(
            r#"{"k": 8, "loss": NaN, "best": [-Infinity, Infinity], "text": "\\\"NaN, Infinity", "NaN": 1}"#,
        )
        .unwrap();
        assert_eq!(config.size("k").unwrap(), Some(8));
        assert_eq!(config.text("text").unwrap(), Some("\\\"NaN, Infinity"));
        assert_eq!(config.size("NaN").unwrap(), Some(1));
        let error = config.number("loss").unwrap_err().to_string();
        assert!(
            error.contains("`loss` is \"NaN\"; expected a number"),
            "{error}"
        );
        for text in [
            "NaN",
            "{\"a\": NaNs}",
            "{\"a\": nan}",
            "{\"a\": +Infinity}",
            "{NaN: 1, }",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
