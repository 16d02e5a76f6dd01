//! Files of numpy: one array of `numpy.save`, and the zip archive of `numpy.savez`.
//!
//! Arrays of numbers are read, of either byte order, also of the compressed archives of
//! `numpy.savez_compressed`. Arrays of objects, which numpy keeps as pickles, are refused by name.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use super::dtype::Dtype;
use super::tensor::{Entry, bytes_of};
use super::torch::ONLY_TENSOR;
use super::zip::{self, Archive};
use super::{FileContent, Metadata};
use crate::error::{Error, Result};

/// First bytes of an array.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Most bytes of a file whose numbers are turned to the other byte order in memory.
const MAX_TURNED: usize = 1 << 30;
/// Largest ratio of an archive's content to its bytes. Weights rarely shrink to a third; an archive that
/// grows more is made to fill the memory of its reader.
const MAX_GROWTH: usize = 40;
/// Bytes of content that any archive may have.
const SMALL: usize = 16 << 20;
/// Longest header of an array; numpy's own are under 200 bytes.
const MAX_HEADER: usize = 1 << 16;

/// True if an archive is one of numpy's: it holds arrays and nothing else.
pub(super) fn is_npz(archive: &Archive) -> bool {
    let mut names = archive.names().peekable();
    names.peek().is_some() && names.all(|name| name.ends_with(".npy"))
}

/// Finds every array of the archive.
pub(super) fn parse(path: &Path, bytes: &[u8], archive: &Archive) -> Result<FileContent> {
    let mut places = Vec::new();
    for entry in sorted(archive) {
        let name = entry.trim_end_matches(".npy").to_owned();
        let place = archive.find(bytes, entry);
        let place = place.map_err(|reason| Error::tensor(path, &name, reason))?;
        places.push((name, place));
    }
    content(path, bytes, places)
}

/// Reads a file of one array, a tensor without a name.
pub(super) fn parse_one(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    let found = array(bytes, 0..bytes.len()).map_err(|reason| Error::format(path, reason))?;
    Ok(FileContent {
        tensors: vec![(ONLY_TENSOR.to_owned(), found)],
        metadata: Metadata::Npz,
    })
}

/// An array's name and its place in a file.
type Placed = (String, Range<usize>);

/// The arrays at some places of `bytes`.
fn content(path: &Path, bytes: &[u8], places: Vec<Placed>) -> Result<FileContent> {
    let tensor = |(name, place): Placed| match array(bytes, place) {
        Ok(found) => Ok((name, found)),
        Err(reason) => Err(Error::tensor(path, &name, reason)),
    };
    let tensors: Result<Vec<_>> = places.into_iter().map(tensor).collect();
    Ok(FileContent {
        tensors: tensors?,
        metadata: Metadata::Npz,
    })
}

/// The names of an archive's entries, in order, so that the first of several errors is always the same.
fn sorted(archive: &Archive) -> Vec<&str> {
    let mut names: Vec<&str> = archive.names().collect();
    names.sort_unstable();
    names
}

/// A file in memory, since it cannot be read as it lies on the disk, and its arrays.
pub(super) struct Rewritten {
    pub(super) bytes: Vec<u8>,
    pub(super) content: FileContent,
}

