//! Reads the documents of a file of any format, one after another.

use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::TextUnit;
use super::columns;
use super::format::Format;
use super::json::{self, Values};
use super::open::{MAX_DOCUMENT, Source, open, too_long};
use super::record::{Document, RecordFields};
use super::table::Table;
use super::template::Template;
use crate::checkpoint::File;
use crate::error::{Error, Result};

/// Most bytes of a file that is held in memory instead of mapped, because the file itself is compressed and
/// its format is read from more than one place.
const MAX_HELD: u64 = 1 << 30;

/// Cuts files into documents.
pub(super) struct DocumentReader<'a> {
    /// The template, if one is given.
    pub(super) template: Option<&'a Template>,
    /// The field of a record's labels.
    pub(super) labels: Option<&'a str>,
    pub(super) text: TextUnit,
}

/// A document and its place in a file.
pub(super) struct Found {
    pub(super) document: Document,
    pub(super) labels: Vec<String>,
    /// Line, row or record.
    pub(super) unit: &'static str,
    /// Number of the unit, from 1.
    pub(super) number: u64,
    /// Bytes of the file read so far.
    pub(super) read: u64,
}

/// Receives documents one after another.
pub(super) type DocumentSink<'a> = &'a mut dyn FnMut(Found) -> Result<()>;

impl DocumentReader<'_> {
    /// The format of the file at `path`.
    pub(super) fn format(&self, path: &Path) -> Result<Format> {
        Ok(Format::find(path, open(path)?, self.template)?.0)
    }

    /// Hands every document of the file at `path` to `take`, except those of white space alone.
    pub(super) fn documents(&self, path: &Path, take: DocumentSink) -> Result<()> {
        let mut some = |found: Found| {
            if found.document.is_blank() {
                Ok(())
            } else {
                take(found)
            }
        };
        let (format, source) = Format::find(path, open(path)?, self.template)?;
        if format == Format::Text {
            return self.plain(Lines::new(path, source), &mut some);
        }
        let default = Template::default_field();
        let fields = RecordFields {
            template: self.template.unwrap_or(&default),
            labels: self.labels,
        };
        records(path, (format, source), fields, &mut |record| {
            let read = fields.read(&record.value);
            let (document, labels) = read.map_err(|reason| record.error(path, &reason))?;
            some(Found {
                document,
                labels,
                unit: record.unit,
                number: record.number,
                read: record.read,
            })
        })
    }

    fn plain(&self, mut lines: Lines, take: DocumentSink) -> Result<()> {
        if self.template.is_some() && !lines.is_empty()? {
            let reason = "the template cannot apply: the file is plain text without fields (neither JSON nor \
                          Parquet nor Arrow, nor a table whose first row names the template's fields); name no \
                          template, or one for each file, `-` for plain text";
            return Err(Error::format(&lines.path, reason));
        }
        match self.text {
            TextUnit::Paragraph => paragraphs(lines, take),
            TextUnit::Line => single_lines(lines, take),
            TextUnit::File => whole(lines, take),
        }
    }
}

/// A record and its place in a file.
pub(super) struct Record {
    pub(super) value: Value,
    unit: &'static str,
    number: u64,
    read: u64,
}

impl Record {
    /// The error of a record that cannot be used.
    pub(super) fn error(&self, path: &Path, reason: &str) -> Error {
        let (unit, number) = (self.unit, self.number);
        Error::format(path, format!("{unit} {number}: {reason}"))
    }
}

/// Receives records one after another.
pub(super) type RecordSink<'a> = &'a mut dyn FnMut(Record) -> Result<()>;

/// Hands every record of an opened file of any format but text to `take`, with at least `fields`.
pub(super) fn records(
    path: &Path,
    (format, source): (Format, Source),
    fields: RecordFields,
    take: RecordSink,
) -> Result<()> {
    match format {
        Format::JsonLines | Format::Text => json_lines(Lines::new(path, source), take),
        Format::JsonArray => json_values(path, source, true, take),
        Format::JsonObjects => json_values(path, source, false, take),
        Format::Table(delimiter) => table(path, (source, delimiter), fields, take),
        Format::Parquet | Format::ArrowFile | Format::ArrowStream => {
            rows(path, (source, format), fields, take)
        }
    }
}

