//! Sparse rows, gradients and the optimiser.

use std::borrow::Cow;
use std::sync::Arc;

use super::common::*;
use crate::optimiser;

#[test]
fn sparse_products_equal_a_plain_loop() {
    for isa in Isa::available() {
        for d in SIZES {
            for rows in [1, 7, 49] {
                let (entries, weight) = (sparse(rows, 30, 1), matrix(30, d, 2));
                let (bias, x) = (values(d, 3), matrix(rows, d, 4));
                let context = format!("{isa} {rows} x {d}");
                let mut out = Matrix::default();
                entries.product_on(isa, &weight, &bias, &mut out);
                let cell = |row: usize, column: usize| {
                    let of = |(f, a): (u32, f32)| {
                        f64::from(a) * f64::from(weight.row(f as usize)[column])
                    };
                    entries.entries(row).map(of).sum::<f64>() + f64::from(bias[column])
                };
                let cells = (0..rows).flat_map(|row| (0..d).map(move |column| (row, column)));
                let expected: Vec<f64> = cells.map(|(row, column)| cell(row, column)).collect();
                assert_close(out.data(), &expected, 1e-6, &context);

                let expected: Vec<f64> = (0..rows)
                    .flat_map(|row| entries.entries(row).map(move |(f, _)| (row, f as usize)))
                    .map(|(row, feature)| dot(x.row(row), weight.row(feature)))
                    .collect();
                assert_close(
                    &entries.dots_on(isa, &x, &weight),
                    &expected,
                    2e-6,
                    &context,
                );
            }
        }
    }
}

#[test]
fn dots_of_a_changed_product_equal_separate_steps() {
    for isa in Isa::available() {
        for d in SIZES {
            let entries = sparse(49, 30, 1);
            let (weight, bias, other) = (matrix(30, d, 2), values(d, 3), matrix(49, d, 4));
            let mut expected = Matrix::default();
            entries.product_on(isa, &weight, &bias, &mut expected);
            for row in 0..49 {
                let pairs = expected.row_mut(row).iter_mut().zip(other.row(row));
                pairs.for_each(|(y, other)| *y -= other);
            }
            let dots = entries.dots_on(isa, &expected, &weight);
            let found = entries.product_then_dots_on(isa, &weight, &bias, |row, y| {
                y.iter_mut()
                    .zip(other.row(row))
                    .for_each(|(y, other)| *y -= other);
                row as f64
            });
            let rows = (0..49).map(f64::from).collect();
            assert_eq!(found, (expected, rows, dots), "{isa} {d}");
        }
    }
}

#[test]
fn columns_hold_the_entries_by_feature() {
    for (rows, n_features) in [(1, 7), (49, 17), (7, 1000)] {
        let entries = sparse(rows, n_features, 5);
        let columns = entries.columns(n_features);
        let mut expected = vec![Vec::new(); n_features];
        let mut position = 0;
        for row in 0..rows {
            for (feature, _) in entries.entries(row) {
                expected[feature as usize].push((row as u32, position));
                position += 1;
            }
        }
        assert_eq!(columns.n_features(), n_features);
        for (feature, expected) in expected.iter().enumerate() {
            let (rows, positions) = columns.entries(feature);
            let found: Vec<_> = rows
                .iter()
                .copied()
                .zip(positions.iter().copied())
                .collect();
            assert_eq!(&found, expected);
        }
    }
}

/// The rows of a gradient and the sum of their squares.
fn computed(isa: Isa, gradient: &Gradient, params: &Matrix, norm: RowNorm) -> (Matrix, f64) {
    let (n, d) = (params.rows(), params.cols());
    let rows = std::sync::Mutex::new(Matrix::zeros(n, d));
    let squares = gradient.by_rows(isa, n, d, |row, grad| {
        let squares = grad.compute(params.row(row), norm);
        if squares.is_some() {
            let mut rows = rows.lock().unwrap();
            rows.row_mut(row).copy_from_slice(grad.values());
        }
        squares.unwrap_or(0.0)
    });
    (rows.into_inner().unwrap(), squares)
}

/// A gradient with the rows `grads` for the given features and none for the others.
fn sparse_gradient(grads: &Matrix, features: &[u32], n: usize) -> Gradient<'static> {
    let mut entries = SparseRows::default();
    features
        .iter()
        .for_each(|&feature| entries.push([(feature, 1.0)]));
    let columns = Arc::new(entries.columns(n));
    let term = Term {
        values: entries.values().to_vec(),
        x: Cow::Owned(grads.clone()),
    };
    Gradient::sparse(columns, vec![term])
}

