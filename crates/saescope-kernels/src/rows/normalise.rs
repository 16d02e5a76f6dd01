//! Rows centred, standardised or scaled, with the statistics that undo the change.

use super::sums::{GROUP, Group, SUM_WORK};
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};

/// Subtracts its mean, rounded to f32, from every row of `x` `[rows, d]`; returns the means.
pub fn centre_rows(x: &mut Matrix) -> Vec<f32> {
    change_groups(x, |values, cols| {
        let means = Group::of(values, cols).means().map(|mean| mean as f32);
        for (row, mean) in values.chunks_exact_mut(cols).zip(means) {
            row.iter_mut().for_each(|x| *x -= mean);
        }
        means
    })
}

/// Subtracts its mean, summed in f32, from every row of `x` `[rows, d]`.
pub fn centre_rows_in_f32(x: &mut Matrix) {
    change_groups(x, |values, cols| {
        for row in values.chunks_exact_mut(cols) {
            let mean = row.iter().sum::<f32>() / cols as f32;
            row.iter_mut().for_each(|x| *x -= mean);
        }
        [0.0; GROUP]
    });
}

/// Divides every row of `x` `[rows, d]` by its unbiased standard deviation plus `eps`; returns the
/// standard deviations. The rows are not centred.
pub fn standardise_rows(x: &mut Matrix, eps: f64) -> Vec<f32> {
    change_groups(x, |values, cols| {
        let stds = Group::of(values, cols).stds();
        for (row, std) in values.chunks_exact_mut(cols).zip(stds) {
            scale(row, 1.0 / (std + eps));
        }
        stds.map(|std| std as f32)
    })
}

/// Divides every row of `x` `[rows, d]` by its root mean square, `sqrt(|x_r|^2 / d)`; returns the
/// roots. A row of zeros stays.
pub fn divide_rows_by_rms(x: &mut Matrix) -> Vec<f32> {
    change_groups(x, |values, cols| {
        let squares = Group::of(values, cols).squares();
        let roots = squares.map(|squares| (squares / cols as f64).sqrt());
        for (row, root) in values.chunks_exact_mut(cols).zip(roots) {
            scale(row, if root > 0.0 { 1.0 / root } else { 0.0 });
        }
        roots.map(|root| root as f32)
    })
}

/// Scales every row of `x` `[rows, d]` to `norm`; a row of zeros stays.
pub fn scale_rows_to_norm(x: &mut Matrix, norm: f32) {
    change_groups(x, |values, cols| {
        let lengths = Group::of(values, cols).squares().map(f64::sqrt);
        for (row, length) in values.chunks_exact_mut(cols).zip(lengths) {
            if length > 0.0 {
                scale(row, f64::from(norm) / length);
            }
        }
        [0.0; GROUP]
    });
}

/// `row *= factor`, multiplied in f64.
fn scale(row: &mut [f32], factor: f64) {
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) * factor) as f32);
}

/// Runs `task` for the values and the number of columns of groups of rows; returns its values, one
/// for each row.
fn change_groups(
    x: &mut Matrix,
    task: impl Fn(&mut [f32], usize) -> [f32; GROUP] + Sync,
) -> Vec<f32> {
    let (rows, cols) = (x.rows(), x.cols());
    let mut values = vec![0.0; rows];
    if cols == 0 {
        return values;
    }
    let (shared_x, shared) = (Shared::new(x.data_mut()), Shared::new(&mut values));
    parallel::for_each(rows.div_ceil(GROUP), SUM_WORK * rows * cols, |group| {
        let first = group * GROUP;
        let len = (rows - first).min(GROUP);
        // SAFETY: each group of rows and its values belong to one task.
        unsafe {
            let group = shared_x.get().add(first * cols);
            let group = std::slice::from_raw_parts_mut(group, len * cols);
            for (at, value) in task(group, cols).into_iter().take(len).enumerate() {
                *shared.get().add(first + at) = value;
            }
        }
    });
    values
}
