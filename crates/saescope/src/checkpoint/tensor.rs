//! One tensor of a checkpoint: its place in a file, and its conversion to f32.

use std::ops::Range;
use std::path::Path;

use super::dtype::Dtype;
use super::file::File;
use crate::error::{Error, Result};

/// Place of a tensor in its file. Readers check it against the file's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    /// Byte at which the first element starts.
    pub(super) start: usize,
    /// Bytes from the beginning of the first element to the end of the last.
    pub(super) span: usize,
    /// Elements from one index to the next in each dimension; `None` for row-major.
    pub(super) strides: Option<Vec<usize>>,
}

impl Entry {
    /// A row-major tensor at byte `start` of a file of `file_len` bytes, or the reason why there is none.
    pub(super) fn row_major(
        dtype: Dtype,
        shape: Vec<usize>,
        start: usize,
        file_len: usize,
    ) -> Result<Entry, String> {
        let span = bytes_of(dtype, &shape)?;
        match start.checked_add(span) {
            Some(end) if end <= file_len => Ok(Entry {
                dtype,
                shape,
                start,
                span,
                strides: None,
            }),
            _ => Err(format!(
                "shape {shape:?} of {dtype} takes {span} bytes from byte {start} of a file of {file_len} bytes; \
                 an unfinished download is cut short like that: download it again"
            )),
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Bytes of a row-major tensor, or the reason why there is no such tensor.
pub(super) fn bytes_of(dtype: Dtype, shape: &[usize]) -> Result<usize, String> {
    // Blocks run along the last dimension and never from one row into the next.
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_len()) {
        let block = dtype.block_len();
        return Err(format!(
            "rows of {row} elements do not divide into {dtype} blocks of {block}"
        ));
    }
    let len = shape.iter().try_fold(1usize, |len, &d| len.checked_mul(d));
    len.and_then(|len| dtype.bytes_of(len))
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or_else(|| format!("shape {shape:?} of {dtype} is larger than any memory"))
}

/// A tensor of an opened checkpoint. Its elements stay in the file until they are read.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a File,
    pub(super) entry: &'a Entry,
}

impl<'a> Tensor<'a> {
    /// Its name in the checkpoint.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The file that holds it.
    pub fn path(&self) -> &'a Path {
        &self.file.path
    }

    /// Its dimensions, outermost first (GGUF's order is reversed when read).
    pub fn shape(&self) -> &'a [usize] {
        &self.entry.shape
    }

    /// The number format of its elements.
    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.entry.len()
    }

    /// True if it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements as stored, little-endian; `None` if they are not stored row-major.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        self.entry.strides.is_none().then(|| self.span())
    }

    /// Converts a range of its elements, in row-major order, to f32.
    /// For quantised types the range starts and ends on block boundaries.
    ///
    /// # Errors
    /// When the range is not within the tensor, cuts a block, or is not as long as `out`.
    pub fn read(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let dtype = self.entry.dtype;
        let at = dtype.bytes_of(range.start);
        let len = dtype.bytes_of(range.len());
        let (Some(at), Some(len)) = (at, len) else {
            return Err(self.error(format!("elements {range:?} cut a block of {dtype}")));
        };
        if range.start > range.end || range.end > self.len() || range.len() != out.len() {
            return Err(self.error(format!(
                "elements {range:?} of {} do not fit a buffer of {}",
                self.len(),
                out.len()
            )));
        }
        match &self.entry.strides {
            None => dtype.to_f32(&self.span()[at..at + len], out),
            Some(strides) => {
                let size = dtype.block_bytes();
                let mut gathered = [0; 8 * PIECE];
                let mut first = range.start;
                for out in out.chunks_mut(PIECE) {
                    let gathered = &mut gathered[..size * out.len()];
                    self.gather(strides, first, gathered);
                    dtype.to_f32(gathered, out);
                    first += out.len();
                }
            }
        }
        Ok(())
    }

    /// All elements as f32, for small tensors.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.len()];
        self.read(0..self.len(), &mut out)?;
        Ok(out)
    }

    /// All elements of a whole-number tensor, exactly.
    ///
    /// # Errors
    /// When the elements are not whole numbers, or one is beyond `i64`.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let dtype = self.entry.dtype;
        let numbers = match &self.entry.strides {
            None => dtype.to_i64(self.span()),
            Some(strides) => {
                let mut gathered = vec![0; dtype.block_bytes() * self.len()];
                self.gather(strides, 0, &mut gathered);
                dtype.to_i64(&gathered)
            }
        };
        numbers.ok_or_else(|| self.error(format!("{dtype} elements are not whole numbers in i64")))
    }

    /// Refuses NaN and infinities among `values`, the elements from `start` on.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first of them.
    pub fn check_finite(&self, values: &[f32], start: usize) -> Result<()> {
        for (i, piece) in values.chunks(PIECE).enumerate() {
            // A loop without an early exit compiles to vector instructions.
            let all = piece.iter().fold(true, |all, v| all & v.is_finite());
            if let Some((j, &value)) = (!all)
                .then(|| piece.iter().enumerate().find(|(_, v)| !v.is_finite()))
                .flatten()
            {
                return Err(Error::NotFinite {
                    path: self.file.path.clone(),
                    tensor: self.name.to_owned(),
                    index: start + i * PIECE + j,
                    value,
                });
            }
        }
        Ok(())
    }

    /// Releases the tensor's pages of memory; the next read brings them back.
    pub fn evict(&self) {
        let Entry { start, span, .. } = *self.entry;
        self.file.evict(start..start + span);
    }

    /// An error about this tensor.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::tensor(&self.file.path, self.name, reason)
    }

    fn span(&self) -> &'a [u8] {
        &self.file.bytes()[self.entry.start..self.entry.start + self.entry.span]
    }

    /// Copies the bytes of as many elements as `out` holds, from element `first` on.
    fn gather(&self, strides: &[usize], first: usize, out: &mut [u8]) {
        let size = self.entry.dtype.block_bytes();
        let span = self.span();
        let shape = &self.entry.shape;
        let mut index = index_of(first, shape);
        let mut at: usize = index.iter().zip(strides).map(|(i, s)| i * s).sum();
        for out in out.chunks_exact_mut(size) {
            out.copy_from_slice(&span[at * size..][..size]);
            // The next index in row-major order, and its place.
            for ((i, &d), &stride) in index.iter_mut().zip(shape).zip(strides).rev() {
                *i += 1;
                at += stride;
                if *i < d {
                    break;
                }
                *i = 0;
                at -= stride * d;
            }
        }
    }
}

/// Elements handled at a time, so that they stay in the nearest cache between two loops.
const PIECE: usize = 512;

/// Index in each dimension of the `at`th element in row-major order.
fn index_of(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in index.iter_mut().zip(shape).rev() {
        *i = at % d.max(1);
        at /= d.max(1);
    }
    index
}