#[test]
fn a_gradient_is_the_sum_of_its_parts() {
    for isa in Isa::available() {
        for d in SIZES.into_iter().filter(|&d| d > 1) {
            let entries = sparse(49, 30, 1);
            let columns = Arc::new(entries.columns(30));
            let terms = [2, 3].map(|seed| (values(entries.len(), seed), matrix(49, d, 10 + seed)));
            let (outer, along) = ((values(30, 4), values(d, 5)), values(30, 6));
            let params = matrix(30, d, 7);
            let parts = terms.iter().map(|(values, x)| Term {
                values: values.clone(),
                x: Cow::Borrowed(x),
            });
            let mut gradient = Gradient::sparse(Arc::clone(&columns), parts.collect());
            gradient.add_outer(outer.0.clone(), outer.1.clone());
            gradient.add_along(&along);
            let expected = |row: usize| -> Vec<f64> {
                let p = params.row(row);
                let along = f64::from(along[row]) / dot(p, p).sqrt();
                let cell = |column: usize| {
                    let (rows, positions) = columns.entries(row);
                    let term = |(values, x): &(Vec<f32>, Matrix)| -> f64 {
                        let pairs = rows.iter().zip(positions);
                        let product = |(&row, &at): (&u32, &u32)| {
                            f64::from(values[at as usize]) * f64::from(x.row(row as usize)[column])
                        };
                        pairs.map(product).sum()
                    };
                    terms.iter().map(term).sum::<f64>()
                        + f64::from(outer.0[row]) * f64::from(outer.1[column])
                        + along * f64::from(p[column])
                };
                (0..d).map(cell).collect()
            };
            let (free, squares) = computed(isa, &gradient, &params, RowNorm::Free);
            let (unit, unit_squares) = computed(isa, &gradient, &params, RowNorm::Unit);
            let (mut sum, mut unit_sum) = (0.0, 0.0);
            for row in 0..30 {
                let context = format!("{isa} {d} row {row}");
                let expected = expected(row);
                assert_close(free.row(row), &expected, 2e-6, &context);
                let p = params.row(row);
                let pairs = expected.iter().zip(p);
                let share = pairs.map(|(g, &p)| g * f64::from(p)).sum::<f64>() / dot(p, p);
                let pairs = expected.iter().zip(p);
                let rest: Vec<f64> = pairs.map(|(g, &p)| g - share * f64::from(p)).collect();
                assert_close(unit.row(row), &rest, 1e-5, &context);
                sum += expected.iter().map(|g| g * g).sum::<f64>();
                unit_sum += rest.iter().map(|g| g * g).sum::<f64>();
                assert_eq!(gradient.row(row, &params, RowNorm::Free).len(), d);
            }
            assert!((squares / sum - 1.0).abs() < 1e-5, "{squares} {sum}");
            assert!(
                (unit_squares / unit_sum - 1.0).abs() < 1e-5,
                "{unit_squares} {unit_sum}"
            );
            let norm = gradient.squared_norm(&params, RowNorm::Free);
            assert!((norm / sum - 1.0).abs() < 1e-5, "{norm} {sum}");
        }
    }
}

#[test]
fn values_are_summed_by_feature() {
    let entries = sparse(49, 30, 1);
    let factors = values(entries.len(), 3);
    let columns = entries.columns(30);
    for (feature, sum) in columns.sums(&factors).into_iter().enumerate() {
        let (_, positions) = columns.entries(feature);
        let total: f64 = positions
            .iter()
            .map(|&at| f64::from(factors[at as usize]))
            .sum();
        assert!((f64::from(sum) - total).abs() < 1e-5);
    }
}

/// Adam by its formula, in f64; returns parameters and moments.
fn adam_f64(at: [f32; 3], grad: f64, step: &AdamStep) -> [f64; 3] {
    let [p, m, v] = at.map(f64::from);
    let (beta1, beta2) = (f64::from(step.beta1), f64::from(step.beta2));
    let m = beta1 * m + (1.0 - beta1) * grad;
    let v = beta2 * v + (1.0 - beta2) * grad * grad;
    let denominator = (v / f64::from(step.correction2)).sqrt() + f64::from(step.eps);
    let p = p - f64::from(step.lr) * (m / f64::from(step.correction1)) / denominator;
    [p, m, v]
}

