//! Sets of texts in files, and seeded samples of them.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;

use crate::corpus::{self, Item};
use crate::error::{Error, Result};
use crate::stand_in;

/// Bound of a file's size, in bytes; a set of examples is far smaller.
const MAX_FILE: u64 = 1 << 30;
/// Bound of the texts of a file, in bytes.
const MAX_TEXT: usize = 1 << 30;

/// Selection of the records of a file, and the field of their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Name of the field with the text.
    pub text: String,
    /// Name of the field with the label, or with a list of labels.
    pub label_field: String,
    /// The only label that a record must have; `None` selects all records.
    pub label: Option<String>,
}

/// Reads texts: one per line of plain text, one per record of `selection` of JSON, tables, Parquet and Arrow,
/// or one per string of a JSON array. The first bytes of the file give its format. Empty texts are omitted.
///
/// # Errors
/// When the file cannot be read, a record lacks the fields, or there is no text.
pub fn read(path: &Path, selection: &Selection) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut len = 0;
    let mut fields = vec![selection.text.as_str()];
    if selection.label.is_some() {
        fields.push(&selection.label_field);
    }
    corpus::items(path, &fields, &mut |item| {
        let text = match item {
            Item::Line(_) if selection.label.is_some() => {
                return Err(
                    "plain text has no labels; records of JSON or of a table have".to_owned(),
                );
            }
            Item::Line(line) => Some(line.to_owned()),
            Item::Record(record) => selection.text_of(record)?,
        };
        let text = text.filter(|text| !text.trim().is_empty());
        len += text.as_ref().map_or(0, String::len);
        if len > MAX_TEXT {
            return Err(format!(
                "over {MAX_TEXT} bytes are too many for a set of texts; take fewer"
            ));
        }
        texts.extend(text);
        Ok(())
    })?;
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

/// Reads all texts of a file: its lines, or the field `text` of each of its records.
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
    fn text_of(&self, record: &Value) -> Result<Option<String>, String> {
        if let (Value::String(text), None) = (record, &self.label) {
            return Ok(Some(text.clone()));
        }
        let field = |name: &str| {
            let value = record.get(name);
            value.ok_or_else(|| {
                let there: Vec<&str> = record
                    .as_object()
                    .into_iter()
                    .flat_map(|object| object.keys().map(String::as_str))
                    .take(12)
                    .collect();
                match there.is_empty() {
                    true => format!("there is no field `{name}`"),
                    false => format!("there is no field `{name}`; there are {}", there.join(", ")),
                }
            })
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
            Value::Null => Ok(None),
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
        let text_of = |record: &str| joy.text_of(&serde_json::from_str(record).unwrap());
        let text = |record: &str| text_of(record).unwrap();
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
        assert!(text_of(r#"{"text":"a"}"#).is_err());
        assert!(text_of(r#"{"text":1,"emotions":"joy"}"#).is_err());
    }

    #[test]
    fn a_set_is_read_by_its_content_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, content: &[u8], label| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            read(&path, &selection(label))
        };
        let lines = b"{\"text\": \"a\", \"emotions\": [\"joy\"]}\n{\"text\": \"b\", \"emotions\": \"anger\"}\n";
        for name in ["x.jsonl", "x.json", "x.txt", "x"] {
            assert_eq!(read(name, lines, None).unwrap(), ["a", "b"]);
            assert_eq!(read(name, lines, Some("anger")).unwrap(), ["b"]);
        }
        let array =
            b"[{\"text\": \"a\", \"emotions\": \"joy\"},\n {\"text\": \"b\", \"emotions\": 3}]";
        assert_eq!(read("x", array, Some("3")).unwrap(), ["b"]);
        assert_eq!(read("x.json", b"[\"a\", \"b\"]", None).unwrap(), ["a", "b"]);
        let table = b"emotions,text\njoy,\"a, b\"\nanger,c\n";
        assert_eq!(read("x.csv", table, Some("joy")).unwrap(), ["a, b"]);
        assert_eq!(read("x", table, None).unwrap(), ["a, b", "c"]);
        let columns = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/corpora/stream.arrow"
        );
        let columns = std::fs::read(columns).unwrap();
        assert!(!read("x", &columns, None).unwrap().is_empty());
        assert!(read("x.jsonl", b"one\ntwo", None).is_err());
        assert_eq!(
            read("x.txt", b"one\n\n two\n", None).unwrap(),
            ["one", " two"]
        );
        let error = read("x.txt", b"one\n", Some("joy"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no labels"), "{error}");
        let error = read("x", b"{\"a\": 1}\n", None).unwrap_err().to_string();
        assert!(error.contains("`text`; there are a"), "{error}");
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