fn json_lines(mut lines: Lines, take: RecordSink) -> Result<()> {
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let value = json::parse(line).map_err(|reason| lines.error(&reason))?;
        take(Record {
            value,
            unit: "line",
            number: lines.number,
            read: lines.read.get(),
        })?;
    }
    Ok(())
}

fn json_values(path: &Path, source: Source, array: bool, take: RecordSink) -> Result<()> {
    let read = source.read;
    let mut values = Values::new(source.bytes, array);
    loop {
        let value = values
            .next()
            .and_then(|value| value.map(json::parse).transpose());
        let number = values.number;
        match value {
            Ok(Some(value)) => take(Record {
                value,
                unit: "record",
                number,
                read: read.get(),
            })?,
            Ok(None) => return Ok(()),
            Err(reason) => return Err(Error::format(path, format!("record {number}: {reason}"))),
        }
    }
}

/// The rows of a table, as objects of texts. A column of labels may be missing.
fn table(
    path: &Path,
    (source, delimiter): (Source, u8),
    fields: RecordFields,
    take: RecordSink,
) -> Result<()> {
    let broken = |reason: String| Error::format(path, reason);
    let read = source.read;
    let mut table = Table::open(source.bytes, delimiter).map_err(broken)?;
    let columns: Result<Vec<(&str, usize)>, String> = fields
        .template
        .fields()
        .map(|field| Ok((field, table.column(field)?)))
        .collect();
    let mut columns = columns.map_err(broken)?;
    let labels = fields
        .labels
        .and_then(|field| Some((field, table.column(field).ok()?)));
    columns.extend(labels);
    while table.next().map_err(broken)? {
        let cell = |(field, column): &(&str, usize)| {
            let cell = table.cell(*column).into_owned();
            ((*field).to_owned(), Value::String(cell))
        };
        take(Record {
            value: Value::Object(columns.iter().map(cell).collect()),
            unit: "line",
            number: table.line(),
            read: read.get(),
        })?;
    }
    Ok(())
}

/// The rows of a file of columns.
fn rows(
    path: &Path,
    (source, format): (Source, Format),
    fields: RecordFields,
    take: RecordSink,
) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let len = metadata.len();
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
    let mut failure = None;
    let read = columns::rows(file, format, fields, &mut |row| {
        let taken = take(Record {
            value: row.record,
            unit: "row",
            number: row.number,
            read: (row.done * len as f64) as u64,
        });
        taken.map_err(|error| {
            failure = Some(error);
            String::new()
        })
    });
    match (failure, read) {
        (Some(error), _) => Err(error),
        (None, read) => read.map_err(|reason| Error::format(path, reason)),
    }
}

/// Hands every line of an opened file of text to `take`.
pub(super) fn lines(
    path: &Path,
    source: Source,
    take: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::new(path, source);
    while let Some(line) = lines.next()? {
        take(line)?;
    }
    Ok(())
}

fn paragraphs(mut lines: Lines, take: DocumentSink) -> Result<()> {
    let mut paragraph = String::new();
    let mut first = 1;
    let found = |lines: &Lines, text: String, first: u64| Found {
        number: first,
        ..lines.found(Document::Text(text))
    };
    loop {
        let number = lines.number + 1;
        let Some(line) = lines.next()? else {
            return take(found(&lines, paragraph, first));
        };
        if line.trim().is_empty() {
            take(found(&lines, std::mem::take(&mut paragraph), first))?;
            continue;
        }
        if paragraph.is_empty() {
            first = number;
        } else {
            paragraph.push('\n');
        }
        paragraph.push_str(line);
        if paragraph.len() > MAX_DOCUMENT {
            return Err(lines.error(&too_long("paragraph")));
        }
    }
}

fn single_lines(mut lines: Lines, take: DocumentSink) -> Result<()> {
    while let Some(line) = lines.next()? {
        let document = Document::Text(line.to_owned());
        take(lines.found(document))?;
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
    take(lines.found(Document::Text(text)))
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

    /// True if there are no bytes at all.
    fn is_empty(&mut self) -> Result<bool> {
        let start = self
            .bytes
            .fill_buf()
            .map_err(|e| Error::io(&self.path, e))?;
        Ok(start.is_empty())
    }

    fn found(&self, document: Document) -> Found {
        Found {
            document,
            labels: Vec::new(),
            unit: "line",
            number: self.number,
            read: self.read.get(),
        }
    }

    fn error(&self, reason: &str) -> Error {
        Error::format(&self.path, format!("line {}: {reason}", self.number))
    }
}
