//! Reads the documents of a file of any format, one after another.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::TextUnit;
use super::open::{Source, open};
use super::parquet::{Parquet, ParquetError};
use super::template::Template;
use crate::checkpoint::File;
use crate::error::{Error, Result};

/// Bytes of the longest document, and of the longest line: a novel has one million.
pub(super) const MAX_DOCUMENT: usize = 16 << 20;

/// Most bytes of a Parquet file that is held in memory instead of mapped, because the file itself is
/// compressed.
const MAX_HELD: u64 = 1 << 30;

/// Format of a file, by its name. A Parquet file is also recognised by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    JsonLines,
    Parquet,
}

impl Format {
    /// The format that the extension gives, apart from one of a compression.
    pub(super) fn of(path: &Path) -> Format {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let plain = [".gz", ".zst", ".zstd"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        match plain.rsplit_once('.').map(|(_, extension)| extension) {
            Some("jsonl" | "ndjson" | "json") => Format::JsonLines,
            Some("parquet") => Format::Parquet,
            _ => Format::Text,
        }
    }
}

/// Cuts files into documents.
pub(super) struct DocumentReader<'a> {
    pub(super) template: &'a Template,
    pub(super) text: TextUnit,
}

/// Receives documents one after another, with the number of bytes of their file read so far.
pub(super) type DocumentSink<'a> = &'a mut dyn FnMut(String, u64) -> Result<()>;

impl DocumentReader<'_> {
    /// Hands every document of the file at `path` to `take`, except those of white space alone.
    pub(super) fn documents(&self, path: &Path, take: DocumentSink) -> Result<()> {
        let mut some = |document: String, read: u64| {
            if document.trim().is_empty() {
                Ok(())
            } else {
                take(document, read)
            }
        };
        let mut source = open(path)?;
        let start = source.bytes.fill_buf();
        let start = start.map_err(|e| Error::format(path, format!("it cannot be read: {e}")))?;
        if start.starts_with(b"PAR1") || Format::of(path) == Format::Parquet {
            return self.parquet(path, source, &mut some);
        }
        let lines = Lines::new(path, source);
        match (Format::of(path), self.text) {
            (Format::JsonLines, _) => self.json_lines(lines, &mut some),
            (_, TextUnit::Paragraph) => paragraphs(lines, &mut some),
            (_, TextUnit::Line) => single_lines(lines, &mut some),
            (_, TextUnit::File) => whole(lines, &mut some),
        }
    }

    fn json_lines(&self, mut lines: Lines, take: DocumentSink) -> Result<()> {
        while let Some(line) = lines.next()? {
            if line.trim().is_empty() {
                continue;
            }
            let value = parse(line).map_err(|reason| lines.error(&reason))?;
            let document = self
                .template
                .render(|field| json_field(&value, field).map_err(|e| lines.error(&e)))?;
            take(document, lines.read.get())?;
        }
        Ok(())
    }

    fn parquet(&self, path: &Path, source: Source, take: DocumentSink) -> Result<()> {
        let len = std::fs::metadata(path)
            .map_err(|e| Error::io(path, e))?
            .len();
        let file = if source.compressed {
            let mut bytes = Vec::new();
            let mut limited = source.bytes.take(MAX_HELD + 1);
            let read = limited.read_to_end(&mut bytes);
            read.map_err(|e| Error::format(path, e.to_string()))?;
            if bytes.len() as u64 > MAX_HELD {
                let reason = "it is longer than 1 GiB once decompressed; decompress it first";
                return Err(Error::format(path, reason));
            }
            File::held(path, bytes)
        } else {
            File::open(path)?
        };
        let parquet = Parquet::open(file.bytes()).map_err(|e| Error::format(path, e))?;
        let mut fields: Vec<&str> = self.template.fields().collect();
        fields.sort_unstable();
        fields.dedup();
        let total = parquet.n_rows().max(1);
        let rows = parquet.rows(&fields, |row, texts| {
            let document = self.template.render(|field| {
                let column = fields.iter().position(|known| *known == field);
                Ok(column.map_or(Cow::Borrowed(""), |column| {
                    Cow::Borrowed(texts[column].as_str())
                }))
            });
            let read = (u128::from(len) * u128::from(row) / u128::from(total)) as u64;
            let taken = document.and_then(|document| take(document, read.min(len)));
            taken.map_err(RowsError::Taken)
        });
        rows.map_err(|stop| match stop {
            RowsError::Taken(error) => error,
            RowsError::ParquetError(ParquetError { row: 0, reason }) => Error::format(path, reason),
            RowsError::ParquetError(ParquetError { row, reason }) => {
                Error::format(path, format!("row {row}: {reason}"))
            }
        })
    }
}

