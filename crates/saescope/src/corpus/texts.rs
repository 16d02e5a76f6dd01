//! Files of texts and of records, for those who need no ids: sets of examples, lists of prompts.

use std::path::Path;

use serde_json::Value;

use super::format::Format;
use super::open::open;
use super::read;
use super::record::RecordFields;
use super::template::Template;
use crate::error::{Error, Result};

/// One of the things that a file holds.
pub(crate) enum Item<'a> {
    /// A line of plain text.
    Line(&'a str),
    /// A record with at least the fields that were asked for and that it has.
    Record(&'a Value),
}

/// Hands what a file holds to `take`: lines of text, or records of JSON, tables, Parquet and Arrow with these
/// `fields`. The file's first bytes give its format, as those of a corpus. A reason that `take` returns becomes
/// an error with the place in the file.
///
/// # Errors
/// When the file cannot be read, or `take` refuses an item.
pub(crate) fn items(
    path: &Path,
    fields: &[&str],
    take: &mut dyn FnMut(Item) -> Result<(), String>,
) -> Result<()> {
    let template = Template::of_fields(fields);
    let (format, source) = Format::find(path, open(path)?, Some(&template))?;
    if format == Format::Text {
        return read::lines(path, source, &mut |line| {
            take(Item::Line(line)).map_err(|reason| Error::format(path, reason))
        });
    }
    let fields = RecordFields {
        template: &template,
        labels: None,
    };
    read::records(path, (format, source), fields, &mut |record| {
        take(Item::Record(&record.value)).map_err(|reason| record.error(path, &reason))
    })
}
