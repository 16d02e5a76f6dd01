//! Sums over rows in f64: norms, standard deviations, dot products, distances.

use crate::elementwise::dot;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};

/// Rows whose sums advance together: each addition has to wait for the one before in its row.
pub(super) const GROUP: usize = 8;

/// The work of a term of a sum in multiply-adds, of which a vector does several at once.
pub(super) const SUM_WORK: usize = 8;

/// The value that `Iterator::sum` starts from.
const EMPTY_SUM: f64 = -0.0;

/// Rows of a matrix.
#[derive(Clone, Copy, Debug)]
pub enum RowSet<'a> {
    /// Every row.
    All,
    /// These rows, in this order.
    Only(&'a [usize]),
}

impl RowSet<'_> {
    /// Number of rows.
    fn len(self, x: &Matrix) -> usize {
        match self {
            RowSet::All => x.rows(),
            RowSet::Only(rows) => rows.len(),
        }
    }

    fn get(self, index: usize) -> usize {
        match self {
            RowSet::All => index,
            RowSet::Only(rows) => rows[index],
        }
    }
}

/// `|x_r|^2` of the rows of `x` `[rows, d]`.
///
/// # Panics
/// When a row does not exist.
pub fn squared_row_norms(x: &Matrix, rows: RowSet) -> Vec<f64> {
    reduce(x, rows, |group| group.squares())
}

/// `|x_r|` of every row of `x` `[rows, d]`, summed in f64.
pub fn row_norms(x: &Matrix) -> Vec<f32> {
    let squares = squared_row_norms(x, RowSet::All);
    squares.iter().map(|square| square.sqrt() as f32).collect()
}

/// The standard deviation within each row of `x` `[rows, d]`, unbiased:
/// `sqrt(sum (x - mean)^2 / (d - 1))`.
///
/// # Panics
/// When a row does not exist.
pub fn row_stds(x: &Matrix, rows: RowSet) -> Vec<f64> {
    reduce(x, rows, |group| group.stds())
}

/// `x_r . vector` of the rows of `x` `[rows, d]`, for `vector` `[d]`.
///
/// # Panics
/// When a row does not exist, or the vector has another length.
pub fn row_dots(x: &Matrix, rows: RowSet, vector: &[f32]) -> Vec<f64> {
    assert_eq!(vector.len(), x.cols(), "length of a vector");
    reduce(x, rows, |group| {
        group.sums(|_, column, x| f64::from(x) * f64::from(vector[column]))
    })
}

/// `|x_r - point|^2` of every row of `x` `[rows, d]`, for `point` `[d]`; differences are f32.
///
/// # Panics
/// When the point has another length.
pub fn squared_row_distances(x: &Matrix, point: &[f32]) -> Vec<f64> {
    assert_eq!(point.len(), x.cols(), "length of a point");
    reduce(x, RowSet::All, |group| {
        group.sums(|_, column, x| f64::from(x - point[column]).powi(2))
    })
}

/// The multiple of `direction` that the rows hold, `(x_r . d) / (d . d)`; 0 for a direction of
/// zeros.
pub(super) fn shares(x: &Matrix, rows: RowSet, direction: &[f32]) -> Vec<f32> {
    let norm = dot(direction, direction);
    if norm > 0.0 {
        let dots = row_dots(x, rows, direction);
        dots.iter().map(|dot| (dot / norm) as f32).collect()
    } else {
        vec![0.0; rows.len(x)]
    }
}

/// Runs `task` for groups of rows; returns its values, one for each row.
fn reduce(x: &Matrix, rows: RowSet, task: impl Fn(&Group) -> [f64; GROUP] + Sync) -> Vec<f64> {
    let n = rows.len(x);
    let mut values = vec![0.0; n];
    let shared = Shared::new(&mut values);
    parallel::for_each(n.div_ceil(GROUP), SUM_WORK * n * x.cols(), |index| {
        let first = index * GROUP;
        let len = (n - first).min(GROUP);
        let mut group = Group::default();
        for at in 0..len {
            group.push(x.row(rows.get(first + at)));
        }
        for (at, value) in task(&group).into_iter().take(len).enumerate() {
            // SAFETY: each value belongs to one task.
            unsafe { *shared.get().add(first + at) = value };
        }
    });
    values
}

/// At most [`GROUP`] rows of equal length.
#[derive(Default)]
pub(super) struct Group<'a> {
    rows: [&'a [f32]; GROUP],
    len: usize,
}

impl<'a> Group<'a> {
    fn push(&mut self, row: &'a [f32]) {
        self.rows[self.len] = row;
        self.len += 1;
    }

    /// The rows of `values`, `cols` values each.
    pub(super) fn of(values: &'a [f32], cols: usize) -> Group<'a> {
        let mut group = Group::default();
        values.chunks_exact(cols).for_each(|row| group.push(row));
        group
    }

    fn cols(&self) -> usize {
        self.rows[0].len()
    }

    /// The sum of `term(row, column, value)` over each row, in the order of the columns.
    #[inline(always)]
    pub(super) fn sums(&self, term: impl Fn(usize, usize, f32) -> f64) -> [f64; GROUP] {
        let mut sums = [EMPTY_SUM; GROUP];
        let cols = self.cols();
        if self.len == GROUP {
            let rows = self.rows.map(|row| &row[..cols]);
            for column in 0..cols {
                for (at, (sum, row)) in sums.iter_mut().zip(rows).enumerate() {
                    *sum += term(at, column, row[column]);
                }
            }
        } else {
            for (at, (sum, row)) in sums.iter_mut().zip(self.rows).enumerate() {
                for (column, &value) in row.iter().enumerate() {
                    *sum += term(at, column, value);
                }
            }
        }
        sums
    }

    /// `|x|^2` of each row.
    #[inline(always)]
    pub(super) fn squares(&self) -> [f64; GROUP] {
        self.sums(|_, _, x| f64::from(x) * f64::from(x))
    }

    /// The mean of each row.
    #[inline(always)]
    pub(super) fn means(&self) -> [f64; GROUP] {
        let n = self.cols() as f64;
        self.sums(|_, _, x| f64::from(x)).map(|sum| sum / n)
    }

    /// The unbiased standard deviation of each row.
    #[inline(always)]
    pub(super) fn stds(&self) -> [f64; GROUP] {
        let n = self.cols() as f64;
        let means = self.means();
        let squares = self.sums(|row, _, x| (f64::from(x) - means[row]).powi(2));
        squares.map(|squares| (squares / (n - 1.0)).sqrt())
    }
}
