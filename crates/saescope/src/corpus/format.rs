//! Formats of files, found by their first bytes; the name decides between those that bytes leave open.

use std::io::{BufRead, Cursor, Read};
use std::path::Path;

use super::json;
use super::open::{MAX_DOCUMENT, Source};
use super::table;
use super::template::Template;
use crate::error::{Error, Result};
use crate::stand_in;
use crate::stand_in::magic::{self, Purpose};

/// Bytes of a file that are looked at.
const HEAD: u64 = 64 << 10;

/// Format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text without records.
    Text,
    /// A JSON object per line.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// JSON objects one after another, each over as many lines as it likes.
    JsonObjects,
    /// Rows of cells, separated by this byte, under a row of names.
    Table(u8),
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow's file, which ends with a directory.
    ArrowFile,
    /// Apache Arrow's stream.
    ArrowStream,
}

/// Extensions of JSON files of any kind.
const JSON: [&str; 4] = ["jsonl", "ndjson", "json", "jsonlines"];
/// Extensions of tables.
const TABLES: [&str; 3] = ["csv", "tsv", "tab"];

impl Format {
    /// The format that the name alone gives, apart from the end that names a compression. It was all that
    /// earlier versions looked at.
    pub(super) fn by_name(path: &Path) -> Format {
        match extension(path).as_str() {
            "jsonl" | "ndjson" | "json" => Format::JsonLines,
            "parquet" => Format::Parquet,
            _ => Format::Text,
        }
    }

    /// Reads the beginning of a file and finds its format; `source` then begins anew. `template` is the one
    /// that was given, if there is one.
    pub(super) fn find(
        path: &Path,
        source: Source,
        template: Option<&Template>,
    ) -> Result<(Format, Source)> {
        let failed = |e: std::io::Error| Error::format(path, format!("it cannot be read: {e}"));
        let mut bytes = source.bytes;
        let mut head = Vec::new();
        (&mut bytes)
            .take(HEAD)
            .read_to_end(&mut head)
            .map_err(failed)?;
        // The line of an object is read to its end.
        if first(&head) == Some(b'{') && !head.contains(&b'\n') {
            let mut rest = (&mut bytes).take(MAX_DOCUMENT as u64);
            rest.read_until(b'\n', &mut head).map_err(failed)?;
        }
        let format = of_head(path, &head, template)?;
        let source = Source {
            bytes: Box::new(Cursor::new(head).chain(bytes)),
            ..source
        };
        Ok((format, source))
    }
}

/// The extension in lower case, without that of a compression.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let plain = [".gz", ".zst", ".zstd"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(&name);
    let extension = plain.rsplit_once('.').map(|(_, extension)| extension);
    extension.unwrap_or_default().to_owned()
}

/// The first byte that is not blank, after a byte order mark.
fn first(head: &[u8]) -> Option<u8> {
    text(head).first().copied()
}

/// The text of a head from its first byte that is not blank.
fn text(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.trim_ascii_start()
}

fn of_head(path: &Path, head: &[u8], template: Option<&Template>) -> Result<Format> {
    if head.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if head.starts_with(b"ARROW1") {
        return Ok(Format::ArrowFile);
    }
    // The mark of a message; then the length of its head, which no schema makes large.
    if let [0xff, 0xff, 0xff, 0xff, _, _, _, high, ..] = head
        && *high < 0x80
    {
        return Ok(Format::ArrowStream);
    }
    let found = stand_in::pointer(head).or_else(|| magic::foreign(head, Purpose::Texts));
    if let Some(found) = found {
        return Err(found.error(path));
    }
    let extension = extension(path);
    // Under another name a page may be the text that is meant.
    let records = [
        JSON.as_slice(),
        &TABLES,
        &["parquet", "arrow", "feather", "ipc"],
    ]
    .concat();
    if records.contains(&extension.as_str())
        && let Some(page) = stand_in::page(head)
    {
        return Err(page.error(path));
    }
    if let Some(format) = json_format(head, JSON.contains(&extension.as_str())) {
        return Ok(format);
    }
    match extension.as_str() {
        "parquet" => return Err(Error::format(path, "not a Parquet file")),
        "arrow" | "feather" | "ipc" => {
            let reason = "not an Arrow file or stream; write it with pyarrow 0.15 or newer";
            return Err(Error::format(path, reason));
        }
        _ => {}
    }
    let named = TABLES.contains(&extension.as_str());
    let tab = extension == "tsv" || extension == "tab";
    let delimiter = table::delimiter(head, template, named.then_some(tab));
    Ok(delimiter.map_or(Format::Text, Format::Table))
}

/// The kind of JSON, if it is JSON; `named` where the name says so.
fn json_format(head: &[u8], named: bool) -> Option<Format> {
    let text = text(head);
    match text.first()? {
        b'[' => {
            let element = text[1..].trim_ascii_start();
            let object = element.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
            let object =
                object.is_some_and(|inner| inner.starts_with(b"\"") || inner.starts_with(b"}"));
            (named || object).then_some(Format::JsonArray)
        }
        b'{' => {
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
            if json::is_object(line) {
                Some(Format::JsonLines)
            } else if json::begins_with_object(text) || (named && line.trim_ascii() == b"{") {
                Some(Format::JsonObjects)
            } else {
                named.then_some(Format::JsonLines)
            }
        }
        _ => named.then_some(Format::JsonLines),
    }
}