#[test]
fn adam_equals_its_formula_with_and_without_a_gradient() {
    let step = AdamStep::new(3e-3, 0.9, 0.999, 1e-8, 3);
    for isa in Isa::available() {
        for d in SIZES {
            for norm in [RowNorm::Free, RowNorm::Unit] {
                let features = [0, 3, 4, 33, 39];
                let gradient = sparse_gradient(&matrix(5, d, 1), &features, 40);
                let before = [matrix(40, d, 2), matrix(40, d, 3), matrix(40, d, 4)];
                let (grads, whole) = computed(isa, &gradient, &before[0], norm);
                let [mut params, mut m, mut v] = before.clone();
                v.data_mut().iter_mut().for_each(|v| *v = v.abs());
                let squares = v.clone();
                let state = AdamState {
                    params: &mut params,
                    m: &mut m,
                    v: &mut v,
                };
                let returned = optimiser::adam_rows_on(isa, state, &gradient, 0.5, step, norm);
                assert_eq!(returned.to_bits(), whole.to_bits());
                for row in 0..40 {
                    let cell = |column: usize| {
                        let at = [&before[0], &before[1], &squares].map(|x| x.row(row)[column]);
                        adam_f64(at, 0.5 * f64::from(grads.row(row)[column]), &step)
                    };
                    let cells: Vec<[f64; 3]> = (0..d).map(cell).collect();
                    let part = |i: usize| cells.iter().map(|cell| cell[i]).collect::<Vec<f64>>();
                    let mut expected = part(0);
                    if norm == RowNorm::Unit {
                        let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
                        expected.iter_mut().for_each(|x| *x /= length);
                    }
                    let context = format!("{isa} {d} {norm:?} row {row}");
                    assert_close(params.row(row), &expected, 2e-6, &context);
                    assert_close(m.row(row), &part(1), 1e-6, &context);
                    assert_close(v.row(row), &part(2), 1e-6, &context);
                }
            }
        }
    }
}

#[test]
fn adam_of_a_slice_equals_adam_of_a_row() {
    let step = AdamStep::new(1e-3, 0.9, 0.99, 1e-8, 1);
    let n = 40_000;
    let (grad, mut params) = (values(n, 1), values(n, 2));
    let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
    let mut rows = [
        Matrix::from_vec(1, n, params.clone()),
        Matrix::zeros(1, n),
        Matrix::zeros(1, n),
    ];
    adam_slice(&mut params, &mut m, &mut v, &grad, 2.0, step);
    let grads = Matrix::from_vec(1, n, grad);
    let [p, first, second] = &mut rows;
    let state = AdamState {
        params: p,
        m: first,
        v: second,
    };
    adam_rows(state, &Gradient::dense(grads), 2.0, step, RowNorm::Free);
    assert_eq!(rows.each_ref().map(Matrix::data), [&params[..], &m, &v]);
}

#[test]
fn a_unit_row_of_zeros_stays_zero() {
    let step = AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1);
    let [mut params, mut m, mut v] = [
        Matrix::zeros(2, 7),
        Matrix::zeros(2, 7),
        Matrix::zeros(2, 7),
    ];
    let state = AdamState {
        params: &mut params,
        m: &mut m,
        v: &mut v,
    };
    adam_rows(
        state,
        &Gradient::dense(Matrix::zeros(2, 7)),
        1.0,
        step,
        RowNorm::Unit,
    );
    assert_eq!(params, Matrix::zeros(2, 7));
    let gradient = sparse_gradient(&matrix(1, 7, 1), &[1], 2);
    let found = gradient.row(1, &params, RowNorm::Unit);
    assert_eq!(found, matrix(1, 7, 1).row(0));
}

#[test]
fn training_has_the_same_bits_on_one_thread_and_two() {
    let step = AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1);
    let on = |threads: usize| {
        on_threads(threads, || {
            let x = matrix(200, 130, 1);
            let [mut params, mut m, mut v] = [2, 3, 4].map(|seed| matrix(300, 130, seed));
            v.data_mut().iter_mut().for_each(|v| *v = v.abs());
            let mut encoder = Encoder::new(params.clone(), values(300, 5), Gate::TopK(9));
            encoder.update(|weight, _, _| weight.scale(0.5));
            let entries = encoder.encode(&x);
            let columns = Arc::new(entries.columns(300));
            let term = Term {
                values: entries.dots(&x, &params),
                x: Cow::Borrowed(&x),
            };
            let gradient = Gradient::sparse(columns, vec![term]);
            let norm = gradient.squared_norm(&params, RowNorm::Unit);
            let state = AdamState {
                params: &mut params,
                m: &mut m,
                v: &mut v,
            };
            let scale = 1.0 / norm.sqrt() as f32;
            adam_rows(state, &gradient, scale, step, RowNorm::Unit);
            let mut transposed = Matrix::default();
            crate::transpose(&entries.product(&params, &values(130, 6)), &mut transposed);
            (norm, params, m, v, transposed)
        })
    };
    assert_eq!(on(1), on(2));
}
