//! What training is made of.

use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::{elementwise, optimiser, transpose};

/// Rows with none to some entries, a hole here and there.
fn sparse(rows: usize, n_features: usize, seed: u64) -> SparseRows {
    let chances = matrix(rows, n_features, seed);
    let mut sparse = SparseRows::default();
    for row in 0..rows {
        let entries = chances.row(row).iter().enumerate();
        let entries = entries.filter(|(_, chance)| row % 5 != 3 && **chance > 0.6);
        sparse.push(entries.map(|(feature, chance)| (feature as u32, chance - 0.8)));
    }
    sparse
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

#[test]
fn a_transpose_has_columns_for_rows() {
    for isa in Isa::available() {
        for rows in SIZES {
            for cols in SIZES {
                let from = matrix(rows, cols, 1);
                let mut to = Matrix::zeros(3, 3);
                transpose::transpose_on(isa, &from, &mut to);
                let expected = Matrix::from_fn(cols, rows, |r, c| from.row(c)[r]);
                assert_eq!(to, expected, "{isa} {rows} x {cols}");
            }
        }
    }
}

#[test]
fn a_weight_packed_again_is_the_weight_packed_once() {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut again = Weight::empty_on(isa, precision);
            for (d_out, d_in) in [(49, 1000), (1, 1), (17, 7), (48, 49), (1000, 17), (7, 48)] {
                let (w, x) = (matrix(d_out, d_in, 1), matrix(9, d_in, 2));
                let (mut once, mut out) = (Matrix::default(), Matrix::default());
                pack(isa, &w, precision).product(&x, None, Epilogue::Keep, &mut once);
                again.repack(&w);
                assert_eq!((again.d_out(), again.d_in()), (d_out, d_in));
                again.product(&x, None, Epilogue::Keep, &mut out);
                assert_eq!(out, once, "{isa} {precision:?} {d_out} x {d_in}");
                // Garbage, so that nothing is left over from the same weight.
                again.repack(&matrix(d_out, d_in, 3));
                again.repack_transposed(&Matrix::from_fn(d_in, d_out, |r, c| w.row(c)[r]));
                again.product(&x, None, Epilogue::Keep, &mut out);
                assert_eq!(out, once, "{isa} {precision:?} {d_out} x {d_in} transposed");
            }
        }
    }
}

#[test]
fn sparse_products_equal_a_plain_loop() {
    for isa in Isa::available() {
        for d in SIZES {
            for rows in [1, 7, 49] {
                let (entries, weight) = (sparse(rows, 30, 1), matrix(30, d, 2));
                let (bias, x) = (values(d, 3), matrix(rows, d, 4));
                let what = format!("{isa} {rows} x {d}");
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
                assert_close(out.data(), &expected, 1e-6, &what);

                let expected: Vec<f64> = (0..rows)
                    .flat_map(|row| entries.entries(row).map(move |(f, _)| (row, f as usize)))
                    .map(|(row, feature)| dot(x.row(row), weight.row(feature)))
                    .collect();
                assert_close(&entries.dots_on(isa, &x, &weight), &expected, 2e-6, &what);
            }
        }
    }
}

