//! The rows of an encoder as rounded columns of panels, and the bounds of their products.

use super::rounding::{IntegerWidth, RowBounds, round};
use crate::isa::Isa;
use crate::matrix::Matrix;

/// Bounds of each column of the panels, `[panels * width]` each. A column that stands for no
/// feature never passes a screen.
#[derive(Default)]
pub(super) struct ColumnBounds {
    /// The value of an integer of the column.
    pub(super) unit: Vec<f32>,
    /// Added to the product.
    pub(super) offset: Vec<f32>,
    /// Norm of the encoder row.
    pub(super) norm: Vec<f32>,
    /// Norm of the rounding error, and of the error that f32 arithmetic may add.
    pub(super) error: Vec<f32>,
}

impl ColumnBounds {
    /// Unit, offset, norm and error of `columns` columns, to be filled in.
    pub(super) fn resize(&mut self, columns: usize) -> [&mut [f32]; 4] {
        let parts = [
            &mut self.unit,
            &mut self.offset,
            &mut self.norm,
            &mut self.error,
        ];
        parts.map(|part| {
            part.resize(columns, 0.0);
            part.as_mut_slice()
        })
    }
}

/// Rounds rows of an encoder to columns of a screen.
pub(super) struct ColumnRounder<'a> {
    pub(super) isa: Isa,
    pub(super) width: IntegerWidth,
    /// `[features, d_in]`
    pub(super) weight: &'a Matrix,
    /// `[features]`
    pub(super) offset: &'a [f32],
}

impl ColumnRounder<'_> {
    /// Rounds a feature's row to `out`; returns unit, offset, norm and error of [`ColumnBounds`].
    pub(super) fn column(&self, feature: usize, out: &mut [i16]) -> [f32; 4] {
        if feature >= self.weight.rows() {
            out.fill(0);
            return [0.0, f32::NEG_INFINITY, 0.0, 0.0];
        }
        let RowBounds { unit, norm, error } =
            round(self.isa, self.width, self.weight.row(feature), out);
        if !norm.is_finite() {
            // No bound holds for such a row: it is always a candidate.
            return [0.0, f32::INFINITY, 0.0, 0.0];
        }
        // The sum of `d_in` products in f32, in any order, is off by at most this fraction of the
        // product of the norms (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
        let summation = (self.weight.cols() + 8) as f32 * f32::EPSILON;
        [unit, self.offset[feature], norm, error + summation * norm]
    }
}
