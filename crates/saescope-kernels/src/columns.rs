//! Sparse rows by feature, and sums over the tokens of each feature.

use crate::elementwise::weighted_row_with;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::{Simd, kernel};
use crate::sparse::SparseRows;

/// The entries of [`SparseRows`] by feature: the compressed sparse columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    n_rows: usize,
    /// Feature `i` has entries `starts[i]..starts[i + 1]` of `rows` and `positions`.
    starts: Vec<usize>,
    rows: Vec<u32>,
    positions: Vec<u32>,
}

impl SparseRows {
    /// The entries by feature, for features `0..n_features`.
    ///
    /// # Panics
    /// When an entry is of another feature.
    pub fn columns(&self, n_features: usize) -> Columns {
        // Counting sort: first the start of each feature, then each entry at its place.
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

    /// Number of rows of the sparse rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of entries of all features.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if no feature has an entry.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, ascending, that have an entry of a feature, and the positions of these entries
    /// among all entries of the sparse rows.
    pub fn entries(&self, feature: usize) -> (&[u32], &[u32]) {
        let range = self.starts[feature]..self.starts[feature + 1];
        (&self.rows[range.clone()], &self.positions[range])
    }

    /// `out = sum values[position] * x[row]` over the entries of a feature, in the order of the
    /// rows; `values` `[entries]`, `x` `[rows, d]`, `out` `[d]`.
    ///
    /// # Panics
    /// When a shape is another.
    pub(crate) fn weighted_sum(
        &self,
        isa: Isa,
        feature: usize,
        values: &[f32],
        x: &Matrix,
        out: &mut [f32],
    ) {
        assert_eq!(values.len(), self.rows.len(), "values of sparse entries");
        assert_eq!(x.rows(), self.n_rows, "rows that are summed");
        assert_eq!(x.cols(), out.len(), "width of a sum of rows");
        let (rows, positions) = self.entries(feature);
        let (d, x) = (x.cols(), x.data().as_ptr());
        // SAFETY: positions and rows exist, and `out` has room for a row.
        unsafe { weighted_column(isa, rows, positions, values, x, d, out.as_mut_ptr()) };
    }

    /// The sum of the values of every feature, `[n_features]`, for `values` `[entries]`.
    ///
    /// # Panics
    /// When the number of values is another.
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
    /// `out = sum values[position] * x[row]` over the pairs of `rows` and `positions`; a row of `x`
    /// has `d` values.
    ///
    /// # Safety
    /// There are as many positions as rows, all of them exist, and `out` has room for a row.
    fn weighted_column(
        rows: &[u32],
        positions: &[u32],
        values: &[f32],
        x: *const f32,
        d: usize,
        out: *mut f32,
    ) = weighted_column_with
}

/// # Safety
/// As for [`weighted_column`].
#[inline(always)]
unsafe fn weighted_column_with<S: Simd>(
    rows: &[u32],
    positions: &[u32],
    values: &[f32],
    x: *const f32,
    d: usize,
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
            d,
            out,
        );
    }
}
