//! The gradient of a matrix that is trained, row by row, for the step that takes it.
//!
//! What it is made of is kept, and the gradient itself, which is as large as the matrix, never
//! whole: each row is made when its turn comes, in the first cache, and then is forgotten.

use std::borrow::Cow;
use std::sync::Arc;

use crate::columns::Columns;
use crate::elementwise::{self, dot_f32};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel, load, store};

/// What holds of the norms of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNorm {
    /// Nothing.
    Free,
    /// They are 1: a gradient loses what would only make its row longer,
    /// `g -= (g . p) / (p . p) p`, and a row is scaled after its step. A row of zeros stays.
    Unit,
}

/// The gradient of a matrix `[n, d]`: sums over the tokens of each row's feature, and what is added.
pub struct Gradient<'a> {
    sums: Sums<'a>,
    /// Factors `[n]` and a row `[d]`: their outer product.
    outer: Vec<(Vec<f32>, Vec<f32>)>,
    /// `[n]`, or empty: how much of each parameters' row, as a direction of length 1.
    along: Vec<f32>,
}

enum Sums<'a> {
    Dense(Matrix),
    Sparse {
        columns: Arc<Columns>,
        terms: Vec<Term<'a>>,
    },
}

/// A value for each entry, and the rows it multiplies.
pub type Term<'a> = (Vec<f32>, Cow<'a, Matrix>);

impl<'a> Gradient<'a> {
    /// One that has been found, `[n, d]`.
    pub fn dense(gradient: Matrix) -> Gradient<'a> {
        Gradient::new(Sums::Dense(gradient))
    }

    /// For every feature the sum of `values[position] * x[row]` over its entries, `values`
    /// `[entries]` and `x` `[rows, d]`, in the order of the rows, one term after the other.
    ///
    /// # Panics
    /// When there are not as many values or rows, or the widths of terms differ.
    pub fn sparse(columns: Arc<Columns>, terms: Vec<Term<'a>>) -> Gradient<'a> {
        for (values, x) in &terms {
            assert_eq!(values.len(), columns.len(), "values of sparse entries");
            assert_eq!(x.rows(), columns.n_rows(), "rows that are summed");
            assert_eq!(x.cols(), terms[0].1.cols(), "width of a gradient's terms");
        }
        Gradient::new(Sums::Sparse { columns, terms })
    }

    fn new(sums: Sums<'a>) -> Gradient<'a> {
        Gradient {
            sums,
            outer: Vec::new(),
            along: Vec::new(),
        }
    }

    /// Adds `factors[i] * row` to every row, `factors` `[n]` and `row` `[d]`.
    pub fn add_outer(&mut self, factors: Vec<f32>, row: Vec<f32>) {
        self.outer.push((factors, row));
    }

    /// Adds `factors[i] p_i / |p_i|` to every row, `factors` `[n]` and `p` the parameters.
    pub fn add_along(&mut self, factors: &[f32]) {
        if self.along.is_empty() {
            self.along = factors.to_vec();
        } else {
            let pairs = self.along.iter_mut().zip(factors);
            pairs.for_each(|(along, factor)| *along += factor);
        }
    }

    /// The gradient of one row of `params` `[n, d]`.
    ///
    /// # Panics
    /// When there is no such row, or shapes differ.
    pub fn row(&self, row: usize, params: &Matrix, norm: RowNorm) -> Vec<f32> {
        let mut grad = Row::new(Isa::current(), self, params.cols());
        grad.index = row;
        match grad.find(params.row(row), norm) {
            Some(_) => grad.values,
            None => vec![0.0; params.cols()],
        }
    }

    /// The sum of squares, given the parameters `[n, d]`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn squared_norm(&self, params: &Matrix, norm: RowNorm) -> f64 {
        let shape = (params.rows(), params.cols());
        self.by_rows(Isa::current(), shape, |row, grad| {
            grad.find(params.row(row), norm).unwrap_or(0.0)
        })
    }

    /// Runs `task` for every row of `[n, d]`, with what finds its gradient; the sum of what it returns,
    /// in the order of the rows.
    ///
    /// # Panics
    /// When the shape is another.
    pub(crate) fn by_rows(
        &self,
        isa: Isa,
        (n, d): (usize, usize),
        task: impl Fn(usize, &mut Row) -> f64 + Sync,
    ) -> f64 {
        /// Rows of a task: enough to be worth it, few enough that threads end together.
        const ROWS: usize = 32;
        self.check(n, d);
        let mut sums = vec![0.0; n];
        let shared = Shared::new(&mut sums);
        parallel::for_each(n.div_ceil(ROWS), n * d * 8, |chunk| {
            let mut grad = Row::new(isa, self, d);
            for row in chunk * ROWS..((chunk + 1) * ROWS).min(n) {
                grad.index = row;
                let sum = task(row, &mut grad);
                // SAFETY: each row is one task's.
                unsafe { *shared.get().add(row) = sum };
            }
        });
        sums.iter().sum()
    }

    /// # Panics
    /// When the gradient is not one of `[n, d]`.
    fn check(&self, n: usize, d: usize) {
        let shape = match &self.sums {
            Sums::Dense(gradient) => (gradient.rows(), gradient.cols()),
            Sums::Sparse { columns, terms } => {
                let width = terms.first().map_or(d, |(_, x)| x.cols());
                (columns.n_features(), width)
            }
        };
        assert_eq!(shape, (n, d), "shape of a gradient");
        for (factors, row) in &self.outer {
            assert_eq!((factors.len(), row.len()), (n, d), "shape of a gradient");
        }
        assert!(
            [0, n].contains(&self.along.len()),
            "shape of a gradient along parameters"
        );
    }
}

