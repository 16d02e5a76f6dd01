//! Gradients of large matrices, computed row by row when an optimiser asks for them.
//!
//! A gradient keeps its terms. It is as large as its matrix and never held whole: each row is
//! computed in the first cache, used by the step and dropped. Which loss the terms come from is not
//! known here.

use std::borrow::Cow;
use std::sync::Arc;

use crate::columns::Columns;
use crate::elementwise::{self, dot_f32};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, kernel, load, store};

/// The constraint on the norms of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNorm {
    /// No constraint.
    Free,
    /// Norm 1: a gradient loses its component along the row, `g -= (g . p) / (p . p) p`, and the
    /// row is scaled to norm 1 after its step. A row of zeros stays.
    Unit,
}

/// The gradient of a matrix `[n, d]`: sums over the tokens of each row's feature, and added terms.
pub struct Gradient<'a> {
    sums: Sums<'a>,
    /// Outer products to add.
    outer: Vec<Outer>,
    /// `[n]`, or empty: the multiple of each row's unit vector to add.
    along: Vec<f32>,
}

enum Sums<'a> {
    Dense(Matrix),
    Sparse {
        columns: Arc<Columns>,
        terms: Vec<Term<'a>>,
    },
}

/// A term of a sparse gradient: for every feature the sum of `values[position] * x[row]` over its
/// entries.
pub struct Term<'a> {
    /// `[entries]`, in the order of the sparse rows.
    pub values: Vec<f32>,
    /// `[rows, d]`
    pub x: Cow<'a, Matrix>,
}

/// The outer product of factors `[n]` and a row `[d]`.
struct Outer {
    factors: Vec<f32>,
    row: Vec<f32>,
}

impl<'a> Gradient<'a> {
    /// A gradient held whole, `[n, d]`.
    pub fn dense(gradient: Matrix) -> Gradient<'a> {
        Gradient::new(Sums::Dense(gradient))
    }

    /// The sum of sparse terms, each summed in the order of the rows.
    ///
    /// # Panics
    /// When a term has another number of values or rows, or the widths of terms differ.
    pub fn sparse(columns: Arc<Columns>, terms: Vec<Term<'a>>) -> Gradient<'a> {
        for Term { values, x } in &terms {
            assert_eq!(values.len(), columns.len(), "values of sparse entries");
            assert_eq!(x.rows(), columns.n_rows(), "rows that are summed");
            assert_eq!(x.cols(), terms[0].x.cols(), "width of a gradient's terms");
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

    /// Adds `factors[i] * row` to every row `i`, for `factors` `[n]` and `row` `[d]`.
    pub fn add_outer(&mut self, factors: Vec<f32>, row: Vec<f32>) {
        self.outer.push(Outer { factors, row });
    }

    /// Adds `factors[i] p_i / |p_i|` to every row `i`, for `factors` `[n]` and the parameters `p`.
    pub fn add_along(&mut self, factors: &[f32]) {
        if self.along.is_empty() {
            self.along = factors.to_vec();
        } else {
            let pairs = self.along.iter_mut().zip(factors);
            pairs.for_each(|(along, factor)| *along += factor);
        }
    }

    /// The gradient of one row of `params` `[n, d]`; returns `[d]`.
    ///
    /// # Panics
    /// When there is no such row, or shapes differ.
    pub fn row(&self, row: usize, params: &Matrix, norm: RowNorm) -> Vec<f32> {
        let mut grad = RowGradient::new(Isa::current(), self, params.cols());
        grad.index = row;
        match grad.compute(params.row(row), norm) {
            Some(_) => grad.values,
            None => vec![0.0; params.cols()],
        }
    }

    /// The sum of the gradient's squares, for parameters `[n, d]`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn squared_norm(&self, params: &Matrix, norm: RowNorm) -> f64 {
        let (n, d) = (params.rows(), params.cols());
        self.by_rows(Isa::current(), n, d, |row, grad| {
            grad.compute(params.row(row), norm).unwrap_or(0.0)
        })
    }

    /// Runs `task` for every row of `[n, d]`, with the row's gradient to compute; returns the sum
    /// of the results in the order of the rows.
    ///
    /// # Panics
    /// When the gradient has another shape.
    pub(crate) fn by_rows(
        &self,
        isa: Isa,
        n: usize,
        d: usize,
        task: impl Fn(usize, &mut RowGradient) -> f64 + Sync,
    ) -> f64 {
        /// Rows of a task: enough to be worth a thread, few enough that threads end together.
        const ROWS: usize = 32;
        self.check(n, d);
        let mut sums = vec![0.0; n];
        let shared = Shared::new(&mut sums);
        parallel::for_each(n.div_ceil(ROWS), n * d * 8, |chunk| {
            let mut grad = RowGradient::new(isa, self, d);
            for row in chunk * ROWS..((chunk + 1) * ROWS).min(n) {
                grad.index = row;
                let sum = task(row, &mut grad);
                // SAFETY: each row belongs to one task.
                unsafe { *shared.get().add(row) = sum };
            }
        });
        sums.iter().sum()
    }

    /// # Panics
    /// When the gradient is not `[n, d]`.
    fn check(&self, n: usize, d: usize) {
        let shape = match &self.sums {
            Sums::Dense(gradient) => (gradient.rows(), gradient.cols()),
            Sums::Sparse { columns, terms } => {
                let width = terms.first().map_or(d, |term| term.x.cols());
                (columns.n_features(), width)
            }
        };
        assert_eq!(shape, (n, d), "shape of a gradient");
        for Outer { factors, row } in &self.outer {
            assert_eq!((factors.len(), row.len()), (n, d), "shape of a gradient");
        }
        assert!(
            [0, n].contains(&self.along.len()),
            "shape of a gradient along parameters"
        );
    }
}

/// The gradient of one row.
pub(crate) struct RowGradient<'a> {
    isa: Isa,
    gradient: &'a Gradient<'a>,
    index: usize,
    values: Vec<f32>,
    /// Scratch for terms after the first.
    term: Vec<f32>,
}

impl<'a> RowGradient<'a> {
    fn new(isa: Isa, gradient: &'a Gradient<'a>, d: usize) -> RowGradient<'a> {
        RowGradient {
            isa,
            gradient,
            index: 0,
            values: vec![0.0; d],
            term: Vec::new(),
        }
    }

    /// The gradient that [`RowGradient::compute`] computed, `[d]`.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Computes the gradient of the row whose parameters are `p` `[d]`; returns the sum of its
    /// squares, or `None` if the row has no gradient.
    pub(crate) fn compute(&mut self, p: &[f32], norm: RowNorm) -> Option<f64> {
        let mut any = self.sum();
        let values = &mut self.values;
        for Outer { factors, row } in &self.gradient.outer {
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

    /// Computes the sums alone; returns true if there are any.
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
                for (at, Term { values, x }) in terms.iter().enumerate() {
                    if at == 0 {
                        columns.weighted_sum(self.isa, self.index, values, x, &mut self.values);
                    } else {
                        self.term.resize(self.values.len(), 0.0);
                        columns.weighted_sum(self.isa, self.index, values, x, &mut self.term);
                        add(&mut self.values, 1.0, &self.term);
                    }
                }
                true
            }
        }
    }
}

/// `to += factor * row`
fn add(to: &mut [f32], factor: f32, row: &[f32]) {
    let pairs = to.iter_mut().zip(row);
    pairs.for_each(|(to, row)| *to += factor * row);
}

kernel! {
    /// `grad -= (grad . along) / (along . along) along`; unchanged if `along` is zero.
    ///
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
