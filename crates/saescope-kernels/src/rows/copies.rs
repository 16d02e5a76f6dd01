//! Rows copied between matrices, in any order.

use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};

/// Copies row `from_rows[i]` of `from` `[n, d]` to row `to_rows[i]` of `to` `[m, d]`.
///
/// # Panics
/// When widths or the numbers of rows differ, a row does not exist, or a row is written twice.
pub fn copy_rows(from: &Matrix, from_rows: &[usize], to: &mut Matrix, to_rows: &[usize]) {
    assert_eq!(from.cols(), to.cols(), "width of copied rows");
    assert_eq!(from_rows.len(), to_rows.len(), "number of copied rows");
    let mut written = vec![false; to.rows()];
    for &row in to_rows {
        assert!(
            !std::mem::replace(&mut written[row], true),
            "row {row} is written twice"
        );
    }
    let cols = to.cols();
    let shared = Shared::new(to.data_mut());
    by_rows(to_rows.len(), cols, |at| {
        let row = from.row(from_rows[at]);
        // SAFETY: the rows exist and differ, so that each belongs to one task.
        unsafe {
            let to = shared.get().add(to_rows[at] * cols);
            std::ptr::copy_nonoverlapping(row.as_ptr(), to, cols);
        }
    });
}

/// `to`, reshaped to `[rows, d]`, becomes the given rows of `from` `[n, d]`.
///
/// # Panics
/// When a row does not exist.
pub fn gather_rows(from: &Matrix, rows: &[usize], to: &mut Matrix) {
    to.reshape(rows.len(), from.cols());
    let all: Vec<usize> = (0..rows.len()).collect();
    copy_rows(from, rows, to, &all);
}

/// Copies row `i` of `from` `[rows, d]` to row `rows[i]` of `to` `[n, d]`.
///
/// # Panics
/// As for [`copy_rows`].
pub fn scatter_rows(from: &Matrix, to: &mut Matrix, rows: &[usize]) {
    let all: Vec<usize> = (0..from.rows()).collect();
    copy_rows(from, &all, to, rows);
}

/// Adds row `rows[i]` of `table` `[n, d]` to row `i` of `x` `[rows, d]`.
///
/// # Panics
/// When widths or the numbers of rows differ, or a row does not exist.
pub fn add_gathered_rows(x: &mut Matrix, table: &Matrix, rows: &[usize]) {
    assert_eq!(x.cols(), table.cols(), "width of added rows");
    assert_eq!(x.rows(), rows.len(), "number of added rows");
    let cols = x.cols();
    let shared = Shared::new(x.data_mut());
    by_rows(rows.len(), cols, |at| {
        // SAFETY: each row belongs to one task.
        let to = unsafe { std::slice::from_raw_parts_mut(shared.get().add(at * cols), cols) };
        for (to, from) in to.iter_mut().zip(table.row(rows[at])) {
            *to += from;
        }
    });
}
