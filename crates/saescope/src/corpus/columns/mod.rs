//! Files of columns, Parquet and Arrow, as records.
//!
//! The crates of the Arrow project decode them. Before a page or a buffer is decoded, its claims are checked
//! here, so that no file takes more memory than a limit on what is decoded at once.

mod ipc;
mod pages;
mod parquet;
mod schema;
mod thrift;
mod values;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields, Schema};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::format::Format;
use super::record::{self, DOCUMENTS, MASK, RecordFields, TOOLS};
use crate::checkpoint::File;

/// Most bytes of text and rows, for each byte of a file, beyond [`SMALL`].
const MAX_GROWTH: u64 = 1000;
/// Bytes of text and rows that any file may have.
const SMALL: u64 = 16 << 20;

/// A row of a file.
pub(super) struct Row {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The fields that the template needs, by the names that it has for them.
    pub(super) record: Value,
    /// The part of the file that is read, from 0 to 1.
    pub(super) done: f64,
}

/// Receives the rows of a file.
type RowSink<'a> = &'a mut dyn FnMut(Row) -> Result<(), String>;

/// Hands every row of a file to `take`.
pub(super) fn rows(
    file: File,
    format: Format,
    fields: RecordFields,
    take: RowSink,
) -> Result<(), String> {
    let bytes = Bytes::from_owner(Owner(file));
    let mut reader = RowReader {
        fields,
        paths: None,
        number: 0,
        left: SMALL.saturating_add(MAX_GROWTH.saturating_mul(bytes.len() as u64)),
        take,
    };
    match format {
        Format::Parquet => parquet::batches(bytes, &mut reader),
        _ => ipc::batches(bytes, format == Format::ArrowFile, &mut reader),
    }
}

/// The bytes of a file, shared by all that is decoded from them without a copy.
struct Owner(File);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A field of the template, and its place in the columns.
struct FieldPath {
    field: String,
    column: String,
    /// Names and numbers within the column.
    rest: Vec<String>,
}

/// Turns batches of columns into rows.
struct RowReader<'a> {
    fields: RecordFields<'a>,
    /// The fields, once the columns are known.
    paths: Option<Vec<FieldPath>>,
    /// Number of the row last read, from 1.
    number: u64,
    /// Bytes of text and rows that the file may still have.
    left: u64,
    take: RowSink<'a>,
}

impl RowReader<'_> {
    /// Finds the fields of the template among the columns; returns the columns.
    fn resolve(&mut self, schema: &Schema) -> Result<BTreeSet<usize>, String> {
        let RecordFields { template, labels } = self.fields;
        let fields: BTreeSet<&str> = template.fields().collect();
        let mut paths = Vec::new();
        for field in fields {
            paths.push(resolve(schema, field)?);
        }
        // Padding beside a list of ids.
        if let Some(field) = template.only_field() {
            let beside = |name| resolve(schema, &record::beside(field, name));
            paths.extend(beside(MASK));
            let chat = paths.first().is_some_and(|path| is_chat(schema, path));
            if chat {
                paths.extend([TOOLS, DOCUMENTS].into_iter().flat_map(beside));
            }
        }
        // The field of the labels may be one of the template's.
        if let Some(field) = labels.filter(|field| !template.fields().any(|known| known == *field))
        {
            paths.extend(resolve(schema, field));
        }
        let columns = paths.iter().map(|path| schema.index_of(&path.column));
        let columns = columns.collect::<Result<_, _>>().map_err(|e| e.to_string());
        self.paths = Some(paths);
        columns
    }

    /// Takes the rows of a batch; `done` is the part of the file that is read.
    fn take(&mut self, batch: &RecordBatch, done: f64) -> Result<(), String> {
        let paths = self.paths.as_deref().unwrap_or_default();
        let columns: Vec<&dyn Array> = paths
            .iter()
            .filter_map(|path| batch.column_by_name(&path.column))
            .map(AsRef::as_ref)
            .collect();
        for row in 0..batch.num_rows() {
            self.number += 1;
            let number = self.number;
            let mut record = Map::new();
            for (path, column) in paths.iter().zip(&columns) {
                let value = values::at(*column, row, &path.rest).map_err(|reason| {
                    format!("row {number}: the field `{}`: {reason}", path.field)
                })?;
                spend(&mut self.left, values::size(&value))?;
                record.insert(path.field.clone(), value);
            }
            spend(&mut self.left, 1)?;
            (self.take)(Row {
                number,
                record: Value::Object(record),
                done,
            })?;
        }
        Ok(())
    }
}

/// True if a field is a column of lists of objects, as chats are.
fn is_chat(schema: &Schema, path: &FieldPath) -> bool {
    let column = schema.field_with_name(&path.column);
    let item = column.ok().and_then(|column| match column.data_type() {
        DataType::List(item) | DataType::LargeList(item) => Some(item),
        _ => None,
    });
    path.rest.is_empty() && item.is_some_and(|item| matches!(item.data_type(), DataType::Struct(_)))
}

/// Runs a part of a decoder, of which a broken file may make more than an error.
fn decode<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| "it is broken, and cannot be decoded".to_owned())
}

fn spend(left: &mut u64, size: u64) -> Result<(), String> {
    let rest = left.checked_sub(size);
    *left = rest.ok_or("its texts are more than 1000 times as long as the file")?;
    Ok(())
}

/// Finds a field among columns; `a.b` is the field `b` of the column `a` where no column has that name.
fn resolve(schema: &Schema, field: &str) -> Result<FieldPath, String> {
    let missing = || {
        let mut names = Vec::new();
        leaves(schema.fields(), "", &mut names);
        record::missing(field, names.iter().map(String::as_str))
    };
    let (column, rest): (&str, Vec<&str>) = match schema.column_with_name(field) {
        Some(_) => (field, Vec::new()),
        None => {
            let mut parts = field.split('.');
            (parts.next().unwrap_or_default(), parts.collect())
        }
    };
    let (_, found) = schema.column_with_name(column).ok_or_else(missing)?;
    let mut kind = found.data_type();
    for name in &rest {
        kind = match kind {
            DataType::Struct(fields) => fields.find(name).ok_or_else(missing)?.1.data_type(),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if name.parse::<usize>().is_ok() =>
            {
                item.data_type()
            }
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
                return Err(format!(
                    "the field `{field}`: `{name}` is not the number of an item of a list; the first is 0"
                ));
            }
            _ => return Err(missing()),
        };
    }
    if schema
        .fields()
        .iter()
        .filter(|known| known.name() == column)
        .count()
        > 1
    {
        return Err(format!("two columns are called `{column}`"));
    }
    values::check(kind).map_err(|reason| format!("the field `{field}`: {reason}"))?;
    Ok(FieldPath {
        field: field.to_owned(),
        column: column.to_owned(),
        rest: rest.into_iter().map(str::to_owned).collect(),
    })
}

/// The names of columns, and of the fields within them.
fn leaves(fields: &Fields, prefix: &str, names: &mut Vec<String>) {
    const SHOWN: usize = 100;
    for field in fields.iter().take(SHOWN) {
        let name = format!("{prefix}{}", field.name());
        match field.data_type() {
            DataType::Struct(inner) => leaves(inner, &format!("{name}."), names),
            _ => names.push(name),
        }
    }
}
