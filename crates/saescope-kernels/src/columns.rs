//! Sparse rows by feature, and what training sums over each feature's tokens.

use crate::elementwise::weighted_row_with;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::{Simd, kernel};
use crate::sparse::SparseRows;

/// The entries of [`SparseRows`] by feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    n_rows: usize,
    /// Entries of feature `i` are `starts[i]..starts[i + 1]` of what follows.
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
        let mut next = vec![0_usize; n_features];
        for &feature in self.features() {
            next[feature as usize] += 1;
        }
        let mut starts = vec![0];
        let mut total = 0;
        for next in &mut next {
            let count = std::mem::replace(next, total);
            total += count;
            starts.push(total);
        }
        let mut rows = vec![0; self.len()];
        let mut positions = vec![0; self.len()];
        for row in 0..self.rows() {
            for position in self.range(row) {
                let next = &mut next[self.features()[position] as usize];
                rows[*next] = row as u32;
                positions[*next] = position as u32;
                *next += 1;
            }
        }
        Columns {
            n_rows: self.rows(),
            starts,
            rows,
            positions,
        }
    }
}

impl Columns {
    /// Number of features.
    pub fn n_features(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of rows that the entries are of.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Entries of all features.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no feature has an entry.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, ascending, that have an entry of a feature, and the positions of these among all
    /// entries of the sparse rows.
    pub fn entries(&self, feature: usize) -> (&[u32], &[u32]) {
        let range = self.starts[feature]..self.starts[feature + 1];
        (&self.rows[range.clone()], &self.positions[range])
    }

    /// `out = sum values[position] * x[row]` over the entries of a feature, in the order of the rows;
    /// `values` `[entries]`, `x` `[rows, d]`, `out` `[d]`.
    ///
    /// # Panics
    /// When there are not as many values and rows, or `out` has another length.
    pub(crate) fn weighted_sum(
        &self,
        isa: Isa,
        feature: usize,
        (values, x): (&[f32], &Matrix),
        out: &mut [f32],
    ) {
        assert_eq!(values.len(), self.rows.len(), "values of sparse entries");
        assert_eq!(x.rows(), self.n_rows, "rows that are summed");
        assert_eq!(x.cols(), out.len(), "width of a sum of rows");
        let x = (x.data().as_ptr(), x.cols());
        // SAFETY: positions and rows exist, and `out` has room for a row.
        unsafe { weighted_column(isa, self.entries(feature), values, x, out.as_mut_ptr()) };
    }

    /// For every feature the sum of its values, `[n_features]`.
    ///
    /// # Panics
    /// When there are not as many values.
    pub fn sums(&self, values: &[f32]) -> Vec<f32> {
        assert_eq!(values.len(), self.rows.len(), "values of sparse entries");
        let sum = |feature| {
            let (_, positions) = self.entries(feature);
            positions.iter().map(|&at| values[at as usize]).sum()
        };
        (0..self.n_features()).map(sum).collect()
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
