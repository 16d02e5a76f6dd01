//! Tensors of an autoencoder's file, checked before and while they are read.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use saescope_kernels::Matrix;

use crate::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::error::{Error, Result};

/// Number of values after which the pages that they came from are returned to the system, so that a
/// large file is never in memory beside the matrix made of it.
const ROUND: usize = 1 << 23;
/// Rows of a transposed tensor that a task takes: a page of each stored line.
const BLOCK: usize = 1024;
/// Stored lines that are transposed together: as many values as a cache line holds.
const LINES: usize = 16;
/// Values that a task takes of a tensor that needs no transposing.
const PIECE: usize = 1 << 16;

/// The tensors of a file, perhaps below a common prefix.
pub(super) struct Source<'a> {
    checkpoint: &'a Checkpoint,
    prefix: &'a str,
}

impl<'a> Source<'a> {
    /// A source of the tensors whose names begin with `prefix`, which is omitted from their names.
    pub(super) fn below(checkpoint: &'a Checkpoint, prefix: &'a str) -> Source<'a> {
        Source { checkpoint, prefix }
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// True if the file has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensor(name).is_ok()
    }

    /// Rows and columns of a matrix.
    pub(super) fn shape(&self, name: &str) -> Result<[usize; 2]> {
        let tensor = self.tensor(name)?;
        match *tensor.shape() {
            [rows, cols] if rows > 0 && cols > 0 => Ok([rows, cols]),
            ref other => Err(tensor.error(format!("expected a matrix, found shape {other:?}"))),
        }
    }

    /// Refuses tensors other than those in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        let names = self.checkpoint.names();
        for name in names.filter_map(|name| name.strip_prefix(self.prefix)) {
            if !known.contains(&name) {
                return Err(Error::tensor(
                    self.path(),
                    name,
                    format!("unknown; this kind has {}", known.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// A vector `[len]`.
    pub(super) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let tensor = self.floats(name, &[len])?;
        let values = tensor.to_vec()?;
        tensor.check_finite(&values, 0)?;
        Ok(values)
    }

    /// A single number, in a tensor of any rank.
    pub(super) fn scalar(&self, name: &str) -> Result<f32> {
        let tensor = self.tensor(name)?;
        if tensor.len() != 1 {
            let shape = tensor.shape();
            return Err(tensor.error(format!("expected one number, found shape {shape:?}")));
        }
        let values = tensor.to_vec()?;
        tensor.check_finite(&values, 0)?;
        Ok(values[0])
    }

    /// A single whole number.
    pub(super) fn integer(&self, name: &str) -> Result<i64> {
        let tensor = self.tensor(name)?;
        match tensor.to_i64()?.as_slice() {
            [number] => Ok(*number),
            other => Err(tensor.error(format!("expected one number, found {}", other.len()))),
        }
    }

    /// A matrix stored as `[rows, cols]`.
    pub(super) fn matrix(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Matrix> {
        let tensor = self.floats(name, &[rows, cols])?;
        let mut matrix = Matrix::zeros(rows, cols);
        for (round, out) in matrix.data_mut().chunks_mut(ROUND).enumerate() {
            let pieces = out.par_chunks_mut(PIECE).enumerate();
            pieces.try_for_each(|(piece, out)| {
                let start = round * ROUND + piece * PIECE;
                tensor.read(start..start + out.len(), out)?;
                tensor.check_finite(out, start)
            })?;
            tensor.evict();
        }
        Ok(matrix)
    }

    /// A matrix `[rows, cols]` stored as `[cols, rows]`.
    pub(super) fn transposed(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Matrix> {
        let tensor = self.floats(name, &[cols, rows])?;
        let mut matrix = Matrix::zeros(rows, cols);
        // By stored lines, which follow each other in the file: a round maps the pages that it reads.
        let at_once = (ROUND / rows / LINES).max(1) * LINES;
        for left in (0..cols).step_by(at_once) {
            let columns = left..cols.min(left + at_once);
            let blocks = matrix.data_mut().par_chunks_mut(BLOCK * cols).enumerate();
            blocks.try_for_each(|(block, out)| {
                transpose(&tensor, rows, block * BLOCK, cols, columns.clone(), out)
            })?;
            tensor.evict();
        }
        Ok(matrix)
    }

    fn tensor(&self, name: &str) -> Result<Tensor<'a>> {
        self.checkpoint.tensor(&format!("{}{name}", self.prefix))
    }

    /// A tensor of floating-point numbers, of this shape.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        let tensor = self.tensor(name)?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(tensor.error(format!("expected shape {shape:?}, found {found:?}")));
        }
        match tensor.dtype() {
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16 => Ok(tensor),
            other => Err(tensor.error(format!(
                "expected f32, f64, f16 or bf16, found {other}; is it quantised?"
            ))),
        }
    }
}

/// Writes `columns` of the rows from `first` on to `out`, `[_, cols]`; the tensor is `[cols, rows]`.
fn transpose(
    tensor: &Tensor,
    rows: usize,
    first: usize,
    cols: usize,
    columns: Range<usize>,
    out: &mut [f32],
) -> Result<()> {
    let n = out.len() / cols;
    let mut lines = vec![0.0; LINES.min(columns.len()) * n];
    for left in columns.clone().step_by(LINES) {
        let width = LINES.min(columns.end - left);
        for (line, values) in lines.chunks_exact_mut(n).take(width).enumerate() {
            let start = (left + line) * rows + first;
            tensor.read(start..start + n, values)?;
            tensor.check_finite(values, start)?;
        }
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            for (line, out) in out[left..left + width].iter_mut().enumerate() {
                *out = lines[line * n + row];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::{Elements, NewTensor, save_safetensors};

    #[test]
    fn a_matrix_of_several_rounds_and_blocks_is_transposed_correctly() {
        // Sixteen stored lines to a round, and a last block and round that are not full.
        let (rows, cols) = (ROUND / LINES - 100, 20);
        let value = |row: usize, col: usize| (row * 31 + col) as f32;
        let matrix = Matrix::from_fn(rows, cols, value);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let tensor = NewTensor {
            name: "w",
            shape: &[cols, rows],
            elements: Elements::Transposed(&matrix),
        };
        save_safetensors(&path, &[tensor], &BTreeMap::new()).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let source = Source::below(&file, "");
        let stored = source.matrix("w", [cols, rows]).unwrap();
        for (row, col) in [(0, 1), (1, 0), (1023, 15), (1024, 16), (rows - 1, cols - 1)] {
            assert_eq!(stored.row(col)[row], value(row, col));
        }
        assert!(source.transposed("w", [rows, cols]).unwrap() == matrix);
    }
}
