//! Rows of a weight, read from tensors that store them in various orders.

use std::ops::Range;

use rayon::prelude::*;
use saescope_kernels::{Precision, Weight};

use crate::checkpoint::Tensor;
use crate::error::Result;

/// Number of values read at a time, so that a row is still in the nearest cache when it is checked.
const PIECE: usize = 16 * 1024;

/// Successive rows of a weight, and the tensor that stores them.
pub(super) struct Rows<'a> {
    pub(super) tensor: Tensor<'a>,
    pub(super) n_rows: usize,
    pub(super) order: Order,
}

/// The order in which a tensor stores the rows of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// `[rows, d_in]`, row by row.
    AsIs,
    /// `[d_in, rows]`, as GPT-2's Conv1D stores its weight.
    Transposed,
    /// `[heads, d_head / 2, 2]`, rotary pairs side by side; they become halves, `[heads, 2, d_head / 2]`.
    Pairs { d_head: usize },
    /// `[heads, 3, d_head]`, which becomes `[3, heads, d_head]`.
    Grouped { n_heads: usize, d_head: usize },
}

impl Order {
    /// The row of the tensor that is `row` of the weight.
    fn stored_row(self, row: usize) -> usize {
        match self {
            Order::AsIs | Order::Transposed => row,
            Order::Pairs { d_head } => {
                let (head, at) = (row / d_head, row % d_head);
                let half = d_head / 2;
                head * d_head + 2 * (at % half) + at / half
            }
            Order::Grouped { n_heads, d_head } => {
                let (part, head) = (row / d_head / n_heads, row / d_head % n_heads);
                (head * 3 + part) * d_head + row % d_head
            }
        }
    }
}

/// Packs a weight `[d_out, d_in]` of the rows of `parts`, one part after another. `scratch` is memory
/// that one weight after another reuses.
pub(super) fn pack(
    parts: &[Rows],
    d_in: usize,
    precision: Precision,
    scratch: &mut Vec<f32>,
) -> Result<Weight> {
    if let [part] = parts
        && part.order == Order::Transposed
    {
        return part.pack_transposed(d_in, precision, scratch);
    }
    let d_out = parts.iter().map(|part| part.n_rows).sum();
    let weight = Weight::pack(d_out, d_in, precision, |range, out| {
        let mut first = 0;
        for part in parts {
            let own = first..first + part.n_rows;
            let (start, end) = (own.start.max(range.start), own.end.min(range.end));
            if start < end {
                let out = &mut out[(start - range.start) * d_in..(end - range.start) * d_in];
                part.read(start - first..end - first, d_in, out)?;
            }
            first = own.end;
        }
        Ok(())
    })?;
    for part in parts {
        part.tensor.evict();
    }
    Ok(weight)
}

/// The bias `[d_out]` of the rows of `parts`.
pub(super) fn bias(parts: &[Rows]) -> Result<Vec<f32>> {
    let mut bias = Vec::with_capacity(parts.iter().map(|part| part.n_rows).sum());
    for part in parts {
        let stored = vector(&part.tensor)?;
        bias.extend((0..part.n_rows).map(|row| stored[part.order.stored_row(row)]));
    }
    Ok(bias)
}

/// All values of a small tensor.
pub(super) fn vector(tensor: &Tensor) -> Result<Vec<f32>> {
    let values = tensor.to_vec()?;
    tensor.check_finite(&values, 0)?;
    Ok(values)
}

impl Rows<'_> {
    /// Writes `rows` to `out`, `[rows, d_in]`.
    fn read(&self, rows: Range<usize>, d_in: usize, out: &mut [f32]) -> Result<()> {
        match self.order {
            Order::AsIs => {
                let at_once = (PIECE / d_in).max(1);
                for (i, out) in out.chunks_mut(at_once * d_in).enumerate() {
                    self.read_run((rows.start + i * at_once) * d_in, out)?;
                }
                Ok(())
            }
            Order::Transposed => self.read_transposed(rows, d_in, out),
            Order::Pairs { .. } | Order::Grouped { .. } => {
                for (row, out) in rows.zip(out.chunks_exact_mut(d_in)) {
                    self.read_run(self.order.stored_row(row) * d_in, out)?;
                }
                Ok(())
            }
        }
    }

    /// Transposes the whole weight before packing. Packing asks for a few rows at a time; gathering so few
    /// columns, far apart in memory, each time takes twice as long.
    fn pack_transposed(
        &self,
        d_in: usize,
        precision: Precision,
        scratch: &mut Vec<f32>,
    ) -> Result<Weight> {
        const ROWS: usize = 256;
        let len = self.n_rows * d_in;
        scratch.resize(scratch.len().max(len), 0.0);
        let pieces = scratch[..len].par_chunks_mut(ROWS * d_in);
        pieces.enumerate().try_for_each(|(i, out)| {
            let first = i * ROWS;
            self.read_transposed(first..first + out.len() / d_in, d_in, out)
        })?;
        self.tensor.evict();
        Weight::pack(self.n_rows, d_in, precision, |range, out| {
            out.copy_from_slice(&scratch[range.start * d_in..range.end * d_in]);
            Ok(())
        })
    }

    /// Gathers columns: reads a run of each of a few stored rows at a time, and writes short runs.
    fn read_transposed(&self, rows: Range<usize>, d_in: usize, out: &mut [f32]) -> Result<()> {
        const AT_ONCE: usize = 16;
        let len = rows.len();
        let mut tile = vec![0.0; AT_ONCE * len];
        for first in (0..d_in).step_by(AT_ONCE) {
            let n = AT_ONCE.min(d_in - first);
            for (i, run) in tile.chunks_exact_mut(len).take(n).enumerate() {
                self.read_run((first + i) * self.n_rows + rows.start, run)?;
            }
            for (j, row) in out.chunks_exact_mut(d_in).enumerate() {
                for (i, value) in row[first..first + n].iter_mut().enumerate() {
                    *value = tile[i * len + j];
                }
            }
        }
        Ok(())
    }

    fn read_run(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.tensor.read(start..start + out.len(), out)?;
        self.tensor.check_finite(out, start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_side_by_side_become_halves() {
        // Two heads of four: stored (0, 1) and (2, 3) are pairs.
        let order = Order::Pairs { d_head: 4 };
        let stored: Vec<usize> = (0..8).map(|row| order.stored_row(row)).collect();
        assert_eq!(stored, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn grouped_heads_become_all_queries_all_keys_all_values() {
        // Two heads of two: q0 q0 k0 k0 v0 v0 q1 q1 k1 k1 v1 v1.
        let order = Order::Grouped {
            n_heads: 2,
            d_head: 2,
        };
        let stored: Vec<usize> = (0..12).map(|row| order.stored_row(row)).collect();
        assert_eq!(stored, [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
    }
}
