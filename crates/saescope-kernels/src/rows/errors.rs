//! Errors and gradients of training, row by row.

use super::sums::{GROUP, Group, SUM_WORK};
use crate::matrix::Matrix;
use crate::parallel::{self, Shared, by_rows};

/// The squared error of `y` `[rows, d]` against `target` `[rows, d]`: returns `|y_r - target_r|^2`
/// of every row, and `y` becomes the gradient of their sum times `weight`, `2 weight (y - target)`.
///
/// # Panics
/// When shapes differ.
pub fn squared_error(y: &mut Matrix, target: &Matrix, weight: f64) -> Vec<f64> {
    let (rows, cols) = (y.rows(), y.cols());
    assert_eq!(
        (rows, cols),
        (target.rows(), target.cols()),
        "shape of a target"
    );
    let mut squared = vec![0.0; rows];
    let (shared_y, shared) = (Shared::new(y.data_mut()), Shared::new(&mut squared));
    parallel::for_each(rows.div_ceil(GROUP), SUM_WORK * rows * cols, |group| {
        let first = group * GROUP;
        let len = (rows - first).min(GROUP);
        let target = &target.data()[first * cols..][..len * cols];
        // SAFETY: each group of rows and its values belong to one task.
        unsafe {
            let y = std::slice::from_raw_parts_mut(shared_y.get().add(first * cols), len * cols);
            let group = error_of_group(y, target, cols, weight);
            for (at, value) in group.into_iter().take(len).enumerate() {
                *shared.get().add(first + at) = value;
            }
        }
    });
    squared
}

/// [`squared_error`] of one row.
pub(crate) fn error_of_row(y: &mut [f32], target: &[f32], weight: f64) -> f64 {
    error_of_group(y, target, y.len().max(1), weight)[0]
}

/// [`squared_error`] of a group of rows of `cols` values.
#[inline(always)]
fn error_of_group(y: &mut [f32], target: &[f32], cols: usize, weight: f64) -> [f64; GROUP] {
    let squared = Group::of(y, cols).sums(|row, column, y| {
        let target = target[row * cols + column];
        f64::from(y - target).powi(2)
    });
    let factor = (2.0 * weight) as f32;
    let pairs = y.iter_mut().zip(target);
    pairs.for_each(|(y, target)| *y = factor * (*y - target));
    squared
}

/// The gradient of ReLU with a penalty: `d[r][c]` becomes `d[r][c] + slopes[r]` where `f[r][c]` is
/// positive and 0 elsewhere, for `d` and `f` `[rows, n]` and `slopes` `[rows]`. Returns the sum of
/// every row of `d`.
///
/// # Panics
/// When shapes differ.
pub fn relu_backward(d: &mut Matrix, f: &Matrix, slopes: &[f32]) -> Vec<f32> {
    let (rows, cols) = (d.rows(), d.cols());
    assert_eq!((rows, cols), (f.rows(), f.cols()), "shape of activations");
    assert_eq!(slopes.len(), rows, "slopes of rows");
    let mut sums = vec![0.0; rows];
    let (shared_d, shared) = (Shared::new(d.data_mut()), Shared::new(&mut sums));
    by_rows(rows, 2 * cols, |row| {
        // SAFETY: each row and its sum belong to one task.
        let (d, total) = unsafe {
            let d = std::slice::from_raw_parts_mut(shared_d.get().add(row * cols), cols);
            (d, &mut *shared.get().add(row))
        };
        for (d, f) in d.iter_mut().zip(f.row(row)) {
            *d = if *f > 0.0 { *d + slopes[row] } else { 0.0 };
        }
        *total = sum(d);
    });
    sums
}

/// Positive entries and sums of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct PositiveRows {
    /// Number of positive entries of every row.
    pub counts: Vec<u32>,
    /// Sum of all entries of every row.
    pub sums: Vec<f32>,
}

/// The number of positive entries and the sum of every row of `x` `[rows, n]`.
pub fn positive_rows(x: &Matrix) -> PositiveRows {
    let (mut counts, mut sums) = (vec![0; x.rows()], vec![0.0; x.rows()]);
    let (shared_counts, shared_sums) = (Shared::new(&mut counts), Shared::new(&mut sums));
    by_rows(x.rows(), 2 * x.cols(), |row| {
        let values = x.row(row);
        // SAFETY: the count and the sum of each row belong to one task.
        unsafe {
            *shared_counts.get().add(row) = values.iter().map(|&x| u32::from(x > 0.0)).sum();
            *shared_sums.get().add(row) = sum(values);
        }
    });
    PositiveRows { counts, sums }
}

/// The sum of a row, as independent sums that do not wait for each other.
fn sum(row: &[f32]) -> f32 {
    const CHAINS: usize = 16;
    let mut chains = [0.0; CHAINS];
    let chunks = row.chunks_exact(CHAINS);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        let pairs = chains.iter_mut().zip(chunk);
        pairs.for_each(|(chain, x)| *chain += x);
    }
    chains.iter().sum::<f32>() + rest
}
