//! A configuration's keys, each taken once, so that what nobody took can be refused by name.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::known;
use crate::error::{Error, Result};

/// The keys of a JSON object, or of a GGUF file's metadata.
pub(super) struct Keys {
    path: PathBuf,
    /// What stands before a key in messages, such as `text_config.` or `llama.`.
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

    /// The file that the keys are from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Removes a key that the family's own implementation does not read.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.map.shift_remove(*key);
        }
    }

    /// The value of `key`: absent is `None`, null is `Some(None)`.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<Option<T>>> {
        let Some(value) = self.map.shift_remove(key) else {
            return Ok(None);
        };
        match Option::<T>::deserialize(&value) {
            Ok(taken) => Ok(Some(taken)),
            Err(error) => Err(self.wrong(key, &format!("is {}: {error}", shown(&value)))),
        }
    }

    /// The value of a key, `default` where the key is absent or null.
    pub(super) fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        Ok(self.take(key)?.flatten().unwrap_or(default))
    }

    /// The value of a key for which null means none, `default` where the key is absent.
    pub(super) fn or_null<T: DeserializeOwned>(
        &mut self,
        key: &str,
        default: Option<T>,
    ) -> Result<Option<T>> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// The value of a key, if it is there and not null.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        self.or_null(key, None)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        let missing = format!("there is no `{}{key}`", self.prefix);
        self.get(key)?
            .ok_or_else(|| Error::format(&self.path, missing))
    }

    /// A number above 0, if the key is there and not null.
    pub(super) fn positive(&mut self, key: &str) -> Result<Option<f64>> {
        let number: Option<f64> = self.get(key)?;
        match number {
            Some(number) if !(number.is_finite() && number > 0.0) => {
                Err(self.wrong(key, &format!("is {number}, which is not above 0")))
            }
            _ => Ok(number),
        }
    }

    /// A number above 0, `default` where the key is absent or null.
    pub(super) fn positive_or(&mut self, key: &str, default: f64) -> Result<f64> {
        Ok(self.positive(key)?.unwrap_or(default))
    }

    /// A number above 0 that must be there.
    pub(super) fn required_positive(&mut self, key: &str) -> Result<f64> {
        match self.positive(key)? {
            Some(number) => Ok(number),
            None => self.required(key),
        }
    }

    /// A count of at least 1 for which null means none, `default` where the key is absent.
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

    /// A soft cap above 0 for which null means none, `default` where the key is absent.
    pub(super) fn cap(&mut self, key: &str, default: Option<f64>) -> Result<Option<f32>> {
        let absent = !self.has(key);
        let cap = self.positive(key)?;
        Ok(if absent { default } else { cap }.map(|cap| cap as f32))
    }

    /// The keys of an object within, if it is there and not null.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Keys>> {
        let map: Option<Map<String, Value>> = self.get(key)?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(map.map(|map| Keys::new(&self.path, &prefix, map)))
    }

    /// A key whose value breaks the format.
    pub(super) fn wrong(&self, key: &str, what: &str) -> Error {
        Error::format(&self.path, format!("`{}{key}` {what}", self.prefix))
    }

    /// A key whose value asks for what saescope does not do.
    pub(super) fn unsupported(&self, key: &str, what: &str) -> Error {
        Error::Unsupported {
            path: self.path.clone(),
            reason: format!("`{}{key}` {what}", self.prefix),
        }
    }

    /// Refuses, by name, what nobody took, unless it cannot change the maths.
    pub(super) fn finish(self) -> Result<()> {
        for (key, value) in &self.map {
            if known::is_harmless(key) {
                continue;
            }
            let refused = |why: &str| {
                let reason = format!("is {}, {why}", shown(value));
                Err(self.unsupported(key, &reason))
            };
            match known::rule_of(key) {
                Some(rule) if (rule.is_neutral)(value) => {}
                Some(rule) => return refused(rule.why),
                None if known::is_empty(value) => {}
                None => return refused("a key that saescope does not know for this model"),
            }
        }
        Ok(())
    }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}...")
}
