//! The keys of a configuration. Each is taken once, so that a key that no reader took is refused by name.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::known;
use crate::error::{Error, Result};

/// The keys of a JSON object, or of a GGUF file's metadata.
pub(super) struct Keys {
    path: PathBuf,
    /// Prefix of keys in messages, such as `text_config.` or `llama.`.
    prefix: String,
    map: Map<String, Value>,
}

impl Keys {
    pub(super) fn new(path: &Path, prefix: &str, map: Map<String, Value>) -> Keys {
        Keys {
            path: path.to_path_buf(),
            prefix: prefix.to_owned(),
            map,
        }
    }

    /// The file of the keys.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A copy of the value of `key`, which is not taken.
    pub(super) fn peek(&self, key: &str) -> Option<Value> {
        self.map.get(key).cloned()
    }

    /// True if the value of `key` is this number.
    pub(super) fn is(&self, key: &str, number: f64) -> bool {
        self.map.get(key).and_then(Value::as_f64) == Some(number)
    }

    /// Removes keys that the family's own implementation does not read.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.map.shift_remove(*key);
        }
    }

    /// Takes the value of `key`: absent is `None`, null is `Some(None)`.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<Option<T>>> {
        let Some(value) = self.map.shift_remove(key) else {
            return Ok(None);
        };
        match Option::<T>::deserialize(&value) {
            Ok(taken) => Ok(Some(taken)),
            Err(error) => Err(self.wrong(key, &format!("is {}: {error}", shown(&value)))),
        }
    }

    /// Takes the value of a key; `default` if the key is absent or null.
    pub(super) fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        Ok(self.take(key)?.flatten().unwrap_or(default))
    }

    /// Takes the value of a key for which null means none; `default` if the key is absent.
    pub(super) fn or_null<T: DeserializeOwned>(
        &mut self,
        key: &str,
        default: Option<T>,
    ) -> Result<Option<T>> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// Takes the value of a key; none if the key is absent or null.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        self.or_null(key, None)
    }

    /// Takes the value of a required key.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        let missing = format!("there is no `{}{key}`", self.prefix);
        self.get(key)?
            .ok_or_else(|| Error::format(&self.path, missing))
    }

    /// Takes a number above 0; none if the key is absent or null.
    pub(super) fn positive(&mut self, key: &str) -> Result<Option<f64>> {
        let number: Option<f64> = self.get(key)?;
        match number {
            Some(number) if !(number.is_finite() && number > 0.0) => {
                Err(self.wrong(key, &format!("is {number}, which is not above 0")))
            }
            _ => Ok(number),
        }
    }

    /// Takes a number above 0; `default` if the key is absent or null.
    pub(super) fn positive_or(&mut self, key: &str, default: f64) -> Result<f64> {
        Ok(self.positive(key)?.unwrap_or(default))
    }

    /// Takes a required number above 0.
    pub(super) fn required_positive(&mut self, key: &str) -> Result<f64> {
        match self.positive(key)? {
            Some(number) => Ok(number),
            None => self.required(key),
        }
    }

    /// Takes a count of at least 1 for which null means none; `default` if the key is absent.
    pub(super) fn nonzero_or_null(
        &mut self,
        key: &str,
        default: Option<usize>,
    ) -> Result<Option<usize>> {
        match self.or_null(key, default)? {
            Some(0) => Err(self.wrong(key, "is 0, which is not above 0")),
            count => Ok(count),
        }
    }

    /// Takes a soft cap above 0 for which null means none; `default` if the key is absent.
    pub(super) fn cap(&mut self, key: &str, default: Option<f64>) -> Result<Option<f32>> {
        let absent = !self.has(key);
        let cap = self.positive(key)?;
        Ok(if absent { default } else { cap }.map(|cap| cap as f32))
    }

    /// Takes the keys of a nested object; none if the key is absent or null.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Keys>> {
        let map: Option<Map<String, Value>> = self.get(key)?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(map.map(|map| Keys::new(&self.path, &prefix, map)))
    }

    /// The error of a key whose value breaks the format.
    pub(super) fn wrong(&self, key: &str, what: &str) -> Error {
        Error::format(&self.path, format!("`{}{key}` {what}", self.prefix))
    }

    /// The error of a key whose value asks for a feature that saescope lacks.
    pub(super) fn unsupported(&self, key: &str, what: &str) -> Error {
        Error::Unsupported {
            path: self.path.clone(),
            reason: format!("`{}{key}` {what}", self.prefix),
        }
    }

    /// Refuses by name every key that was not taken, unless it cannot change the maths.
    pub(super) fn finish(self) -> Result<()> {
        for (key, value) in &self.map {
            if known::is_harmless(key) {
                continue;
            }
            let refusal = |why: &str| {
                let reason = format!("is {}, {why}", shown(value));
                Err(self.unsupported(key, &reason))
            };
            match known::rule_of(key) {
                Some(rule) if (rule.is_neutral)(value) => {}
                Some(rule) => return refusal(rule.why),
                None if known::is_empty(value) => {}
                None => return refusal("a key that saescope does not know for this model"),
            }
        }
        Ok(())
    }
}

/// A value shortened for a message.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}...")
}
