//! Rows that are mostly zero, and their product with a dense matrix.

use std::ops::Range;

use crate::elementwise::{dot_f32, weighted_row_with};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel, load, store};

/// Sparse rows: which features are active on each token, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    /// Row `r` is entries `starts[r]..starts[r + 1]`.
    starts: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
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

    /// Where the entries of a row stand among all.
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

    /// The value of a feature in a row, 0 where it is not active.
    pub fn value(&self, row: usize, feature: u32) -> f32 {
        let (features, values) = self.row(row);
        features
            .binary_search(&feature)
            .map_or(0.0, |at| values[at])
    }

    /// Adds a row, its features in ascending order.
    ///
    /// # Panics
    /// When they are not.
    pub fn push(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (feature, value) in row {
            let row = &self.features[self.starts[self.rows()]..];
            assert!(
                row.last().is_none_or(|&last| last < feature),
                "features of a row ascend"
            );
            self.features.push(feature);
            self.values.push(value);
        }
        self.starts.push(self.features.len());
    }

    /// Entries of all rows.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether no row has an entry.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// `self W + bias`: `[rows, d]` from `weight` `[features, d]` and `bias` `[d]`. Each row is
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
            let w = (weight.data().as_ptr(), d);
            // SAFETY: the features are rows of the weight, and each row of `out` is one task's.
            unsafe { product_row(isa, self.row(row), w, bias, shared.get().add(row * d)) };
        });
    }

    /// For every entry the dot product of its row of `rows` `[rows, d]` with its feature's row of
    /// `weight` `[features, d]`.
    ///
    /// # Panics
    /// When there are not as many rows, a feature is not a row of `weight`, or widths differ.
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
                // SAFETY: both rows have the same length, and each entry is one task's.
                unsafe {
                    let out = &mut *shared.get().add(at);
                    dot_f32(isa, rows.row(row), weight.row(feature), out);
                }
            }
        });
        out
    }

    /// The product, each row of it changed by `then`, and for every entry the dot product of the changed
    /// row with its feature's row of `weight`, which is still near: `self W + bias` becomes `y`, and
    /// the dots are those of `y`. Hands back what `then` returned for each row too.
    ///
    /// # Panics
    /// As for [`SparseRows::product`].
    pub fn product_then_dots(
        &self,
        weight: &Matrix,
        bias: &[f32],
        then: impl Fn(usize, &mut [f32]) -> f64 + Sync,
    ) -> (Matrix, Vec<f64>, Vec<f32>) {
        self.product_then_dots_on(Isa::current(), weight, bias, then)
    }

    pub(crate) fn product_then_dots_on(
        &self,
        isa: Isa,
        weight: &Matrix,
        bias: &[f32],
        then: impl Fn(usize, &mut [f32]) -> f64 + Sync,
    ) -> (Matrix, Vec<f64>, Vec<f32>) {
        let d = weight.cols();
        assert_eq!(bias.len(), d, "length of a bias");
        self.check(weight);
        let mut out = Matrix::zeros(self.rows(), d);
        let (mut told, mut dots) = (vec![0.0; self.rows()], vec![0.0; self.len()]);
        let shared = Shared::new(out.data_mut());
        let (shared_told, shared_dots) = (Shared::new(&mut told), Shared::new(&mut dots));
        self.by_rows(2 * self.len() * d, |row| {
            let w = (weight.data().as_ptr(), d);
            // SAFETY: the features are rows of the weight, and each row and entry is one task's.
            unsafe {
                let y = shared.get().add(row * d);
                product_row(isa, self.row(row), w, bias, y);
                let y = std::slice::from_raw_parts_mut(y, d);
                *shared_told.get().add(row) = then(row, y);
                for at in self.range(row) {
                    let feature = self.features[at] as usize;
                    let dot = &mut *shared_dots.get().add(at);
                    dot_f32(isa, y, weight.row(feature), dot);
                }
            }
        });
        (out, told, dots)
    }

    /// # Panics
    /// When a feature is not a row of `weight`.
    fn check(&self, weight: &Matrix) {
        let largest = self.features.iter().max();
        let known = largest.is_none_or(|&feature| (feature as usize) < weight.rows());
        assert!(known, "a feature without a row of the weight");
    }

    /// Runs `task` for every row, some rows at a time, when `work` is worth it on all threads.
    fn by_rows(&self, work: usize, task: impl Fn(usize) + Sync) {
        const ROWS: usize = 16;
        parallel::for_each(self.rows().div_ceil(ROWS), work, |chunk| {
            (chunk * ROWS..((chunk + 1) * ROWS).min(self.rows())).for_each(&task);
        });
    }
}

kernel! {
    /// `out = sum value * weight[feature] + bias` over the entries of a row, its features and
    /// values; `weight` is a pointer and the length of its rows.
    ///
    /// # Safety
    /// The features are rows of the weight, `bias` is as long, and `out` has room for one.
    fn product_row(
        row: (&[u32], &[f32]),
        weight: (*const f32, usize),
        bias: &[f32],
        out: *mut f32,
    ) = product_row_with
}

/// # Safety
/// As for [`product_row`].
#[inline(always)]
unsafe fn product_row_with<S: Simd>(
    (features, values): (&[u32], &[f32]),
    weight: (*const f32, usize),
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
        weighted_row_with::<S, _>(features.len(), entry, weight, out);
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