/// The gradient of the row at hand.
pub(crate) struct Row<'a> {
    isa: Isa,
    gradient: &'a Gradient<'a>,
    index: usize,
    values: Vec<f32>,
    /// For terms after the first.
    term: Vec<f32>,
}

impl<'a> Row<'a> {
    fn new(isa: Isa, gradient: &'a Gradient<'a>, d: usize) -> Row<'a> {
        Row {
            isa,
            gradient,
            index: 0,
            values: vec![0.0; d],
            term: Vec::new(),
        }
    }

    /// What [`Row::find`] found.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The gradient of the row whose parameters are `p`: the sum of its squares, or `None` where
    /// there is none.
    pub(crate) fn find(&mut self, p: &[f32], norm: RowNorm) -> Option<f64> {
        let mut any = self.sum();
        let values = &mut self.values;
        for (factors, row) in &self.gradient.outer {
            let factor = factors[self.index];
            if factor != 0.0 {
                any = true;
                add(values, factor, row);
            }
        }
        let along = self.gradient.along.get(self.index).copied();
        if let Some(along) = along.filter(|&along| along != 0.0) {
            let length = elementwise::dot(p, p).sqrt();
            if length > 0.0 {
                any = true;
                add(values, (f64::from(along) / length) as f32, p);
            }
        }
        if !any {
            return None;
        }
        let mut squares = 0.0;
        // SAFETY: the gradient has as many values as the parameters.
        unsafe {
            if norm == RowNorm::Unit {
                project_row(self.isa, values.as_mut_ptr(), p);
            }
            dot_f32(self.isa, values, values, &mut squares);
        }
        Some(f64::from(squares))
    }

    /// The sums alone; whether there are any.
    fn sum(&mut self) -> bool {
        match &self.gradient.sums {
            Sums::Dense(gradient) => {
                self.values.copy_from_slice(gradient.row(self.index));
                true
            }
            Sums::Sparse { columns, terms } => {
                if columns.entries(self.index).0.is_empty() || terms.is_empty() {
                    self.values.fill(0.0);
                    return false;
                }
                for (at, (values, x)) in terms.iter().enumerate() {
                    let term = (values.as_slice(), &**x);
                    if at == 0 {
                        columns.weighted_sum(self.isa, self.index, term, &mut self.values);
                    } else {
                        self.term.resize(self.values.len(), 0.0);
                        columns.weighted_sum(self.isa, self.index, term, &mut self.term);
                        add(&mut self.values, 1.0, &self.term);
                    }
                }
                true
            }
        }
    }
}

fn add(to: &mut [f32], factor: f32, row: &[f32]) {
    let pairs = to.iter_mut().zip(row);
    pairs.for_each(|(to, row)| *to += factor * row);
}

kernel! {
    /// # Safety
    /// `grad` is valid for as many values as `along` has.
    fn project_row(grad: *mut f32, along: &[f32]) = project_row_with
}

/// # Safety
/// As for [`project_row`].
#[inline(always)]
unsafe fn project_row_with<S: Simd>(grad: *mut f32, along: &[f32]) {
    let n = along.len();
    // SAFETY: every vector lies within the `n` values.
    unsafe {
        let (mut product, mut squares) = (0.0, 0.0);
        let row = std::slice::from_raw_parts(grad, n);
        elementwise::dot_f32_with::<S>(row, along, &mut product);
        elementwise::dot_f32_with::<S>(along, along, &mut squares);
        if squares > 0.0 {
            let factor = S::splat(-product / squares);
            let mut i = 0;
            while i < n {
                let lanes = (n - i).min(S::LANES);
                let p = load::<S>(along.as_ptr().add(i), lanes);
                let g = load::<S>(grad.add(i), lanes);
                store::<S>(grad.add(i), S::fma(factor, p, g), lanes);
                i += lanes;
            }
        }
    }
}
