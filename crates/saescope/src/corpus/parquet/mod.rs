//! Reads columns of text out of Parquet files, in which data sets are published.
//!
//! A reader of its own for the needs of a corpus, texts in flat columns: files of unknown makers are read by
//! code that checks every length first, holds one page at a time, and never allocates by a file's claims.
//! Supported are Snappy, gzip, zstd and no compression; plain, dictionary and delta-length encodings; and
//! both versions of pages.

mod column;
mod meta;
mod thrift;
mod values;

use self::column::Column;
use self::meta::{Group, Leaf, Meta};

/// The type of a column whose values are bytes.
const BYTE_ARRAY: u64 = 6;
const KINDS: [&str; 8] = [
    "BOOLEAN",
    "INT32",
    "INT64",
    "INT96",
    "FLOAT",
    "DOUBLE",
    "BYTE_ARRAY",
    "FIXED_LEN_BYTE_ARRAY",
];
/// Most bytes of text and rows, for each byte of a file, beyond [`SMALL`].
const MAX_GROWTH: u64 = 1000;
/// Bytes of text and rows that any file may have.
const SMALL: u64 = 16 << 20;

/// A Parquet file.
pub(super) struct Parquet<'a> {
    bytes: &'a [u8],
    meta: Meta,
}

impl<'a> Parquet<'a> {
    /// Reads the metadata at the end of a file.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Parquet<'a>, String> {
        let end = bytes.len().checked_sub(8).filter(|end| *end >= 4);
        let (Some(end), true) = (end, bytes.starts_with(b"PAR1")) else {
            return Err("not a Parquet file".to_owned());
        };
        let (before, tail) = bytes.split_at(end);
        match &tail[4..] {
            b"PAR1" => {}
            b"PARE" => return Err("it is encrypted".to_owned()),
            _ => return Err("it does not end as a Parquet file; it may be cut off".to_owned()),
        }
        let len = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
        let start = before.len().checked_sub(len);
        let start = start.ok_or("its metadata is longer than the file")?;
        Ok(Parquet {
            bytes,
            meta: Meta::parse(&before[start..])?,
        })
    }

    /// Number of rows.
    pub(super) fn n_rows(&self) -> u64 {
        let groups = self.meta.groups.iter();
        groups.fold(0, |rows, group| rows.saturating_add(group.rows))
    }

    /// Hands the texts of some columns to `row`, row by row; a missing text is empty.
    pub(super) fn rows<E: From<ParquetError>>(
        &self,
        columns: &[&str],
        mut row: impl FnMut(u64, &[String]) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = |reason: String, row| E::from(ParquetError { row, reason });
        let chosen: Result<Vec<usize>, String> =
            columns.iter().map(|name| self.column(name)).collect();
        let chosen = chosen.map_err(|reason| at(reason, 0))?;
        let allowed = SMALL + MAX_GROWTH * self.bytes.len() as u64;
        let mut claimed: u64 = 0;
        let mut number = 0;
        let mut texts = vec![String::new(); columns.len()];
        for group in &self.meta.groups {
            let readers = self.readers(group, &chosen, columns);
            let mut readers = readers.map_err(|reason| at(reason, number + 1))?;
            for _ in 0..group.rows {
                number += 1;
                for ((reader, text), name) in readers.iter_mut().zip(&mut texts).zip(columns) {
                    read(reader, text)
                        .map_err(|reason| at(format!("column `{name}`: {reason}"), number))?;
                    claimed += 1 + text.len() as u64;
                }
                if claimed > allowed {
                    let reason = "its texts are more than 1000 times as long as the file";
                    return Err(at(reason.to_owned(), number));
                }
                row(number, &texts)?;
            }
        }
        Ok(())
    }

    fn readers(
        &self,
        group: &Group,
        chosen: &[usize],
        names: &[&str],
    ) -> Result<Vec<Column<'_>>, String> {
        let reader = |(&index, name): (&usize, &&str)| {
            let chunk = &group.chunks[index];
            if chunk.values != group.rows {
                let (values, rows) = (chunk.values, group.rows);
                return Err(format!(
                    "column `{name}` has {values} values for {rows} rows"
                ));
            }
            let column = Column::new(self.bytes, &self.meta.leaves[index], chunk);
            column.map_err(|reason| format!("column `{name}`: {reason}"))
        };
        chosen.iter().zip(names).map(reader).collect()
    }

    /// The number of a column of text.
    fn column(&self, name: &str) -> Result<usize, String> {
        let leaves = &self.meta.leaves;
        let Some(index) = leaves.iter().position(|leaf| leaf.name == name) else {
            let names: Vec<&str> = leaves
                .iter()
                .map(|leaf| leaf.name.as_str())
                .take(12)
                .collect();
            return Err(format!(
                "there is no column `{name}`; there are {}; name one as the template (each file may have \
                 its own)",
                names.join(", ")
            ));
        };
        let Leaf { kind, repeated, .. } = &leaves[index];
        if *repeated {
            return Err(format!("the column `{name}` holds lists, not text"));
        }
        if *kind != BYTE_ARRAY {
            let kind = KINDS.get(*kind as usize).unwrap_or(&"of an unknown type");
            return Err(format!("the column `{name}` is {kind}, not text"));
        }
        Ok(index)
    }
}

/// A fault of a file, and its row, from 1; 0 before the first.
pub(super) struct ParquetError {
    pub(super) row: u64,
    pub(super) reason: String,
}

fn read(column: &mut Column, text: &mut String) -> Result<(), String> {
    text.clear();
    if let Some(bytes) = column.next()? {
        let value = std::str::from_utf8(bytes).map_err(|_| "its value is not UTF-8")?;
        text.push_str(value);
    }
    Ok(())
}
