//! The safetensors format: a length, a JSON header, then the tensors without gaps.
//!
//! This reader checks the header, and not the crate `safetensors`, so that every refusal names its
//! tensor.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype as Stored, TensorInfo};
use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::dtype::Dtype;
use super::tensor::{Entry, bytes_of};
use super::{FileContent, Metadata};
use crate::error::{Error, Result};

/// The format's own limit; a header is parsed into memory several times its size.
const MAX_HEADER: u64 = 100_000_000;

/// True if `bytes` begin like a safetensors file.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|n| u64::from_le_bytes(*n));
    length.is_some_and(|n| n <= MAX_HEADER) && bytes.get(8) == Some(&b'{')
}

/// Finds every tensor of the file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    let mut cursor = Cursor::new(path, bytes);
    let header_len = cursor.u64()?;
    if header_len > MAX_HEADER {
        return Err(Error::format(
            path,
            format!("its header claims {header_len} bytes; the format allows {MAX_HEADER}"),
        ));
    }
    let header = cursor.take(header_len)?;
    let mut header: Map<String, Value> = serde_json::from_slice(header)
        .map_err(|e| Error::format(path, format!("its header is not a JSON object: {e}")))?;
    let metadata: BTreeMap<String, String> = match header.remove("__metadata__") {
        None => BTreeMap::new(),
        Some(metadata) => serde_json::from_value(metadata)
            .map_err(|e| Error::format(path, format!("its `__metadata__`: {e}")))?,
    };
    let data_start = cursor.at();
    let mut tensors = Vec::with_capacity(header.len());
    for (name, info) in header {
        let entry = entry(info, data_start, bytes.len())
            .map_err(|reason| Error::tensor(path, &name, reason))?;
        tensors.push((name, entry));
    }
    tensors.sort_by_key(|(_, entry)| (entry.start, entry.span));
    check_gapless(path, &tensors, data_start, bytes.len())?;
    Ok(FileContent {
        tensors,
        metadata: Metadata::Safetensors(metadata),
    })
}

fn entry(info: Value, data_start: usize, file_len: usize) -> Result<Entry, String> {
    let info: TensorInfo = serde_json::from_value(info).map_err(|e| e.to_string())?;
    let dtype = match info.dtype {
        Stored::F64 => Dtype::F64,
        Stored::F32 => Dtype::F32,
        Stored::F16 => Dtype::F16,
        Stored::BF16 => Dtype::Bf16,
        Stored::I64 => Dtype::I64,
        Stored::I32 => Dtype::I32,
        Stored::I16 => Dtype::I16,
        Stored::I8 => Dtype::I8,
        Stored::U64 => Dtype::U64,
        Stored::U32 => Dtype::U32,
        Stored::U16 => Dtype::U16,
        Stored::U8 => Dtype::U8,
        Stored::BOOL => Dtype::Bool,
        other => return Err(format!("type {other} is not supported")),
    };
    let (start, end) = info.data_offsets;
    let expected = bytes_of(dtype, &info.shape)?;
    if end.checked_sub(start) != Some(expected) {
        return Err(format!(
            "its offsets {start}..{end} are not the {expected} bytes of shape {:?} of {dtype}",
            info.shape
        ));
    }
    let start = data_start
        .checked_add(start)
        .ok_or("its offsets are larger than any memory")?;
    Entry::row_major(dtype, info.shape, start, file_len)
}

/// `tensors` in order of their start must cover `data_start..file_len` once.
fn check_gapless(
    path: &Path,
    tensors: &[(String, Entry)],
    data_start: usize,
    file_len: usize,
) -> Result<()> {
    let mut end = data_start;
    for (name, entry) in tensors {
        if entry.start != end {
            let how = if entry.start < end {
                "overlaps the one before it"
            } else {
                "leaves a gap after the one before it"
            };
            return Err(Error::tensor(path, name, how));
        }
        end += entry.span;
    }
    if end != file_len {
        return Err(Error::format(
            path,
            format!("its tensors end at byte {end} but the file at byte {file_len}"),
        ));
    }
    Ok(())
}
