//! Sparse rows and their products with dense matrices.

use std::ops::Range;

use crate::elementwise::{add_scaled, dot_f32, weighted_row_with};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::rows::error_of_row;
use crate::simd::{Simd, kernel, load, store};

/// Sparse rows: the active features of each token and their activations.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    /// Row `r` has entries `starts[r]..starts[r + 1]`.
    starts: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
}

/// The squared error of a sparse product and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseError {
    /// The gradient by the product, `2 weight (y - target)`, `[rows, d]`.
    pub gradient: Matrix,
    /// `|y - target|^2` of every row.
    pub squared: Vec<f64>,
    /// The gradient by the value of every entry, `[entries]`.
    pub by_value: Vec<f32>,
}

impl Default for SparseRows {
    fn default() -> SparseRows {
        SparseRows {
            starts: vec![0],
            features: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl SparseRows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The features of a row in ascending order, and their values.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.range(row);
        (&self.features[range.clone()], &self.values[range])
    }

    /// The positions of a row's entries among all entries.
    pub(crate) fn range(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// The features of all entries, row by row.
    pub fn features(&self) -> &[u32] {
        &self.features
    }

    /// The values of all entries, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The features and values of a row.
    pub fn entries(&self, row: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let (features, values) = self.row(row);
        features.iter().copied().zip(values.iter().copied())
    }

    /// The value of a feature in a row; 0 if it is not active.
    pub fn value(&self, row: usize, feature: u32) -> f32 {
        let (features, values) = self.row(row);
        features
            .binary_search(&feature)
            .map_or(0.0, |at| values[at])
    }

    /// Appends a row.
    ///
    /// # Panics
    /// When its features do not ascend.
    pub fn push(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (feature, value) in row {
            let row = &self.features[self.starts[self.rows()]..];
            assert!(
                row.last().is_none_or(|&last| last < feature),
                "features of a row have to ascend"
            );
            self.features.push(feature);
            self.values.push(value);
        }
        self.starts.push(self.features.len());
    }

    /// Number of entries of all rows.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// True if no row has an entry.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// `self W + bias`, `[rows, d]`, for `weight` `[features, d]` and `bias` `[d]`. Each row is
    /// summed in the order of its features.
    ///
    /// # Panics
    /// When a feature is not a row of `weight`, or the bias has another length.
    pub fn product(&self, weight: &Matrix, bias: &[f32]) -> Matrix {
        let mut out = Matrix::default();
        self.product_on(Isa::current(), weight, bias, &mut out);
        out
    }

    pub(crate) fn product_on(&self, isa: Isa, weight: &Matrix, bias: &[f32], out: &mut Matrix) {
        let d = weight.cols();
        assert_eq!(bias.len(), d, "length of a bias");
        self.check(weight);
        out.reshape(self.rows(), d);
        let shared = Shared::new(out.data_mut());
        self.by_rows(self.len() * d, |row| {
            let (features, values) = self.row(row);
            let w = weight.data().as_ptr();
            // SAFETY: the features are rows of the weight, and each row of `out` belongs to one
            // task.
            unsafe { product_row(isa, features, values, w, bias, shared.get().add(row * d)) };
        });
    }

    /// `x_t += value * weight_feature` for every entry of row `i`, one after the other in the order
    /// of its features, where `t = rows[i]` is a row of `x` `[n, d]` and `weight` is
    /// `[features, d]`.
    ///
    /// # Panics
    /// When `rows` do not ascend or do not exist, a feature is not a row of `weight`, or a shape is
    /// another.
    pub fn add_product_to_rows(&self, weight: &Matrix, x: &mut Matrix, rows: &[usize]) {
        self.add_product_to_rows_on(Isa::current(), weight, x, rows);
    }

    pub(crate) fn add_product_to_rows_on(
        &self,
        isa: Isa,
        weight: &Matrix,
        x: &mut Matrix,
        rows: &[usize],
    ) {
        let d = x.cols();
        assert_eq!(weight.cols(), d, "width of an added product");
        assert_eq!(rows.len(), self.rows(), "rows of an added product");
        assert!(
            rows.is_sorted_by(|a, b| a < b) && rows.last().is_none_or(|&row| row < x.rows()),
            "rows have to ascend and exist"
        );
        self.check(weight);
        let shared = Shared::new(x.data_mut());
        self.by_rows(self.len() * d, |row| {
            for (feature, value) in self.entries(row) {
                let direction = weight.row(feature as usize);
                // SAFETY: the rows exist and differ, so that each belongs to one task.
                unsafe { add_scaled(isa, shared.get().add(rows[row] * d), value, direction) };
            }
        });
    }

    /// The dot product, for every entry, of the entry's row of `rows` `[rows, d]` with its
    /// feature's row of `weight` `[features, d]`.
    ///
    /// # Panics
    /// When the numbers of rows or the widths differ, or a feature is not a row of `weight`.
    pub fn dots(&self, rows: &Matrix, weight: &Matrix) -> Vec<f32> {
        self.dots_on(Isa::current(), rows, weight)
    }

    pub(crate) fn dots_on(&self, isa: Isa, rows: &Matrix, weight: &Matrix) -> Vec<f32> {
        assert_eq!(rows.rows(), self.rows(), "rows of sparse dot products");
        assert_eq!(rows.cols(), weight.cols(), "width of sparse dot products");
        self.check(weight);
        let mut out = vec![0.0; self.len()];
        let shared = Shared::new(&mut out);
        self.by_rows(self.len() * rows.cols(), |row| {
            for at in self.range(row) {
                let feature = self.features[at] as usize;
                // SAFETY: both rows have the same length, and each entry belongs to one task.
                unsafe {
                    let out = &mut *shared.get().add(at);
                    dot_f32(isa, rows.row(row), weight.row(feature), out);
                }
            }
        });
        out
    }

    /// The squared error of the product `y = self W + bias + residual` against `target`, as
    /// [`squared_error`](crate::squared_error) has it, with its gradient by every entry's value:
    /// the dots of the gradient by `y` with `weight`, computed while a row is in the cache.
    /// `weight` is `[features, d]`, `bias` `[d]`, `residual` and `target` `[rows, d]`.
    ///
    /// # Panics
    /// As for [`SparseRows::product`], and when another shape does not fit.
    pub fn squared_error(
        &self,
        weight: &Matrix,
        bias: &[f32],
        residual: Option<&Matrix>,
        target: &Matrix,
        error_weight: f64,
    ) -> SparseError {
        for other in residual.into_iter().chain([target]) {
            let shape = (other.rows(), other.cols());
            assert_eq!(shape, (self.rows(), weight.cols()), "shape of a target");
        }
        let (gradient, squared, by_value) =
            self.product_then_dots_on(Isa::current(), weight, bias, |row, y| {
                if let Some(residual) = residual {
                    let pairs = y.iter_mut().zip(residual.row(row));
                    pairs.for_each(|(y, residual)| *y += residual);
                }
                error_of_row(y, target.row(row), error_weight)
            });
        SparseError {
            gradient,
            squared,
            by_value,
        }
    }

    /// The product `self W + bias`, each row changed by `change`; the results of `change`, one for
    /// each row; and [`SparseRows::dots`] of the changed product with `weight`.
    pub(crate) fn product_then_dots_on(
        &self,
        isa: Isa,
        weight: &Matrix,
        bias: &[f32],
        change: impl Fn(usize, &mut [f32]) -> f64 + Sync,
    ) -> (Matrix, Vec<f64>, Vec<f32>) {
        let d = weight.cols();
        assert_eq!(bias.len(), d, "length of a bias");
        self.check(weight);
        let mut out = Matrix::zeros(self.rows(), d);
        let (mut results, mut dots) = (vec![0.0; self.rows()], vec![0.0; self.len()]);
        let shared = Shared::new(out.data_mut());
        let (shared_results, shared_dots) = (Shared::new(&mut results), Shared::new(&mut dots));
        self.by_rows(2 * self.len() * d, |row| {
            let (features, values) = self.row(row);
            let w = weight.data().as_ptr();
            // SAFETY: the features are rows of the weight, and each row and entry belongs to one
            // task.
            unsafe {
                let y = shared.get().add(row * d);
                product_row(isa, features, values, w, bias, y);
                let y = std::slice::from_raw_parts_mut(y, d);
                *shared_results.get().add(row) = change(row, y);
                for at in self.range(row) {
                    let feature = self.features[at] as usize;
                    let dot = &mut *shared_dots.get().add(at);
                    dot_f32(isa, y, weight.row(feature), dot);
                }
            }
        });
        (out, results, dots)
    }

    /// # Panics
    /// When a feature is not a row of `weight`.
    fn check(&self, weight: &Matrix) {
        let largest = self.features.iter().max();
        let known = largest.is_none_or(|&feature| (feature as usize) < weight.rows());
        assert!(known, "a feature without a row of the weight");
    }

    /// Runs `task` for every row, in chunks shared out over threads if `work` is worth it.
    fn by_rows(&self, work: usize, task: impl Fn(usize) + Sync) {
        const ROWS: usize = 16;
        parallel::for_each(self.rows().div_ceil(ROWS), work, |chunk| {
            (chunk * ROWS..((chunk + 1) * ROWS).min(self.rows())).for_each(&task);
        });
    }
}

kernel! {
    /// `out = sum value * weight[feature] + bias` over the entries of a row; a row of `weight` is
    /// as long as `bias`.
    ///
    /// # Safety
    /// There are as many values as features, the features are rows of the weight, and `out` has
    /// room for one.
    fn product_row(
        features: &[u32],
        values: &[f32],
        weight: *const f32,
        bias: &[f32],
        out: *mut f32,
    ) = product_row_with
}

/// # Safety
/// As for [`product_row`].
#[inline(always)]
unsafe fn product_row_with<S: Simd>(
    features: &[u32],
    values: &[f32],
    weight: *const f32,
    bias: &[f32],
    out: *mut f32,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let entry = |at: usize| {
            (
                *values.get_unchecked(at),
                *features.get_unchecked(at) as usize,
            )
        };
        weighted_row_with::<S, _>(features.len(), entry, weight, bias.len(), out);
        let mut i = 0;
        while i < bias.len() {
            let lanes = (bias.len() - i).min(S::LANES);
            let sum = load::<S>(out.add(i), lanes);
            let bias = load::<S>(bias.as_ptr().add(i), lanes);
            store::<S>(out.add(i), S::add(sum, bias), lanes);
            i += lanes;
        }
    }
}
