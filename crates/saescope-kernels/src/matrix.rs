//! `Matrix`: shape and memory of rows of f32. Operations on matrices stand in later modules.

use std::fmt;
use std::ops::Range;

use crate::buffer::Buffer;

/// A matrix of f32, row-major, contiguous, 64-byte aligned.
#[derive(Clone, Default)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Buffer,
}

impl Matrix {
    /// `[rows, cols]` of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Matrix {
        Matrix {
            rows,
            cols,
            data: Buffer::zeros(rows * cols),
        }
    }

    /// `[rows, cols]` from values in row order.
    ///
    /// # Panics
    /// When there are not `rows * cols` values.
    pub fn from_vec(rows: usize, cols: usize, values: Vec<f32>) -> Matrix {
        assert_eq!(
            values.len(),
            rows * cols,
            "values of a {rows} x {cols} matrix"
        );
        let mut matrix = Matrix::zeros(rows, cols);
        matrix.data_mut().copy_from_slice(&values);
        matrix
    }

    /// `[rows, cols]`, each value computed from its row and column.
    pub fn from_fn(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f32) -> Matrix {
        let mut matrix = Matrix::zeros(rows, cols);
        for row in 0..rows {
            for (col, value) in matrix.row_mut(row).iter_mut().enumerate() {
                *value = f(row, col);
            }
        }
        matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values in row order.
    pub fn data(&self) -> &[f32] {
        self.data.as_slice()
    }

    /// All values in row order.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data()[row * self.cols..][..self.cols]
    }

    /// One row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let cols = self.cols;
        &mut self.data_mut()[row * cols..][..cols]
    }

    /// Appends the rows of `other`.
    ///
    /// # Panics
    /// When the numbers of columns differ.
    pub fn append_rows(&mut self, other: &Matrix) {
        assert_eq!(self.cols, other.cols, "columns of appended rows");
        let end = self.data().len();
        self.data.extend(end + other.data().len());
        self.data_mut()[end..].copy_from_slice(other.data());
        self.rows += other.rows;
    }

    /// A copy of the given rows, in the given order.
    ///
    /// # Panics
    /// When a row does not exist.
    pub fn select_rows(&self, rows: &[usize]) -> Matrix {
        let mut selected = Matrix::zeros(rows.len(), self.cols);
        for (to, &from) in rows.iter().enumerate() {
            selected.row_mut(to).copy_from_slice(self.row(from));
        }
        selected
    }

    /// A copy of a range of rows.
    ///
    /// # Panics
    /// When a row does not exist.
    pub fn copy_of_rows(&self, rows: Range<usize>) -> Matrix {
        let mut copy = Matrix::zeros(rows.len(), self.cols);
        let values = &self.data()[rows.start * self.cols..rows.end * self.cols];
        copy.data_mut().copy_from_slice(values);
        copy
    }

    /// Sets every value of a row.
    ///
    /// # Panics
    /// When the row does not exist.
    pub fn fill_row(&mut self, row: usize, value: f32) {
        self.row_mut(row).fill(value);
    }

    /// Takes the shape `[rows, cols]`, with unspecified values; the memory is kept if it is large
    /// enough.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.data.renew(rows * cols);
        self.rows = rows;
        self.cols = cols;
    }

    /// Values that fit without a new allocation.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Matrix) -> bool {
        self.rows == other.rows && self.cols == other.cols && self.data() == other.data()
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(
            f,
            "Matrix[{} x {}] {:?}",
            self.rows,
            self.cols,
            &self.data()[..self.data().len().min(SHOWN)]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_starts_on_a_cache_line() {
        for rows in [1, 7, 17] {
            assert_eq!(Matrix::zeros(rows, 3).data().as_ptr() as usize % 64, 0);
        }
    }

    #[test]
    fn appended_rows_follow() {
        let mut a = Matrix::from_fn(3, 7, |r, c| (r * 7 + c) as f32);
        a.append_rows(&Matrix::from_fn(2, 7, |r, c| (21 + r * 7 + c) as f32));
        assert_eq!(a, Matrix::from_fn(5, 7, |r, c| (r * 7 + c) as f32));
        assert_eq!(a.select_rows(&[4, 0]).row(0), a.row(4));
    }
}
