//! Sets of texts in files, and drawing some of them.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::error::{Error, Result};

/// Files of texts larger than this are no sets of examples.
const MAX_FILE: u64 = 1 << 30;

/// Which records of a JSON Lines file are meant, and where their text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The field with the text.
    pub text: String,
    /// The field with the label, or a list of labels.
    pub label_field: String,
    /// The label that a record must have, and no other; all records count without one.
    pub label: Option<String>,
}

/// Reads texts: one per line or, in a file whose name ends in `.jsonl`, one per record that
/// `selection` chooses. Empty texts are left out.
///
/// # Errors
/// When the file cannot be read, a record is no object with such fields, or no text is left.
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
            let reason = "only JSON Lines have labels, in a file named `….jsonl`";
            return Err(Error::format(path, reason));
        }
        texts.extend(content.lines().map(str::to_owned));
    }
    texts.retain(|text| !text.trim().is_empty());
    if texts.is_empty() {
        let reason = match &selection.label {
            Some(label) => format!(
                "no record has the {} `{label}` alone",
                selection.label_field
            ),
            None => "there is no text in it".to_owned(),
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
    /// The text of a record, if the record is chosen.
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
                // A number, as it is written.
                other => {
                    let written = other.to_string();
                    written == *label
                }
            };
            if !chosen {
                return Ok(None);
            }
        }
        match field(&self.text)? {
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(format!("field `{}` is not a text", self.text)),
        }
    }
}

/// Draws `limit` of `all` without putting back, the same for the same seed, in their order; all of
/// them when there are no more.
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
        let reason = format!("{len} bytes are too many for a set of texts");
        return Err(Error::format(path, reason));
    }
    std::fs::read_to_string(path).map_err(|e| Error::io(path, e))
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
    fn a_record_is_chosen_by_its_only_label() {
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
    fn a_sample_is_as_large_as_asked_in_order_and_the_seeds() {
        let all: Vec<u32> = (0..100).collect();
        let drawn = sample(all.clone(), 30, 7);
        assert_eq!(drawn.len(), 30);
        assert!(drawn.is_sorted());
        assert_eq!(drawn, sample(all.clone(), 30, 7));
        assert_ne!(drawn, sample(all.clone(), 30, 8));
        assert_eq!(sample(all.clone(), 100, 7), all);
    }
}