/// Rewrites a file of which an array is compressed or big-endian. Another one, or one that is not
/// understood, is left as it is, for its reader to open or refuse.
pub(super) fn rewrite(path: &Path, bytes: &[u8]) -> Result<Option<Rewritten>> {
    let (inflated, places) = if bytes.starts_with(MAGIC) {
        let one = (ONLY_TENSOR.to_owned(), 0..bytes.len());
        (None, vec![one])
    } else if bytes.starts_with(zip::MAGIC) {
        let archive = Archive::read(path, bytes)?;
        if !is_npz(&archive) {
            return Ok(None);
        }
        if archive.has_deflated() {
            let (inflated, places) = inflate(path, bytes, &archive)?;
            (Some(inflated), places)
        } else {
            let stored = |name| {
                let place = archive.find(bytes, name).ok()?;
                Some((name.trim_end_matches(".npy").to_owned(), place))
            };
            (
                None,
                sorted(&archive).into_iter().filter_map(stored).collect(),
            )
        }
    } else {
        return Ok(None);
    };
    let plain = inflated.as_deref().unwrap_or(bytes);
    let big: Vec<_> = places
        .iter()
        .filter_map(|(_, place)| big_endian(plain, place.clone()))
        .collect();
    if big.is_empty() && inflated.is_none() {
        return Ok(None);
    }
    if !big.is_empty() && plain.len() > MAX_TURNED {
        let reason = format!(
            "big-endian numbers in a file of over {MAX_TURNED} bytes; save them as `array.astype('<f4')`"
        );
        return Err(Error::format(path, reason));
    }
    let mut turned = inflated.unwrap_or_else(|| bytes.to_vec());
    for BigEndian { mark, data, width } in big {
        turned[mark] = b'<';
        for number in turned[data].chunks_exact_mut(width) {
            number.reverse();
        }
    }
    let content = content(path, &turned, places)?;
    Ok(Some(Rewritten {
        bytes: turned,
        content,
    }))
}

/// The contents of an archive one after another, and their places by name.
fn inflate(path: &Path, bytes: &[u8], archive: &Archive) -> Result<(Vec<u8>, Vec<Placed>)> {
    let most = SMALL.saturating_add(bytes.len().saturating_mul(MAX_GROWTH));
    let mut inflated = Vec::new();
    let mut places = Vec::new();
    for entry in sorted(archive) {
        let name = entry.trim_end_matches(".npy").to_owned();
        let place = archive.inflate(bytes, entry, &mut inflated, most);
        let place = place.map_err(|reason| Error::tensor(path, &name, reason))?;
        places.push((name, place));
    }
    Ok((inflated, places))
}

/// The parts of an array that change with its byte order.
struct BigEndian {
    /// The mark of the order in the header.
    mark: usize,
    data: Range<usize>,
    /// Bytes of a number.
    width: usize,
}

/// The array at `place`, if it is big-endian.
fn big_endian(bytes: &[u8], place: Range<usize>) -> Option<BigEndian> {
    const MARK: &str = "'descr': '>";
    let (header, data) = split(&bytes[place.clone()]).ok()?;
    let at = header.find(MARK)? + MARK.len() - 1;
    let width = header[at + 1..].get(1..2)?.parse().ok()?;
    let start = place.end - data.len();
    (width > 0).then_some(BigEndian {
        mark: start - header.len() + at,
        data: start..place.end,
        width,
    })
}

/// The header of an array and its numbers.
fn split(array: &[u8]) -> Result<(&str, &[u8]), String> {
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
    Ok((header, data))
}

/// The array at `place`, or the reason why it cannot be read.
fn array(bytes: &[u8], place: Range<usize>) -> Result<Entry, String> {
    let (header, data) = split(&bytes[place.clone()])?;
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
    let descr = value("descr")?;
    if descr.starts_with('[') {
        return Err("an array of records of several fields; save one field".to_owned());
    }
    let descr = descr.strip_prefix('\'').ok_or_else(malformed)?;
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
        "<u8" => Dtype::U64,
        "<u4" => Dtype::U32,
        "<u2" => Dtype::U16,
        other => return Err(refused_type(other).into_owned()),
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

/// The reason for an array of `descr`, which holds no numbers that are read here.
fn refused_type(descr: &str) -> Cow<'static, str> {
    match descr.trim_start_matches(['|', '<', '>']).as_bytes() {
        [b'O', ..] => "an array of Python objects, a pickle that could run code; save numbers: \
                       `numpy.save(path, numpy.stack(array).astype('float32'))`"
            .into(),
        [b'V', ..] => format!(
            "type `{descr}`, bytes without a meaning, as numpy writes bfloat16; save it as float32"
        )
        .into(),
        [b'U' | b'S', ..] => format!("type `{descr}`, texts and not numbers").into(),
        [b'c', ..] => format!("type `{descr}`, complex numbers; save their real part").into(),
        _ => format!("type `{descr}` is not supported; save it as float32").into(),
    }
}
