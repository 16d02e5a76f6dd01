//! Rows that are mostly zero, and their product with a dense matrix.

use rayon::prelude::*;

use crate::matrix::Matrix;

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
        let range = self.starts[row]..self.starts[row + 1];
        (&self.features[range.clone()], &self.values[range])
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
        let d = weight.cols();
        assert_eq!(bias.len(), d, "length of a bias");
        let mut out = Matrix::zeros(self.rows(), d);
        let rows = out.data_mut().par_chunks_exact_mut(d.max(1));
        rows.enumerate().for_each(|(row, out)| {
            for (feature, value) in self.entries(row) {
                for (out, w) in out.iter_mut().zip(weight.row(feature as usize)) {
                    *out += value * w;
                }
            }
            for (out, bias) in out.iter_mut().zip(bias) {
                *out += bias;
            }
        });
        out
    }
}