#[test]
fn dots_with_a_changed_product_are_those_of_the_steps_taken_apart() {
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
fn columns_are_the_entries_by_feature() {
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

/// Every row of a gradient, and the sum of their squares.
fn found(isa: Isa, gradient: &Gradient, params: &Matrix, norm: RowNorm) -> (Matrix, f64) {
    let shape = (params.rows(), params.cols());
    let rows = std::sync::Mutex::new(Matrix::zeros(shape.0, shape.1));
    let squares = gradient.by_rows(isa, shape, |row, grad| {
        let squares = grad.find(params.row(row), norm);
        if squares.is_some() {
            let mut rows = rows.lock().unwrap();
            rows.row_mut(row).copy_from_slice(grad.values());
        }
        squares.unwrap_or(0.0)
    });
    (rows.into_inner().unwrap(), squares)
}

/// A gradient that is given for some rows and that others lack.
fn given(grads: &Matrix, features: &[u32], n: usize) -> Gradient<'static> {
    let mut entries = SparseRows::default();
    features
        .iter()
        .for_each(|&feature| entries.push([(feature, 1.0)]));
    let columns = Arc::new(entries.columns(n));
    let term = (entries.values().to_vec(), Cow::Owned(grads.clone()));
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
            let parts = terms
                .iter()
                .map(|(values, x)| (values.clone(), Cow::Borrowed(x)));
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
            let (free, squares) = found(isa, &gradient, &params, RowNorm::Free);
            let (unit, unit_squares) = found(isa, &gradient, &params, RowNorm::Unit);
            let (mut sum, mut unit_sum) = (0.0, 0.0);
            for row in 0..30 {
                let what = format!("{isa} {d} row {row}");
                let expected = expected(row);
                assert_close(free.row(row), &expected, 2e-6, &what);
                let p = params.row(row);
                let pairs = expected.iter().zip(p);
                let share = pairs.map(|(g, &p)| g * f64::from(p)).sum::<f64>() / dot(p, p);
                let pairs = expected.iter().zip(p);
                let rest: Vec<f64> = pairs.map(|(g, &p)| g - share * f64::from(p)).collect();
                assert_close(unit.row(row), &rest, 1e-5, &what);
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
fn weighted_sums_of_rows_equal_a_plain_loop() {
    for isa in Isa::available() {
        for (rows, cols) in [(0, 7), (1, 1), (63, 17), (200, 49), (1000, 130)] {
            let (x, weights) = (matrix(rows, cols, 1), values(rows, 2));
            let sums = elementwise::weighted_sum_of_rows_on(isa, &x, &weights);
            assert_eq!(sums.len(), cols);
            for (column, sum) in sums.into_iter().enumerate() {
                let terms =
                    (0..rows).map(|row| f64::from(weights[row]) * f64::from(x.row(row)[column]));
                let (expected, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| {
                    (sum + term, size + term.abs())
                });
                assert!(
                    (sum - expected).abs() <= 1e-6 * size,
                    "{isa} {rows} x {cols}: {sum} {expected}"
                );
            }
        }
    }
}

#[test]
fn the_values_of_a_feature_are_summed() {
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
    let below = (v / f64::from(step.correction2)).sqrt() + f64::from(step.eps);
    let p = p - f64::from(step.lr) * (m / f64::from(step.correction1)) / below;
    [p, m, v]
}

#[test]
fn adam_equals_its_formula_with_and_without_a_gradient() {
    let step = AdamStep::new(3e-3, (0.9, 0.999), 1e-8, 3);
    for isa in Isa::available() {
        for d in SIZES {
            for norm in [RowNorm::Free, RowNorm::Unit] {
                let features = [0, 3, 4, 33, 39];
                let gradient = given(&matrix(5, d, 1), &features, 40);
                let before = [matrix(40, d, 2), matrix(40, d, 3), matrix(40, d, 4)];
                let (grads, whole) = found(isa, &gradient, &before[0], norm);
                let [mut params, mut m, mut v] = before.clone();
                v.data_mut().iter_mut().for_each(|v| *v = v.abs());
                let squares = v.clone();
                let to = Optimised {
                    params: &mut params,
                    m: &mut m,
                    v: &mut v,
                };
                let told = optimiser::adam_rows_on(isa, to, &gradient, 0.5, step, norm);
                assert_eq!(told.to_bits(), whole.to_bits());
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
                    let what = format!("{isa} {d} {norm:?} row {row}");
                    assert_close(params.row(row), &expected, 2e-6, &what);
                    assert_close(m.row(row), &part(1), 1e-6, &what);
                    assert_close(v.row(row), &part(2), 1e-6, &what);
                }
            }
        }
    }
}

#[test]
fn adam_of_a_slice_is_adam_of_a_row() {
    let step = AdamStep::new(1e-3, (0.9, 0.99), 1e-8, 1);
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
    let to = Optimised {
        params: p,
        m: first,
        v: second,
    };
    adam_rows(to, &Gradient::dense(grads), 2.0, step, RowNorm::Free);
    assert_eq!(rows.each_ref().map(Matrix::data), [&params[..], &m, &v]);
}

#[test]
fn a_row_of_zeros_has_no_direction() {
    let step = AdamStep::new(1e-3, (0.9, 0.999), 1e-8, 1);
    let [mut params, mut m, mut v] = [
        Matrix::zeros(2, 7),
        Matrix::zeros(2, 7),
        Matrix::zeros(2, 7),
    ];
    let to = Optimised {
        params: &mut params,
        m: &mut m,
        v: &mut v,
    };
    adam_rows(
        to,
        &Gradient::dense(Matrix::zeros(2, 7)),
        1.0,
        step,
        RowNorm::Unit,
    );
    assert_eq!(params, Matrix::zeros(2, 7));
    let gradient = given(&matrix(1, 7, 1), &[1], 2);
    let found = gradient.row(1, &params, RowNorm::Unit);
    assert_eq!(found, matrix(1, 7, 1).row(0));
}

#[test]
fn squared_norms_are_those_of_f64() {
    for n in [0, 1, 17, 1000, 40_001] {
        let x = values(n, 1);
        let expected = dot(&x, &x);
        assert!(
            (squared_norm(&x) - expected).abs() <= 1e-12 * expected,
            "{n}"
        );
    }
}

#[test]
fn an_updated_encoder_is_a_new_one() {
    for isa in Isa::available() {
        let x = activations(64, 49, 1);
        let thresholds = values(300, 2);
        let mut encoder = Encoder::new_on(isa, matrix(300, 49, 3), values(300, 4), Gate::TopK(5));
        encoder.encode(&x);
        encoder.update(|weight, bias, gate| {
            *weight = matrix(300, 49, 5);
            bias[7] = 3.0;
            *gate = Gate::Above(thresholds.clone());
        });
        // Twice, as a second change may come before anything is encoded.
        encoder.update(|weight, _, _| weight.row_mut(11).fill(0.5));
        let (mut weight, mut bias) = (matrix(300, 49, 5), values(300, 4));
        weight.row_mut(11).fill(0.5);
        bias[7] = 3.0;
        let new = Encoder::new_on(isa, weight, bias, Gate::Above(thresholds.clone()));
        assert_eq!(encoder.encode(&x), new.encode(&x), "{isa}");
    }
}

#[test]
fn what_an_encoder_has_seen_before_changes_nothing() {
    let weight = matrix(300, 49, 2);
    // The first have a few products far above all others, so that too much is expected of the second:
    // rows of any length, one without any, and one that no feature is active on but by its bias.
    let alike = weight.select_rows(&(0..64).collect::<Vec<_>>());
    let mut other = activations(64, 49, 1);
    other.row_mut(3).fill(0.0);
    other.row_mut(5).iter_mut().for_each(|x| *x *= 1e-6);
    for isa in Isa::available() {
        for bias in [vec![0.0; 300], values(300, 4), vec![-0.5; 300]] {
            let new = || Encoder::new_on(isa, weight.clone(), bias.clone(), Gate::TopK(3));
            let encoder = new();
            for x in [&alike, &other, &alike, &other, &other] {
                assert_eq!(encoder.encode(x), new().encode(x), "{isa}");
            }
        }
    }
}

#[test]
fn a_screen_serves_rows_of_any_length() {
    for isa in Isa::available() {
        for (of_x, of_weight) in [(1e-20, 1.0), (1e18, 1.0), (1.0, 1e-20), (1e-9, 1e17)] {
            let (mut x, mut weight) = (activations(40, 49, 1), matrix(300, 49, 2));
            x.scale(of_x);
            weight.scale(of_weight);
            let encoder = Encoder::new_on(isa, weight, vec![0.0; 300], Gate::TopK(5));
            let whole = encoder.encode(&x);
            for row in 0..x.rows() {
                let alone = encoder.encode(&x.select_rows(&[row]));
                assert_eq!(
                    whole.row(row),
                    alone.row(0),
                    "{isa} {of_x} {of_weight}, row {row}"
                );
            }
        }
    }
}

#[test]
fn rows_with_an_entry_far_above_the_others_are_screened_too() {
    // Too coarse for bytes: 16-bit integers have to serve.
    let outlying = |rows: usize, seed: u64| {
        let mut x = matrix(rows, 768, seed);
        (0..rows).for_each(|row| x.row_mut(row)[7 * row % 768] = 30.0);
        x
    };
    let x = outlying(40, 1);
    for isa in Isa::available() {
        for gate in gates(300, 2) {
            let encoder = Encoder::new_on(isa, outlying(300, 3), values(300, 4), gate);
            let whole = encoder.encode(&x);
            for row in 0..x.rows() {
                let alone = encoder.encode(&x.select_rows(&[row]));
                assert_eq!(whole.row(row), alone.row(0), "{isa}, row {row}");
            }
        }
    }
}

#[test]
fn training_gives_the_same_bits_on_one_thread_and_two() {
    let step = AdamStep::new(1e-3, (0.9, 0.999), 1e-8, 1);
    let on = |threads: usize| {
        on_threads(threads, || {
            let x = matrix(200, 130, 1);
            let [mut params, mut m, mut v] = [2, 3, 4].map(|seed| matrix(300, 130, seed));
            v.data_mut().iter_mut().for_each(|v| *v = v.abs());
            let mut encoder = Encoder::new(params.clone(), values(300, 5), Gate::TopK(9));
            encoder.update(|weight, _, _| weight.scale(0.5));
            let entries = encoder.encode(&x);
            let columns = Arc::new(entries.columns(300));
            let term = (entries.dots(&x, &params), Cow::Borrowed(&x));
            let gradient = Gradient::sparse(columns, vec![term]);
            let norm = gradient.squared_norm(&params, RowNorm::Unit);
            let to = Optimised {
                params: &mut params,
                m: &mut m,
                v: &mut v,
            };
            let scale = 1.0 / norm.sqrt() as f32;
            adam_rows(to, &gradient, scale, step, RowNorm::Unit);
            let mut transposed = Matrix::default();
            crate::transpose(&entries.product(&params, &values(130, 6)), &mut transposed);
            (norm, params, m, v, transposed)
        })
    };
    assert_eq!(on(1), on(2));
}
