//! Tables of cells in text: CSV, TSV and their like, whose first row names the columns.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ReaderBuilder, StringRecord};

use super::open::MAX_DOCUMENT;
use super::template::{DEFAULT_FIELD, Template};

/// Separators of cells, the likeliest first.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// The separator of the cells of a table. `named` tells whether the file's name is that of a table, and
/// then if its cells are separated by tabs. Other files are tables only if their first row names every
/// field of the template and the second has as many cells.
pub(super) fn delimiter(
    head: &[u8],
    template: Option<&Template>,
    named: Option<bool>,
) -> Option<u8> {
    let fields: Vec<&str> = template.map_or_else(|| vec![DEFAULT_FIELD], |t| t.fields().collect());
    let mut best: Option<(bool, usize, u8)> = None;
    for delimiter in DELIMITERS {
        let mut rows = first_rows(head, delimiter).into_iter();
        let names = rows.next()?;
        let fits = rows.next().is_none_or(|second| second.len() == names.len());
        let all = fields
            .iter()
            .all(|field| names.iter().any(|name| name == *field));
        let alike = if fits { names.len() } else { 1 };
        let found = (all && (fits || named.is_some()), alike, delimiter);
        if best.is_none_or(|(known, columns, _)| (found.0, found.1) > (known, columns)) {
            best = Some(found);
        }
    }
    let (all, columns, delimiter) = best?;
    match named {
        None => (all && columns > 1).then_some(delimiter),
        Some(true) if !all && columns == 1 => Some(b'\t'),
        Some(_) => Some(delimiter),
    }
}

/// The first two rows of a text, as far as they can be read.
fn first_rows(head: &[u8], delimiter: u8) -> Vec<StringRecord> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut builder = ReaderBuilder::new();
    builder
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter);
    builder
        .from_reader(head)
        .records()
        .take(2)
        .map_while(Result::ok)
        .collect()
}

/// The rows of a table.
pub(super) struct Table {
    rows: csv::Reader<Watched>,
    watch: Rc<RefCell<Watch>>,
    names: StringRecord,
    row: StringRecord,
}

impl Table {
    /// Reads the names of the columns.
    pub(super) fn open(bytes: Box<dyn BufRead>, delimiter: u8) -> Result<Table, String> {
        let watch = Rc::new(RefCell::new(Watch {
            delimiter,
            place: Place::Begin,
            line: 1,
            opened: 1,
            len: 0,
        }));
        let watched = Watched {
            bytes,
            watch: Rc::clone(&watch),
            first: true,
        };
        let mut builder = ReaderBuilder::new();
        let mut rows = builder.delimiter(delimiter).from_reader(watched);
        let names = rows.headers().map_err(|error| reason(&error))?.clone();
        Ok(Table {
            rows,
            watch,
            names,
            row: StringRecord::new(),
        })
    }

    /// Finds a column by its name.
    pub(super) fn column(&self, name: &str) -> Result<usize, String> {
        let mut found = self
            .names
            .iter()
            .enumerate()
            .filter(|(_, known)| *known == name);
        let Some((column, _)) = found.next() else {
            let names: Vec<&str> = self.names.iter().collect();
            return Err(super::record::missing(name, names.into_iter()));
        };
        match found.next() {
            Some(_) => Err(format!("two columns are called `{name}`")),
            None => Ok(column),
        }
    }

    /// Reads the next row; false after the last.
    pub(super) fn next(&mut self) -> Result<bool, String> {
        self.watch.borrow_mut().len = 0;
        let read = self.rows.read_record(&mut self.row);
        if read.map_err(|error| reason(&error))? {
            return Ok(true);
        }
        let watch = self.watch.borrow();
        match watch.place {
            Place::Quoted => Err(format!(
                "line {}: the quotation mark of a cell is never closed",
                watch.opened
            )),
            _ => Ok(false),
        }
    }

    /// A cell of the row last read.
    pub(super) fn cell(&self, column: usize) -> Cow<'_, str> {
        Cow::Borrowed(self.row.get(column).unwrap_or_default())
    }

    /// The line on which the row last read begins.
    pub(super) fn line(&self) -> u64 {
        self.row.position().map_or(1, csv::Position::line)
    }
}

/// The reason of an error with its line.
fn reason(error: &csv::Error) -> String {
    let line = |position: &Option<csv::Position>| {
        position
            .as_ref()
            .map_or(String::new(), |at| format!("line {}: ", at.line()))
    };
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "{}{len} cells under {expected_len} names; the separator may be another, or a quotation mark be \
             amiss",
            line(pos)
        ),
        csv::ErrorKind::Utf8 { pos, .. } => format!("{}not UTF-8; convert the file", line(pos)),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// Place of a byte in a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    Plain,
    Quoted,
    /// After a quotation mark in a quoted cell, which ends it or is the first of two.
    Mark,
}

/// Knowledge of the bytes that the parser has taken.
struct Watch {
    delimiter: u8,
    place: Place,
    line: u64,
    /// The line of the last quotation mark that opened a cell.
    opened: u64,
    /// Bytes since the last row.
    len: usize,
}

impl Watch {
    fn see(&mut self, byte: u8) {
        let ends = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        self.place = match (self.place, byte) {
            (Place::Begin, b'"') => {
                self.opened = self.line;
                Place::Quoted
            }
            (Place::Quoted, b'"') => Place::Mark,
            (Place::Quoted, _) | (Place::Mark, b'"') => Place::Quoted,
            _ if ends => Place::Begin,
            _ => Place::Plain,
        };
        self.line += u64::from(byte == b'\n');
    }
}

/// The bytes of a table, watched for rows without an end: the parser would hold the rest of the file.
struct Watched {
    bytes: Box<dyn BufRead>,
    watch: Rc<RefCell<Watch>>,
    first: bool,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = self.bytes.read(buffer)?;
        // The parser does not count a byte order mark as part of the first name, but quotes would.
        if self.first && buffer[..read].starts_with(b"\xef\xbb\xbf") {
            buffer.copy_within(3..read, 0);
            read -= 3;
        }
        self.first = false;
        let mut watch = self.watch.borrow_mut();
        buffer[..read].iter().for_each(|byte| watch.see(*byte));
        watch.len += read;
        if watch.len > 2 * MAX_DOCUMENT {
            let limit = MAX_DOCUMENT >> 20;
            let reason = format!(
                "line {}: a row of more than {limit} MiB; a quotation mark may not be closed",
                watch.opened
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(read)
    }
}
