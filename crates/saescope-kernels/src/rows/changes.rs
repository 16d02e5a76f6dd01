//! Changes of rows in place: directions added and removed, factors and shifts.

use super::sums::{RowSet, shares};
use crate::elementwise::add_scaled;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{Shared, by_rows};
use crate::simd::{Simd, each, kernel, load, store};

/// `x_r += factors[i] * direction` for every row `r = rows[i]` of `x` `[n, d]`, `direction` `[d]`.
///
/// # Panics
/// When rows do not ascend or do not exist, or a length is another.
pub fn add_direction(x: &mut Matrix, rows: &[usize], factors: &[f32], direction: &[f32]) {
    add_direction_on(Isa::current(), x, rows, factors, direction);
}

pub(crate) fn add_direction_on(
    isa: Isa,
    x: &mut Matrix,
    rows: &[usize],
    factors: &[f32],
    direction: &[f32],
) {
    let cols = x.cols();
    assert_eq!(direction.len(), cols, "length of a direction");
    assert_eq!(factors.len(), rows.len(), "factors of rows");
    assert!(
        rows.is_sorted_by(|a, b| a < b) && rows.last().is_none_or(|&row| row < x.rows()),
        "rows have to ascend and exist"
    );
    let shared = Shared::new(x.data_mut());
    by_rows(rows.len(), cols, |at| {
        // SAFETY: the rows exist and differ, so that each belongs to one task.
        unsafe {
            add_scaled(
                isa,
                shared.get().add(rows[at] * cols),
                factors[at],
                direction,
            )
        };
    });
}

/// Removes the component along `direction` `[d]` from rows of `x` `[n, d]`:
/// `x_r -= (x_r . d) / (d . d) d`. A direction of zeros changes nothing.
///
/// # Panics
/// As for [`add_direction`].
pub fn project_out(x: &mut Matrix, rows: &[usize], direction: &[f32]) {
    project_out_on(Isa::current(), x, rows, direction);
}

pub(crate) fn project_out_on(isa: Isa, x: &mut Matrix, rows: &[usize], direction: &[f32]) {
    let mut factors = shares(x, RowSet::Only(rows), direction);
    factors.iter_mut().for_each(|factor| *factor = -*factor);
    add_direction_on(isa, x, rows, &factors, direction);
}

/// `x_r = scales[r] * x_r + shifts[r]` for every row of `x` `[rows, d]`, `scales` and `shifts`
/// `[rows]`.
///
/// # Panics
/// When a length is another.
pub fn affine_rows(x: &mut Matrix, scales: &[f32], shifts: &[f32]) {
    affine_rows_on(Isa::current(), x, scales, shifts);
}

pub(crate) fn affine_rows_on(isa: Isa, x: &mut Matrix, scales: &[f32], shifts: &[f32]) {
    assert_eq!(scales.len(), x.rows(), "scales of rows");
    assert_eq!(shifts.len(), x.rows(), "shifts of rows");
    // SAFETY: the row holds `cols` values and belongs to one task.
    change_rows(x, |row, values, cols| unsafe {
        affine_row(isa, values, cols, scales[row], shifts[row]);
    });
}

/// `x_r *= factors[r]` for every row of `x` `[rows, d]`, `factors` `[rows]`.
///
/// # Panics
/// When the number of factors is another.
pub fn scale_rows(x: &mut Matrix, factors: &[f32]) {
    scale_rows_on(Isa::current(), x, factors);
}

pub(crate) fn scale_rows_on(isa: Isa, x: &mut Matrix, factors: &[f32]) {
    assert_eq!(factors.len(), x.rows(), "factors of rows");
    // SAFETY: the row holds `cols` values and belongs to one task.
    change_rows(x, |row, values, cols| unsafe {
        scale_row(isa, values, cols, factors[row]);
    });
}

/// `x_r -= row` for every row of `x` `[rows, d]`, `row` `[d]`.
///
/// # Panics
/// When the length of `row` is another.
pub fn subtract_row(x: &mut Matrix, row: &[f32]) {
    subtract_row_on(Isa::current(), x, row);
}

pub(crate) fn subtract_row_on(isa: Isa, x: &mut Matrix, row: &[f32]) {
    assert_eq!(row.len(), x.cols(), "length of a subtracted row");
    // SAFETY: the row holds as many values and belongs to one task.
    change_rows(x, |_, values, _| unsafe { subtract(isa, values, row) });
}

