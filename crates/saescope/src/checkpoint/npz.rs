//! Files of `numpy.savez`: a zip archive with one array per entry.
//!
//! Arrays of numbers are read, as `savez` stores them. Arrays of objects, which numpy keeps as pickles,
//! and compressed archives are refused by name.

use std::ops::Range;
use std::path::Path;

use super::dtype::Dtype;
use super::tensor::{Entry, bytes_of};
use super::zip::Archive;
use super::{FileContent, Metadata};
use crate::error::{Error, Result};

/// First bytes of an array.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header of an array; numpy's own are under 200 bytes.
const MAX_HEADER: usize = 1 << 16;

/// True if an archive is one of numpy's: it holds arrays and nothing else.
pub(super) fn is_npz(archive: &Archive) -> bool {
    let mut names = archive.names().peekable();
    names.peek().is_some() && names.all(|name| name.ends_with(".npy"))
}

/// Finds every array of the archive.
pub(super) fn parse(path: &Path, bytes: &[u8], archive: &Archive) -> Result<FileContent> {
    let mut tensors = Vec::new();
    for entry in archive.names() {
        let name = entry.trim_end_matches(".npy").to_owned();
        let found = archive
            .find(bytes, entry)
            .and_then(|place| array(bytes, place))
            .map_err(|reason| Error::tensor(path, &name, reason))?;
        tensors.push((name, found));
    }
    Ok(FileContent {
        tensors,
        metadata: Metadata::Npz,
    })
}

/// The array at `place`, or the reason why it cannot be read.
fn array(bytes: &[u8], place: Range<usize>) -> Result<Entry, String> {
    let array = &bytes[place.clone()];
    let rest = array.strip_prefix(MAGIC).ok_or("not an array of numpy")?;
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err("an array of an unknown version".to_owned()),
    };
    if len > MAX_HEADER.min(rest.len()) {
        return Err(format!("its header claims {len} bytes"));
    }
    let (header, data) = rest.split_at(len);
    let header = std::str::from_utf8(header).map_err(|e| format!("its header: {e}"))?;
    let (dtype, fortran, shape) = fields(header)?;
    let span = bytes_of(dtype, &shape)?;
    if span != data.len() {
        return Err(format!(
            "shape {shape:?} of {dtype} takes {span} bytes, and there are {}",
            data.len()
        ));
    }
    let start = place.end - data.len();
    let mut entry = Entry::row_major(dtype, shape, start, place.end)?;
    if fortran && entry.shape.len() > 1 && !data.is_empty() {
        let mut step = 1;
        let strides = entry.shape.iter().map(|&d| {
            let stride = step;
            step *= d;
            stride
        });
        entry.strides = Some(strides.collect());
    }
    Ok(entry)
}

/// The type, the order and the shape of `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}`,
/// which numpy writes in this order.
fn fields(header: &str) -> Result<(Dtype, bool, Vec<usize>), String> {
    let malformed = || format!("its header `{}` is not understood", header.trim_end());
    let value = |key: &str| -> Result<&str, String> {
        let at = header.find(&format!("'{key}':")).ok_or_else(malformed)?;
        Ok(header[at + key.len() + 3..].trim_start())
    };
    let descr = value("descr")?.strip_prefix('\'').ok_or_else(malformed)?;
    let (descr, _) = descr.split_once('\'').ok_or_else(malformed)?;
    let dtype = match descr {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::Bool,
        other => return Err(format!("type `{other}` is not supported")),
    };
    let fortran = match value("fortran_order")? {
        order if order.starts_with("False") => false,
        order if order.starts_with("True") => true,
        _ => return Err(malformed()),
    };
    let shape = value("shape")?.strip_prefix('(').ok_or_else(malformed)?;
    let (shape, _) = shape.split_once(')').ok_or_else(malformed)?;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(|d| d.parse().map_err(|_| malformed()))
        .collect::<Result<_, _>>()?;
    Ok((dtype, fortran, shape))
}
