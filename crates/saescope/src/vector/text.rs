//! Sets of texts in files, and seeded samples of them.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::stand_in;

/// Bound of a file's size, in bytes; a set of examples is far smaller.
const MAX_FILE: u64 = 1 << 30;

/// Selection of records of a JSON Lines file, and the field of their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Name of the field with the text.
    pub text: String,
    /// Name of the field with the label, or with a list of labels.
    pub label_field: String,
    /// The only label that a record must have; `None` selects all records.
    pub label: Option<String>,
}

/// Reads texts: one per line or, if the file's name ends in `.jsonl`, one per record of `selection`.
/// Empty texts are omitted.
///
/// # Errors
/// When the file cannot be read, a record lacks the fields, or there is no text.
pub fn read(path: &Path, selection: &Selection) -> Result<Vec<String>> {
    let content = read_file(path)?;
    let mut texts = Vec::new();
    if path.extension().is_some_and(|e| e == "jsonl") {
        let records = content.lines().enumerate();
        for (line, record) in records.filter(|(_, record)| !record.trim().is_empty()) {
            let text = selection
                .text_of(record)
                .map_err(|reason| Error::format(path, format!("line {}: {reason}", line + 1)))?;
            texts.extend(text);
        }
    } else {
        if selection.label.is_some() {
            let reason = "only JSON Lines have labels; name such a file `….jsonl`";
            return Err(Error::format(path, reason));
        }
        texts.extend(content.lines().map(str::to_owned));
    }
    texts.retain(|text| !text.trim().is_empty());
    if texts.is_empty() {
        let reason = match &selection.label {
            Some(label) => format!(
                "no record has `{label}` as its only label in `{}`",
                selection.label_field
            ),
            None => "the file holds no text".to_owned(),
        };
        return Err(Error::format(path, reason));
    }
    Ok(texts)
}

/// Reads all texts of a file: its lines, or the field `text` of each record of JSON Lines.
///
/// # Errors
/// As [`read`].
pub fn read_all(path: &Path) -> Result<Vec<String>> {
    let selection = Selection {
        text: "text".to_owned(),
        label_field: String::new(),
        label: None,
    };
    read(path, &selection)
}

impl Selection {
    /// The text of a record, if the record is selected.
    fn text_of(&self, record: &str) -> Result<Option<String>, String> {
        let record: Value = serde_json::from_str(record).map_err(|error| error.to_string())?;
        let field = |name: &str| {
            let value = record.get(name);
            value.ok_or_else(|| format!("there is no field `{name}`"))
        };
        if let Some(label) = &self.label {
            let chosen = match field(&self.label_field)? {
                Value::String(found) => found == label,
                Value::Array(all) => matches!(&all[..], [Value::String(only)] if only == label),
                other => {
                    let printed = other.to_string();
                    printed == *label
                }
            };
            if !chosen {
                return Ok(None);
            }
        }
        match field(&self.text)? {
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(format!("the field `{}` is not a string", self.text)),
        }
    }
}

/// Draws `limit` of `all` without replacement, in their order; all of them if there are no more. The
/// same seed draws the same ones.
pub fn sample<T>(all: Vec<T>, limit: usize, seed: u64) -> Vec<T> {
    if all.len() <= limit {
        return all;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut left = limit;
    let mut open = all.len() as u64;
    // Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S).
    let mut draws = |_: &T| {
        let drawn = random.next_u64() % open < left as u64;
        open -= 1;
        left -= usize::from(drawn);
        drawn
    };
    all.into_iter().filter(|item| draws(item)).collect()
}

/// The text in a file.
pub(super) fn read_file(path: &Path) -> Result<String> {
    let len = std::fs::metadata(path)
        .map_err(|e| Error::io(path, e))?
        .len();
    if len > MAX_FILE {
        let reason =
            format!("{len} bytes are too many for a set of texts; at most {MAX_FILE} are read");
        return Err(Error::format(path, reason));
    }
    let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    // A page or the answer of a server may be a text of the set.
    if let Some(pointer) = stand_in::pointer(&text) {
        return Err(pointer.error(path));
    }
    String::from_utf8(text).map_err(|e| Error::format(path, format!("not UTF-8 text: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(label: Option<&str>) -> Selection {
        Selection {
            text: "text".to_owned(),
            label_field: "emotions".to_owned(),
            label: label.map(str::to_owned),
        }
    }

    #[test]
    fn a_record_is_selected_by_its_only_label() {
        let joy = selection(Some("joy"));
        let text = |record: &str| joy.text_of(record).unwrap();
        assert_eq!(
            text(r#"{"text":"a","emotions":["joy"]}"#).as_deref(),
            Some("a")
        );
        assert_eq!(
            text(r#"{"text":"a","emotions":"joy"}"#).as_deref(),
            Some("a")
        );
        assert_eq!(text(r#"{"text":"a","emotions":["joy","anger"]}"#), None);
        assert_eq!(text(r#"{"text":"a","emotions":[]}"#), None);
        assert!(joy.text_of(r#"{"text":"a"}"#).is_err());
        assert!(joy.text_of(r#"{"text":1,"emotions":"joy"}"#).is_err());
    }

    #[test]
    fn a_sample_has_the_size_and_order_asked_for_and_depends_on_the_seed() {
        let all: Vec<u32> = (0..100).collect();
        let drawn = sample(all.clone(), 30, 7);
        assert_eq!(drawn.len(), 30);
        assert!(drawn.is_sorted());
        assert_eq!(drawn, sample(all.clone(), 30, 7));
        assert_ne!(drawn, sample(all.clone(), 30, 8));
        assert_eq!(sample(all.clone(), 100, 7), all);
    }
}