/// `x_r = factor * (x_r - centre)` for every row of `x` `[rows, d]`, `centre` `[d]`.
///
/// # Panics
/// When the length of `centre` is another.
pub fn centre_and_scale(x: &mut Matrix, centre: &[f32], factor: f32) {
    centre_and_scale_on(Isa::current(), x, centre, factor);
}

pub(crate) fn centre_and_scale_on(isa: Isa, x: &mut Matrix, centre: &[f32], factor: f32) {
    assert_eq!(centre.len(), x.cols(), "length of a centre");
    // SAFETY: the row holds as many values and belongs to one task.
    change_rows(x, |_, values, cols| unsafe {
        subtract(isa, values, centre);
        scale_row(isa, values, cols, factor);
    });
}

/// `x[r][c] *= factors[c]` for every row of `x` `[rows, d]`, `factors` `[d]`.
///
/// # Panics
/// When the number of factors is another.
pub fn scale_columns(x: &mut Matrix, factors: &[f32]) {
    scale_columns_on(Isa::current(), x, factors);
}

pub(crate) fn scale_columns_on(isa: Isa, x: &mut Matrix, factors: &[f32]) {
    assert_eq!(factors.len(), x.cols(), "factors of columns");
    // SAFETY: the row holds as many values and belongs to one task.
    change_rows(x, |_, values, _| unsafe { multiply(isa, values, factors) });
}

/// Runs `task` for every row, with its index, its first value and its length; no two tasks share a
/// row.
fn change_rows(x: &mut Matrix, task: impl Fn(usize, *mut f32, usize) + Sync) {
    let (rows, cols) = (x.rows(), x.cols());
    let shared = Shared::new(x.data_mut());
    by_rows(rows, cols, |row| {
        task(row, shared.get().wrapping_add(row * cols), cols);
    });
}

kernel! {
    /// `x = scale * x + shift`, rounded twice.
    ///
    /// # Safety
    /// `x` holds `n` values.
    fn affine_row(x: *mut f32, n: usize, scale: f32, shift: f32) = affine_row_with
}

/// # Safety
/// As for [`affine_row`].
#[inline(always)]
unsafe fn affine_row_with<S: Simd>(x: *mut f32, n: usize, scale: f32, shift: f32) {
    // SAFETY: as the caller promises.
    unsafe {
        let (scale, shift) = (S::splat(scale), S::splat(shift));
        each!(S, n, x, |i, x, lanes| S::add(S::mul(x, scale), shift));
    }
}

kernel! {
    /// `x *= factor`
    ///
    /// # Safety
    /// `x` holds `n` values.
    fn scale_row(x: *mut f32, n: usize, factor: f32) = scale_row_with
}

/// # Safety
/// As for [`scale_row`].
#[inline(always)]
unsafe fn scale_row_with<S: Simd>(x: *mut f32, n: usize, factor: f32) {
    // SAFETY: as the caller promises.
    unsafe {
        let factor = S::splat(factor);
        each!(S, n, x, |i, x, lanes| S::mul(x, factor));
    }
}

kernel! {
    /// `x -= row`
    ///
    /// # Safety
    /// `x` holds as many values as `row`.
    fn subtract(x: *mut f32, row: &[f32]) = subtract_with
}

/// # Safety
/// As for [`subtract`].
#[inline(always)]
unsafe fn subtract_with<S: Simd>(x: *mut f32, row: &[f32]) {
    let (n, row) = (row.len(), row.as_ptr());
    // SAFETY: as the caller promises.
    unsafe {
        each!(S, n, x, |i, x, lanes| S::sub(
            x,
            load::<S>(row.add(i), lanes)
        ));
    }
}

kernel! {
    /// `x *= factors`, value by value.
    ///
    /// # Safety
    /// `x` holds as many values as `factors`.
    fn multiply(x: *mut f32, factors: &[f32]) = multiply_with
}

/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn multiply_with<S: Simd>(x: *mut f32, factors: &[f32]) {
    let (n, factors) = (factors.len(), factors.as_ptr());
    // SAFETY: as the caller promises.
    unsafe {
        each!(S, n, x, |i, x, lanes| S::mul(
            x,
            load::<S>(factors.add(i), lanes)
        ));
    }
}
