//! GGUF, versions 2 and 3: typed metadata, tensor descriptions, then aligned tensor data.
//!
//! Every count and length is compared with what is left of the file before anything is allocated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::dtype::Dtype;
use super::tensor::Entry;
use super::{FileContent, Metadata as Any};
use crate::error::{Error, Result};

/// First bytes of every GGUF file.
pub(super) const MAGIC: &[u8] = b"GGUF";
const MAX_DIMS: u32 = 4;

/// The key-value pairs of a GGUF file.
///
/// Getters return `None` for a missing key and an error for a value of another type.
#[derive(Clone, Debug)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

/// A value of the metadata; types that differ in width only are one.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are those of the types they hold
pub enum Value {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    Bools(Vec<bool>),
    /// The length of an array of another type, which no getter reads.
    Other(u64),
}

impl Metadata {
    /// The keys, sorted, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value at `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A text.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", |value| match value {
            Value::Str(s) => Some(s.as_str()),
            _ => None,
        })
    }

    /// A whole number of any width that fits.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a u32", |value| match value {
            Value::U64(n) => u32::try_from(*n).ok(),
            Value::I64(n) => u32::try_from(*n).ok(),
            _ => None,
        })
    }

    /// A number with a fraction.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a float", |value| match value {
            Value::F64(x) => Some(*x as f32),
            _ => None,
        })
    }

    /// True or false.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// An array of texts.
    pub fn strs(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "an array of texts", |value| match value {
            Value::Strs(all) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// An array of floats.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>> {
        self.typed(key, "an array of floats", |value| match value {
            Value::F32s(all) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// An array of whole numbers that fit an `i32`, stored in any width.
    pub fn i32s(&self, key: &str) -> Result<Option<&[i32]>> {
        self.typed(key, "an array of i32", |value| match value {
            Value::I32s(all) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// An array of truth values.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>> {
        self.typed(key, "an array of bools", |value| match value {
            Value::Bools(all) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// The error for a missing key that is required.
    pub fn missing(&self, key: &str) -> Error {
        Error::format(&self.path, format!("there is no key `{key}`"))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        get: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(value) => match get(value) {
                Some(typed) => Ok(Some(typed)),
                None => Err(Error::format(
                    &self.path,
                    format!("key `{key}` is not {kind}"),
                )),
            },
        }
    }
}

/// Finds every tensor of the file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    let mut cursor = Cursor::new(path, bytes);
    cursor.take(MAGIC.len() as u64)?;
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err(cursor.error("a big-endian GGUF file; only little-endian ones are read"));
        }
        version => {
            return Err(cursor.error(format!("GGUF version {version}; versions 2 and 3 are read")));
        }
    }
    let n_tensors = cursor.u64()?;
    let n_values = cursor.u64()?;
    // The smallest of each: an empty name, no dimension; an empty key and a byte.
    check_count(&cursor, n_tensors, 24, "tensors")?;
    check_count(&cursor, n_values, 13, "keys")?;
    let values = values(&mut cursor, n_values)?;
    let metadata = Metadata {
        path: path.to_path_buf(),
        values,
    };
    check_single(&metadata)?;
    let tensors = tensors(&mut cursor, n_tensors, &metadata, bytes.len())?;
    Ok(FileContent {
        tensors,
        metadata: Any::Gguf(metadata),
    })
}

/// Refuses a count that the rest of the file cannot hold, at `least` bytes for each thing counted.
fn check_count(cursor: &Cursor, count: u64, least: u64, of: &str) -> Result<()> {
    if count > cursor.left() as u64 / least {
        return Err(cursor.error(format!("{count} {of} do not fit the rest of the file")));
    }
    Ok(())
}

fn text(cursor: &mut Cursor) -> Result<String> {
    let len = cursor.u64()?;
    let bytes = cursor.take(len)?;
    let text = std::str::from_utf8(bytes);
    Ok(text
        .map_err(|e| cursor.error(format!("a text: {e}")))?
        .to_owned())
}

fn values(cursor: &mut Cursor, count: u64) -> Result<BTreeMap<String, Value>> {
    let mut values = BTreeMap::new();
    for _ in 0..count {
        let key = text(cursor)?;
        let kind = cursor.u32()?;
        let value = value(cursor, kind)?;
        if values.contains_key(&key) {
            return Err(cursor.error(format!("key `{key}` is there twice")));
        }
        values.insert(key, value);
    }
    Ok(values)
}

fn value(cursor: &mut Cursor, kind: u32) -> Result<Value> {
    Ok(match kind {
        0 | 2 | 4 | 10 => Value::U64(unsigned(cursor, kind)?),
        1 | 3 | 5 | 11 => Value::I64(signed(cursor, kind)?),
        6 => Value::F64(f32::from_le_bytes(cursor.array()?).into()),
        12 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        7 => Value::Bool(cursor.u8()? != 0),
        8 => Value::Str(text(cursor)?),
        9 => array(cursor)?,
        _ => return Err(cursor.error(format!("value type {kind} does not exist"))),
    })
}

fn unsigned(cursor: &mut Cursor, kind: u32) -> Result<u64> {
    Ok(match kind {
        0 => cursor.u8()?.into(),
        2 => cursor.u16()?.into(),
        4 => cursor.u32()?.into(),
        _ => cursor.u64()?,
    })
}

fn signed(cursor: &mut Cursor, kind: u32) -> Result<i64> {
    Ok(match kind {
        1 => i8::from_le_bytes(cursor.array()?).into(),
        3 => i16::from_le_bytes(cursor.array()?).into(),
        5 => cursor.i32()?.into(),
        _ => cursor.i64()?,
    })
}

fn array(cursor: &mut Cursor) -> Result<Value> {
    let kind = cursor.u32()?;
    let count = cursor.u64()?;
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => return Err(cursor.error("arrays of arrays are not supported")),
        _ => return Err(cursor.error(format!("value type {kind} does not exist"))),
    };
    check_count(cursor, count, least, "array elements")?;
    let elements = 0..count;
    Ok(match kind {
        6 => {
            let bytes = cursor.take(4 * count)?;
            let numbers = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
            Value::F32s(numbers.collect())
        }
        7 => {
            let bytes = cursor.take(count)?;
            Value::Bools(bytes.iter().map(|&b| b != 0).collect())
        }
        8 => Value::Strs(elements.map(|_| text(cursor)).collect::<Result<_>>()?),
        12 => {
            cursor.take(8 * count)?;
            Value::Other(count)
        }
        _ => {
            let numbers: Vec<Option<i32>> = elements
                .map(|_| match kind {
                    0 | 2 | 4 | 10 => Ok(unsigned(cursor, kind)?.try_into().ok()),
                    _ => Ok(signed(cursor, kind)?.try_into().ok()),
                })
                .collect::<Result<_>>()?;
            let fit: Option<Vec<i32>> = numbers.into_iter().collect();
            fit.map_or(Value::Other(count), Value::I32s)
        }
    })
}

fn check_single(metadata: &Metadata) -> Result<()> {
    match metadata.u32("split.count")? {
        None | Some(0 | 1) => Ok(()),
        Some(parts) => Err(Error::format(
            &metadata.path,
            format!("one of {parts} parts of a model; merge them with `llama-gguf-split --merge`"),
        )),
    }
}

fn tensors(
    cursor: &mut Cursor,
    count: u64,
    metadata: &Metadata,
    file_len: usize,
) -> Result<Vec<(String, Entry)>> {
    let headers: Vec<TensorHeader> = (0..count)
        .map(|_| TensorHeader::read(cursor))
        .collect::<Result<_>>()?;
    let alignment = metadata.u32("general.alignment")?.unwrap_or(32) as usize;
    if !alignment.is_power_of_two() {
        return Err(cursor.error(format!("alignment {alignment} is not a power of two")));
    }
    let data_start = cursor.at().next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(headers.len());
    for tensor in headers {
        let name = tensor.name.clone();
        let entry = tensor
            .place(data_start, alignment, file_len)
            .map_err(|reason| Error::tensor(&metadata.path, &name, reason))?;
        tensors.push((name, entry));
    }
    tensors.sort_by_key(|(_, entry)| entry.start);
    for pair in tensors.windows(2) {
        let [(before, first), (name, second)] = pair else {
            continue;
        };
        if first.start + first.span > second.start {
            return Err(Error::tensor(
                &metadata.path,
                name,
                format!("overlaps `{before}`"),
            ));
        }
    }
    Ok(tensors)
}

/// A tensor as the header describes it.
struct TensorHeader {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl TensorHeader {
    fn read(cursor: &mut Cursor) -> Result<TensorHeader> {
        let name = text(cursor)?;
        let n_dims = cursor.u32()?;
        if n_dims > MAX_DIMS {
            return Err(cursor.error(format!("tensor `{name}` has {n_dims} dimensions")));
        }
        let mut shape = (0..n_dims)
            .map(|_| cursor.u64())
            .collect::<Result<Vec<u64>>>()?;
        // The file has the innermost dimension first.
        shape.reverse();
        Ok(TensorHeader {
            name,
            shape,
            kind: cursor.u32()?,
            offset: cursor.u64()?,
        })
    }

    fn place(self, data_start: usize, alignment: usize, file_len: usize) -> Result<Entry, String> {
        let dtype = dtype(self.kind)?;
        let fits = |n: u64| usize::try_from(n).map_err(|_| format!("{n} does not fit memory"));
        let shape = self.shape.into_iter().map(fits).collect::<Result<_, _>>()?;
        let offset = fits(self.offset)?;
        if !offset.is_multiple_of(alignment) {
            return Err(format!("its offset {offset} is not aligned to {alignment}"));
        }
        let start = data_start
            .checked_add(offset)
            .ok_or_else(|| format!("its offset {offset} lies outside the file"))?;
        Entry::row_major(dtype, shape, start, file_len)
    }
}

/// ggml's numbers for its types.
fn dtype(kind: u32) -> Result<Dtype, String> {
    Ok(match kind {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::Q4_0,
        3 => Dtype::Q4_1,
        6 => Dtype::Q5_0,
        7 => Dtype::Q5_1,
        8 => Dtype::Q8_0,
        12 => Dtype::Q4K,
        13 => Dtype::Q5K,
        14 => Dtype::Q6K,
        24 => Dtype::I8,
        25 => Dtype::I16,
        26 => Dtype::I32,
        27 => Dtype::I64,
        28 => Dtype::F64,
        30 => Dtype::Bf16,
        other => {
            let known = match other {
                9 => "Q8_1",
                10 => "Q2_K",
                11 => "Q3_K",
                15 => "Q8_K",
                16..=23 | 29 => "IQ",
                34 | 35 => "TQ",
                39 => "MXFP4",
                _ => "unknown",
            };
            return Err(format!(
                "ggml type {other} ({known}) is not supported; supported are F32 F16 BF16 \
                 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K"
            ));
        }
    })
}