/// Failure of reading the rows of a Parquet file: of the file, or of the receiver.
enum RowsError {
    ParquetError(ParquetError),
    Taken(Error),
}

impl From<ParquetError> for RowsError {
    fn from(broken: ParquetError) -> RowsError {
        RowsError::ParquetError(broken)
    }
}

fn parse(line: &str) -> Result<Value, String> {
    serde_json::from_str(line).map_err(|error| {
        let hint = match line.trim() {
            "[" => "; an array of objects is not supported, write one object per line (JSON Lines)",
            _ => "",
        };
        format!("not JSON: {error}{hint}")
    })
}

/// A field of a JSON object as text; `a.b` is the field `b` of the object `a`.
fn json_field<'a>(record: &'a Value, field: &str) -> Result<Cow<'a, str>, String> {
    let mut value = record;
    // A field of exactly this name comes before a path through objects.
    match record.get(field) {
        Some(found) => value = found,
        None => {
            for name in field.split('.') {
                value = value
                    .get(name)
                    .ok_or_else(|| missing_field(field, record))?;
            }
        }
    }
    match value {
        Value::Null => Ok(Cow::Borrowed("")),
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) => Ok(Cow::Owned(number.to_string())),
        Value::Bool(bool) => Ok(Cow::Borrowed(if *bool { "true" } else { "false" })),
        Value::Array(_) => Err(format!("the field `{field}` is a list, not text")),
        Value::Object(_) => Err(format!(
            "the field `{field}` is an object, not text; name one of its fields, as in {field}.NAME"
        )),
    }
}

fn missing_field(field: &str, record: &Value) -> String {
    const SHOWN: usize = 12;
    let Some(object) = record.as_object() else {
        return "not an object with fields".to_owned();
    };
    let names: Vec<&str> = object.keys().map(String::as_str).take(SHOWN).collect();
    format!(
        "there is no field `{field}`; there are {}; name one as the template (each file may have its own)",
        names.join(", ")
    )
}

fn paragraphs(mut lines: Lines, take: DocumentSink) -> Result<()> {
    let mut paragraph = String::new();
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            take(std::mem::take(&mut paragraph), lines.read.get())?;
            continue;
        }
        if !paragraph.is_empty() {
            paragraph.push('\n');
        }
        paragraph.push_str(line);
        if paragraph.len() > MAX_DOCUMENT {
            return Err(lines.error(&too_long("paragraph")));
        }
    }
    take(paragraph, lines.read.get())
}

fn single_lines(mut lines: Lines, take: DocumentSink) -> Result<()> {
    while let Some(line) = lines.next()? {
        take(line.to_owned(), lines.read.get())?;
    }
    Ok(())
}

fn whole(mut lines: Lines, take: DocumentSink) -> Result<()> {
    let mut text = String::new();
    while let Some(line) = lines.next()? {
        text.push_str(line);
        text.push('\n');
        if text.len() > MAX_DOCUMENT {
            return Err(lines.error(&too_long("file")));
        }
    }
    text.pop();
    take(text, lines.read.get())
}

fn too_long(what: &str) -> String {
    let limit = MAX_DOCUMENT >> 20;
    format!("the {what} is longer than {limit} MiB, the limit of a document; cut it")
}

/// The lines of a file.
struct Lines {
    path: PathBuf,
    bytes: Box<dyn BufRead>,
    read: Rc<Cell<u64>>,
    /// Number of the line last read, from 1.
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    fn new(path: &Path, source: Source) -> Lines {
        Lines {
            path: path.to_path_buf(),
            bytes: source.bytes,
            read: source.read,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next line without its end.
    fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.bytes).take(MAX_DOCUMENT as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        match read {
            Err(error) => {
                let number = self.number;
                let reason = format!("line {number} cannot be read: {error}");
                return Err(Error::format(&self.path, reason));
            }
            Ok(0) => return Ok(None),
            Ok(_) if self.line.len() > MAX_DOCUMENT => {
                return Err(self.error(&too_long("line")));
            }
            Ok(_) => {}
        }
        let mut line: &[u8] = &self.line;
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        match std::str::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let at = error.valid_up_to();
                let (path, number) = (&self.path, self.number);
                let reason = format!("line {number}: byte {at} is not UTF-8; convert the file");
                Err(Error::format(path, reason))
            }
        }
    }

    fn error(&self, reason: &str) -> Error {
        Error::format(&self.path, format!("line {}: {reason}", self.number))
    }
}
