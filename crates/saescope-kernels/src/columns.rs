//! Sparse rows by feature, and what training sums over each feature's tokens.

use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel};
use crate::sparse::{SparseRows, weighted_row_with};

/// The entries of [`SparseRows`] by feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    n_rows: usize,
    /// Features with entries, in ascending order.
    features: Vec<u32>,
    /// Those of `features[i]` are `starts[i]..starts[i + 1]` of what follows.
    starts: Vec<usize>,
    rows: Vec<u32>,
    positions: Vec<u32>,
}

impl SparseRows {
    /// The entries by feature, of which there are `n_features`.
    ///
    /// # Panics
    /// When a feature is not among them.
    pub fn columns(&self, n_features: usize) -> Columns {
        // Counting sort: where the entries of each feature start, then each to its place.
        let mut next = vec![0_u32; n_features];
        for &feature in self.features() {
            next[feature as usize] += 1;
        }
        let (mut features, mut starts) = (Vec::new(), vec![0]);
        let mut total = 0;
        for (feature, next) in next.iter_mut().enumerate() {
            let count = std::mem::replace(next, total);
            if count > 0 {
                total += count;
                features.push(feature as u32);
                starts.push(total as usize);
            }
        }
        let mut rows = vec![0; self.len()];
        let mut positions = vec![0; self.len()];
        for row in 0..self.rows() {
            for position in self.range(row) {
                let next = &mut next[self.features()[position] as usize];
                rows[*next as usize] = row as u32;
                positions[*next as usize] = position as u32;
                *next += 1;
            }
        }
        Columns {
            n_rows: self.rows(),
            features,
            starts,
            rows,
            positions,
        }
    }
}

impl Columns {
    /// The features that have entries, in ascending order.
    pub fn features(&self) -> &[u32] {
        &self.features
    }

    /// The rows, ascending, that have an entry of the feature number `index` of
    /// [`Columns::features`], and the positions of these among all entries of the sparse rows.
    pub fn entries(&self, index: usize) -> (&[u32], &[u32]) {
        let range = self.starts[index]..self.starts[index + 1];
        (&self.rows[range.clone()], &self.positions[range])
    }

    /// For every feature with entries the sum of `values[position] * x[row]` over them:
    /// `out`, reshaped to `[features, d]`, from `values` `[entries]` and `x` `[rows, d]`. Summed in
    /// the order of the rows.
    ///
    /// # Panics
    /// When there are not as many values and rows.
    pub fn weighted_sums(&self, values: &[f32], x: &Matrix, out: &mut Matrix) {
        self.weighted_sums_on(Isa::current(), values, x, out);
    }

    pub(crate) fn weighted_sums_on(&self, isa: Isa, values: &[f32], x: &Matrix, out: &mut Matrix) {
        /// Features of a task.
        const FEATURES: usize = 32;
        assert_eq!(values.len(), self.rows.len(), "values of sparse entries");
        assert_eq!(x.rows(), self.n_rows, "rows that are summed");
        let (n, d) = (self.features.len(), x.cols());
        out.reshape(n, d);
        let shared = Shared::new(out.data_mut());
        parallel::for_each(n.div_ceil(FEATURES), values.len() * d, |task| {
            for index in task * FEATURES..((task + 1) * FEATURES).min(n) {
                // SAFETY: positions and rows exist, as was checked, and the row of `out` is that of
                // one task.
                unsafe {
                    let out = shared.get().add(index * d);
                    weighted_column(
                        isa,
                        self.entries(index),
                        values,
                        (x.data().as_ptr(), d),
                        out,
                    );
                }
            }
        });
    }

    /// For every feature with entries the sum of its values, `[features]`.
    ///
    /// # Panics
    /// When there are not as many values.
    pub fn sums(&self, values: &[f32]) -> Vec<f32> {
        assert_eq!(values.len(), self.rows.len(), "values of sparse entries");
        let sum = |index| {
            let (_, positions) = self.entries(index);
            positions.iter().map(|&at| values[at as usize]).sum()
        };
        (0..self.features.len()).map(sum).collect()
    }
}

kernel! {
    /// `out = sum values[position] * x[row]` over `entries`, rows and positions; `x` is a pointer
    /// and the length of its rows.
    ///
    /// # Safety
    /// Rows and positions exist, and `out` has room for a row.
    fn weighted_column(
        entries: (&[u32], &[u32]),
        values: &[f32],
        x: (*const f32, usize),
        out: *mut f32,
    ) = weighted_column_with
}

/// # Safety
/// As for [`weighted_column`].
#[inline(always)]
unsafe fn weighted_column_with<S: Simd>(
    (rows, positions): (&[u32], &[u32]),
    values: &[f32],
    x: (*const f32, usize),
    out: *mut f32,
) {
    // SAFETY: as the caller promises.
    unsafe {
        weighted_row_with::<S, _>(
            rows.len(),
            |entry| {
                let position = *positions.get_unchecked(entry) as usize;
                let row = *rows.get_unchecked(entry) as usize;
                (*values.get_unchecked(position), row)
            },
            x,
            out,
        );
    }
}
