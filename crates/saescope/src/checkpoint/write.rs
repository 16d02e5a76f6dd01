//! Writes tensors to a safetensors file, completely or not at all.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use saescope_kernels::Matrix;
use safetensors::tensor::{Dtype as Written, TensorInfo};
use serde_json::{Map, Value};

use super::Dtype;
use crate::error::{Error, Result};

/// The elements of a tensor to be written, row-major.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names are those of the types they hold
pub enum Elements<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
    /// f32, the columns of a matrix one after another.
    Transposed(&'a Matrix),
    /// Elements of any type as bytes, little-endian.
    Stored(Dtype, &'a [u8]),
}

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewTensor<'a> {
    /// Its name, which no other tensor of the file has.
    pub name: &'a str,
    /// Its dimensions, outermost first.
    pub shape: &'a [usize],
    /// Its elements.
    pub elements: Elements<'a>,
}

/// Writes `tensors` and `metadata` to `path`. An existing file is replaced by a complete one or stays
/// as it is. The same input gives the same bytes.
///
/// # Errors
/// When a shape does not fit its elements, two tensors have one name, or the system refuses.
pub fn save_safetensors(
    path: &Path,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut tensors = tensors.to_vec();
    // Types of larger alignment come first, as the format's own writers order them.
    tensors.sort_by_key(|t| (!matches!(t.elements, Elements::I64(_)), t.name));
    let header = header(path, &tensors, metadata)?;
    save_whole(path, |file| write(file, &header, &tensors))
}

/// Writes a file beside `path`, then renames it to `path`.
///
/// # Errors
/// When the system refuses; an existing file stays as it is.
pub fn save_whole(
    path: &Path,
    write: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new();
    // The rights of any new file; a temporary file would be readable by its owner alone.
    #[cfg(unix)]
    new.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut new = new.tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
    let written = write(new.as_file_mut()).and_then(|()| new.as_file().sync_all());
    written.map_err(|e| Error::io(path, e))?;
    new.persist(path).map_err(|e| Error::io(path, e.error))?;
    // The file is complete in any case; this makes its name survive a crash too.
    #[cfg(unix)]
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(folder, e))?;
    Ok(())
}

fn header(
    path: &Path,
    tensors: &[NewTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        let pairs = metadata.iter().map(|(k, v)| (k.clone(), v.as_str().into()));
        header.insert("__metadata__".to_owned(), Value::Object(pairs.collect()));
    }
    let mut end = 0;
    for tensor in tensors {
        let (dtype, len, size) = match tensor.elements {
            Elements::F32(elements) => (Written::F32, elements.len(), 4),
            Elements::I64(elements) => (Written::I64, elements.len(), 8),
            Elements::Transposed(matrix) => (Written::F32, matrix.data().len(), 4),
            Elements::Stored(Dtype::F32, bytes) => (Written::F32, bytes.len() / 4, 4),
            Elements::Stored(Dtype::F16, bytes) => (Written::F16, bytes.len() / 2, 2),
            Elements::Stored(Dtype::Bf16, bytes) => (Written::BF16, bytes.len() / 2, 2),
            Elements::Stored(dtype, _) => {
                let reason = format!("tensors of type {dtype} cannot be written");
                return Err(Error::tensor(path, tensor.name, reason));
            }
        };
        let expected = tensor
            .shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d));
        if expected != Some(len) {
            let reason = format!("shape {:?} does not hold {len} elements", tensor.shape);
            return Err(Error::tensor(path, tensor.name, reason));
        }
        let start = end;
        end += len * size;
        let info = TensorInfo {
            dtype,
            shape: tensor.shape.to_vec(),
            data_offsets: (start, end),
        };
        let info = serde_json::to_value(info).map_err(|e| Error::format(path, e.to_string()))?;
        if header.insert(tensor.name.to_owned(), info).is_some() {
            return Err(Error::tensor(
                path,
                tensor.name,
                "two tensors have this name",
            ));
        }
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Padding: tensors start at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn write(file: &std::fs::File, header: &[u8], tensors: &[NewTensor]) -> std::io::Result<()> {
    let mut to = BufWriter::with_capacity(1 << 16, file);
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(header)?;
    for tensor in tensors {
        match tensor.elements {
            Elements::F32(elements) => write_all(&mut to, elements, |x| x.to_le_bytes())?,
            Elements::I64(elements) => write_all(&mut to, elements, |x| x.to_le_bytes())?,
            Elements::Transposed(matrix) => write_transposed(&mut to, matrix)?,
            Elements::Stored(_, bytes) => to.write_all(bytes)?,
        }
    }
    to.flush()
}

/// Writes the columns of a matrix, a few at a time, so that it is not held twice.
fn write_transposed(to: &mut impl Write, matrix: &Matrix) -> std::io::Result<()> {
    const COLUMNS: usize = 16;
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut columns = vec![0.0; COLUMNS.min(cols) * rows];
    for left in (0..cols).step_by(COLUMNS) {
        let width = COLUMNS.min(cols - left);
        for row in 0..rows {
            for (column, value) in matrix.row(row)[left..left + width].iter().enumerate() {
                columns[column * rows + row] = *value;
            }
        }
        write_all(to, &columns[..width * rows], |x| x.to_le_bytes())?;
    }
    Ok(())
}

fn write_all<T: Copy, const N: usize>(
    to: &mut impl Write,
    elements: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 14);
    for piece in elements.chunks((1 << 14) / N) {
        buffer.clear();
        buffer.extend(piece.iter().flat_map(|x| bytes(*x)));
        to.write_all(&buffer)?;
    }
    Ok(())
}
