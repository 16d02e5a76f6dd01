//! Parquet files, decoded a few rows at a time.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::pages::Pages;
use super::{RowReader, decode, schema};

/// Rows that are decoded at once.
const ROWS: usize = 64;

/// Hands the batches of a file to `reader`.
pub(super) fn batches(bytes: Bytes, reader: &mut RowReader) -> Result<(), String> {
    let broken = |error: &dyn std::fmt::Display| reason(&error.to_string());
    if !bytes.ends_with(b"PAR1") || bytes.len() < 12 {
        return Err(if bytes.ends_with(b"PARE") {
            "it is encrypted".to_owned()
        } else {
            "it does not end as a Parquet file; it may be cut off".to_owned()
        });
    }
    schema::check(&bytes)?;
    // Types come from Parquet's own schema, not from a copy of Arrow's.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let read = decode(|| ArrowReaderMetadata::load(&bytes, options))?.map_err(|e| broken(&e))?;
    let columns = reader.resolve(read.schema())?;
    let metadata = Arc::clone(read.metadata());
    // Views share the bytes of a page, however often its rows repeat a text.
    let views = Schema::new(
        read.schema()
            .fields()
            .iter()
            .map(with_views)
            .collect::<Vec<_>>(),
    );
    let options = ArrowReaderOptions::new().with_schema(Arc::new(views));
    let read = decode(|| ArrowReaderMetadata::try_new(Arc::clone(&metadata), options))?
        .map_err(|e| broken(&e))?;
    let mask = ProjectionMask::roots(metadata.file_metadata().schema_descr(), columns);
    let pages = Pages::new(bytes, &metadata, &mask);
    let rows = metadata.file_metadata().num_rows().max(1) as f64;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages.clone(), read);
    let builder = builder.with_projection(mask).with_batch_size(ROWS);
    let mut decoder = decode(|| builder.build())?.map_err(|e| broken(&e))?;
    let mut done = 0;
    while let Some(batch) = decode(|| decoder.next())? {
        let batch =
            batch.map_err(|e| format!("row {} or one after it: {}", done + 1, broken(&e)))?;
        done += batch.num_rows();
        reader.take(&batch, (done as f64 / rows).min(1.0))?;
        pages.begin_batch();
    }
    Ok(())
}

/// The error of a decoder without the name of its kind.
fn reason(error: &str) -> String {
    let kinds = [
        "Parquet argument error: ",
        "Parquet error: ",
        "External: ",
        "Arrow: ",
        "EOF: ",
    ];
    let mut rest = error;
    while let Some(shorter) = kinds.iter().find_map(|kind| rest.strip_prefix(kind)) {
        rest = shorter;
    }
    format!("it cannot be decoded: {rest}")
}

/// A column whose texts are read as views.
fn with_views(field: &FieldRef) -> Field {
    let kind = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(Arc::new(with_views(item))),
        DataType::Struct(fields) => {
            let fields: Vec<Field> = fields.iter().map(with_views).collect();
            DataType::Struct(fields.into())
        }
        other => other.clone(),
    };
    field.as_ref().clone().with_data_type(kind)
}
