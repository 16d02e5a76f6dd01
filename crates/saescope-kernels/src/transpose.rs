//! Transposition of matrices and of blocks of 32-bit words.

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel};

/// `to`, reshaped to `[cols, rows]`, becomes the transpose of `from` `[rows, cols]`.
pub fn transpose(from: &Matrix, to: &mut Matrix) {
    transpose_on(Isa::current(), from, to);
}

pub(crate) fn transpose_on(isa: Isa, from: &Matrix, to: &mut Matrix) {
    /// Rows and columns of a task: both blocks stay in the second cache, and cache lines are whole.
    const ROWS: usize = 64;
    const COLS: usize = 1024;
    let (rows, cols) = (from.rows(), from.cols());
    to.reshape(cols, rows);
    let out = Shared::new(to.data_mut());
    let across = cols.div_ceil(COLS);
    parallel::for_each(rows.div_ceil(ROWS) * across, rows * cols, |task| {
        let (row, col) = (task / across * ROWS, task % across * COLS);
        let (height, width) = ((rows - row).min(ROWS), (cols - col).min(COLS));
        // SAFETY: the block lies within both matrices, and no other task writes its part of `to`.
        unsafe {
            let from = from.data().as_ptr().add(row * cols + col);
            let to = out.get().add(col * rows + row);
            transpose_words(isa, height, width, from.cast(), cols, to.cast(), rows);
        }
    });
}

kernel! {
    /// Writes the transpose of a `[rows, cols]` block of 32-bit words. Strides count words.
    ///
    /// # Safety
    /// Both hold the block, and they do not overlap.
    pub(crate) fn transpose_words(
        rows: usize,
        cols: usize,
        from: *const u32,
        from_stride: usize,
        to: *mut u32,
        to_stride: usize,
    ) = transpose_words_with
}

/// # Safety
/// As for [`transpose_words`].
#[inline(always)]
unsafe fn transpose_words_with<S: Simd>(
    rows: usize,
    cols: usize,
    from: *const u32,
    from_stride: usize,
    to: *mut u32,
    to_stride: usize,
) {
    let (whole_rows, whole_cols) = (rows - rows % S::LANES, cols - cols % S::LANES);
    // SAFETY: every word that is read or written lies within the block.
    unsafe {
        for col in (0..whole_cols).step_by(S::LANES) {
            for row in (0..whole_rows).step_by(S::LANES) {
                let from = from.add(row * from_stride + col);
                S::transpose(from, from_stride, to.add(col * to_stride + row), to_stride);
            }
        }
        for row in 0..rows {
            let written = if row < whole_rows { whole_cols } else { 0 };
            for col in written..cols {
                *to.add(col * to_stride + row) = *from.add(row * from_stride + col);
            }
        }
    }
}
