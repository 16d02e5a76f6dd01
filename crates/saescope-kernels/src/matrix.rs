//! `Matrix`: row-major f32, contiguous, 64-byte aligned.

use std::fmt;

/// f32 in a cache line.
const LINE: usize = 16;

/// A buffer of f32 that starts on a cache line. It never gives memory back before it is dropped,
/// so that one that is used over and over settles at its largest size.
#[derive(Default)]
pub(crate) struct Buffer {
    /// Longer than what it holds by what it takes to start on a cache line.
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::zeros(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Buffer {
    pub(crate) fn zeros(len: usize) -> Buffer {
        // Zeroed f32, unlike zeroed structs, come from the allocator as they are: whole pages cost
        // nothing until they are touched, and then the thread that touches them pays.
        let mut values = vec![0.0; len + LINE];
        huge_pages(&mut values);
        let start = values
            .as_ptr()
            .align_offset(LINE * size_of::<f32>())
            .min(LINE);
        Buffer { values, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }

    /// The same memory as bf16, two to an f32.
    pub(crate) fn as_bf16(&self) -> &[u16] {
        let values = self.as_slice();
        // SAFETY: u16 has no invalid bits and a smaller alignment, and the length is in bytes the
        // same.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), 2 * values.len()) }
    }

    /// The same memory as bf16, two to an f32.
    pub(crate) fn as_bf16_mut(&mut self) -> &mut [u16] {
        let values = self.as_mut_slice();
        // SAFETY: as for `as_bf16`, and every bit pattern is an f32 too.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), 2 * values.len()) }
    }

    /// Takes a length; the values are unspecified.
    pub(crate) fn renew(&mut self, len: usize) {
        if len > self.capacity() {
            // The old memory first: both at once would be the peak.
            *self = Buffer::default();
            *self = Buffer::zeros(len);
        }
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.values.len() - self.start
    }

    fn extend(&mut self, len: usize) {
        if len > self.capacity() {
            // Twice the size, so that rows appended one by one are not copied every time.
            let mut larger = Buffer::zeros(len.max(2 * self.len));
            larger.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
            *self = larger;
        }
        self.len = len;
    }
}

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

    /// `[rows, cols]` from a function of row and column.
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

    /// Adds the rows of `other` below.
    ///
    /// # Panics
    /// When the columns differ.
    pub fn append_rows(&mut self, other: &Matrix) {
        assert_eq!(self.cols, other.cols, "columns of appended rows");
        let end = self.data().len();
        self.data.extend(end + other.data().len());
        self.data_mut()[end..].copy_from_slice(other.data());
        self.rows += other.rows;
    }

    /// The named rows, in the order named.
    pub fn select_rows(&self, rows: &[usize]) -> Matrix {
        let mut selected = Matrix::zeros(rows.len(), self.cols);
        for (to, &from) in rows.iter().enumerate() {
            selected.row_mut(to).copy_from_slice(self.row(from));
        }
        selected
    }

    /// Takes the shape `[rows, cols]`, keeping the allocation where it is large enough.
    /// The values are unspecified afterwards.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.data.renew(rows * cols);
        self.rows = rows;
        self.cols = cols;
    }

    /// Values that there is room for.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }
}

/// Asks for large pages where the system leaves the choice to the program: one page fault instead
/// of 512, and streams that the processor's prefetchers follow further.
fn huge_pages(values: &mut [f32]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let range = values.as_mut_ptr_range();
        let first = (range.start as usize).next_multiple_of(HUGE);
        let end = range.end as usize / HUGE * HUGE;
        if first < end {
            // SAFETY: whole pages within memory that this program holds. The advice changes no
            // value, and where it is refused nothing is lost.
            unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
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
