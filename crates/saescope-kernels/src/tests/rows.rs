//! Row operations: equal to plain loops bit for bit.

use super::common::*;
use crate::rows::changes;

const SHAPES: [(usize, usize); 6] = [(1, 7), (7, 48), (8, 49), (17, 1), (20, 130), (300, 768)];

/// Runs `check` under every instruction set for a matrix of every shape.
fn for_shapes(check: impl Fn(Isa, &Matrix)) {
    for isa in Isa::available() {
        for (rows, cols) in SHAPES {
            let mut x = matrix(rows, cols, 1);
            // A row of zeros of both signs.
            x.row_mut(rows / 2).fill(0.0);
            x.row_mut(rows / 2)[0] = -0.0;
            check(isa, &x);
        }
    }
}

/// Every third row.
fn some_rows(x: &Matrix) -> Vec<usize> {
    (0..x.rows()).step_by(3).collect()
}

fn assert_bits(found: &[f32], expected: &[f32], context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.to_bits(),
            expected.to_bits(),
            "{context}, entry {at}: {found}, expected {expected}"
        );
    }
}

fn assert_bits_f64(found: &[f64], expected: &[f64], context: &str) {
    let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected), "{context}");
}

fn mean(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64
}

fn std(x: &[f32]) -> f64 {
    let mean = mean(x);
    let squares = x.iter().map(|&x| (f64::from(x) - mean).powi(2));
    (squares.sum::<f64>() / (x.len() - 1) as f64).sqrt()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[test]
fn sums_over_rows_equal_sequential_sums() {
    for_shapes(|isa, x| {
        let (context, vector) = (format!("{isa} {x:?}"), values(x.cols(), 2));
        let by_row = |f: &dyn Fn(&[f32]) -> f64| -> Vec<f64> {
            (0..x.rows()).map(|row| f(x.row(row))).collect()
        };
        let squares = by_row(&|row| dot(row, row));
        assert_bits_f64(&squared_row_norms(x, RowSet::All), &squares, &context);
        let norms: Vec<f32> = squares.iter().map(|square| square.sqrt() as f32).collect();
        assert_bits(&row_norms(x), &norms, &context);
        let dots = by_row(&|row| dot(row, &vector));
        assert_bits_f64(&row_dots(x, RowSet::All, &vector), &dots, &context);
        let distances = by_row(&|row| squared_distance(row, &vector));
        assert_bits_f64(&squared_row_distances(x, &vector), &distances, &context);
        let some = some_rows(x);
        let chosen: Vec<f64> = some.iter().map(|&row| dots[row]).collect();
        let found = row_dots(x, RowSet::Only(&some), &vector);
        assert_bits_f64(&found, &chosen, &context);
        if x.cols() > 1 {
            assert_bits_f64(&row_stds(x, RowSet::All), &by_row(&std), &context);
        }
    });
}

#[test]
fn sums_over_rows_without_columns_are_empty_sums() {
    let x = Matrix::zeros(3, 0);
    assert_bits_f64(
        &squared_row_norms(&x, RowSet::All),
        &[dot(&[], &[]); 3],
        "no columns",
    );
}

/// `x` after `change` of every row, given its index.
fn changed(x: &Matrix, change: impl Fn(usize, &mut [f32])) -> Matrix {
    let mut changed = x.clone();
    (0..x.rows()).for_each(|row| change(row, changed.row_mut(row)));
    changed
}

#[test]
fn rows_change_as_in_plain_loops() {
    for_shapes(|isa, x| {
        let context = format!("{isa} {x:?}");
        let (by_row, others) = (values(x.rows(), 2), values(x.rows(), 3));
        let by_column = values(x.cols(), 4);
        let check = |change: &dyn Fn(&mut Matrix), expected: &dyn Fn(usize, &mut [f32])| {
            let mut found = x.clone();
            change(&mut found);
            assert_bits(found.data(), changed(x, expected).data(), &context);
        };
        check(&|x| changes::scale_rows_on(isa, x, &by_row), &|r, row| {
            row.iter_mut().for_each(|x| *x *= by_row[r])
        });
        check(
            &|x| changes::affine_rows_on(isa, x, &by_row, &others),
            &|r, row| row.iter_mut().for_each(|x| *x = *x * by_row[r] + others[r]),
        );
        check(
            &|x| changes::subtract_row_on(isa, x, &by_column),
            &|_, row| {
                row.iter_mut().zip(&by_column).for_each(|(x, b)| *x -= b);
            },
        );
        check(
            &|x| changes::centre_and_scale_on(isa, x, &by_column, 0.3),
            &|_, row| {
                for (x, mean) in row.iter_mut().zip(&by_column) {
                    *x = (*x - mean) * 0.3;
                }
            },
        );
        // The logit effect of directions, under a layer norm.
        check(
            &|x| {
                centre_rows_in_f32(x);
                changes::scale_columns_on(isa, x, &by_column);
            },
            &|_, row| {
                let mean = row.iter().sum::<f32>() / row.len() as f32;
                for (x, gain) in row.iter_mut().zip(&by_column) {
                    *x = (*x - mean) * gain;
                }
            },
        );
    });
}

#[test]
fn directions_are_added_and_removed_as_in_plain_loops() {
    for_shapes(|isa, x| {
        let context = format!("{isa} {x:?}");
        let (some, factors) = (some_rows(x), values(x.rows(), 2));
        let factors = &factors[..some.len()];
        for direction in [values(x.cols(), 3), vec![0.0; x.cols()]] {
            let mut found = x.clone();
            changes::add_direction_on(isa, &mut found, &some, factors, &direction);
            let expected = changed(x, |r, row| {
                if r % 3 == 0 {
                    let pairs = row.iter_mut().zip(&direction);
                    pairs.for_each(|(x, d)| *x += factors[r / 3] * d);
                }
            });
            assert_bits(found.data(), expected.data(), &context);

            let mut found = x.clone();
            changes::project_out_on(isa, &mut found, &some, &direction);
            let expected = changed(x, |r, row| {
                if r % 3 == 0 {
                    let norm = dot(&direction, &direction);
                    let share = if norm > 0.0 {
                        (dot(row, &direction) / norm) as f32
                    } else {
                        0.0
                    };
                    let pairs = row.iter_mut().zip(&direction);
                    pairs.for_each(|(x, d)| *x -= share * d);
                }
            });
            assert_bits(found.data(), expected.data(), &context);
        }
        let mut found = values(x.cols(), 4);
        let mut expected = found.clone();
        elementwise::accumulate_rows_on(isa, &mut found, x, &some, factors);
        for (&row, factor) in some.iter().zip(factors) {
            let pairs = expected.iter_mut().zip(x.row(row));
            pairs.for_each(|(sum, x)| *sum += factor * x);
        }
        assert_bits(&found, &expected, &context);
    });
}

/// A row as the autoencoders' input norms scale it.
fn scaled(row: &mut [f32], factor: f64) {
    row.iter_mut()
        .for_each(|x| *x = (f64::from(*x) * factor) as f32);
}

#[test]
fn rows_are_normalised_as_in_plain_loops() {
    for_shapes(|isa, x| {
        let context = format!("{isa} {x:?}");
        let by_row = |f: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            (0..x.rows()).map(|row| f(x.row(row)) as f32).collect()
        };
        let mut found = x.clone();
        assert_bits(&centre_rows(&mut found), &by_row(&mean), &context);
        let expected = changed(x, |_, row| {
            let mean = mean(row) as f32;
            row.iter_mut().for_each(|x| *x -= mean);
        });
        assert_bits(found.data(), expected.data(), &context);

        if x.cols() > 1 {
            let mut found = x.clone();
            assert_bits(&standardise_rows(&mut found, 1e-5), &by_row(&std), &context);
            let expected = changed(x, |_, row| scaled(row, 1.0 / (std(row) + 1e-5)));
            assert_bits(found.data(), expected.data(), &context);
        }

        let rms = |row: &[f32]| {
            let squares: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
            (squares / row.len() as f64).sqrt()
        };
        let mut found = x.clone();
        assert_bits(&divide_rows_by_rms(&mut found), &by_row(&rms), &context);
        let expected = changed(x, |_, row| {
            let share = rms(row);
            scaled(row, if share > 0.0 { 1.0 / share } else { 0.0 });
        });
        assert_bits(found.data(), expected.data(), &context);

        let mut found = x.clone();
        scale_rows_to_norm(&mut found, 0.2);
        let expected = changed(x, |_, row| {
            let length = dot(row, row).sqrt();
            if length > 0.0 {
                scaled(row, f64::from(0.2_f32) / length);
            }
        });
        assert_bits(found.data(), expected.data(), &context);
    });
}

#[test]
fn a_constant_factor_in_f64_is_one_in_f32() {
    let mut x = matrix(9, 1000, 1);
    x.row_mut(3).iter_mut().for_each(|x| *x *= 1e-39);
    x.row_mut(4).iter_mut().for_each(|x| *x *= 1e38);
    for factor in [0.3, 1e-3, 7.7] {
        let expected = changed(&x, |_, row| scaled(row, f64::from(factor)));
        let mut found = x.clone();
        found.scale(factor);
        assert_bits(found.data(), expected.data(), "scale");
    }
}

#[test]
fn rows_are_copied_in_any_order() {
    for_shapes(|isa, x| {
        let n = x.rows();
        let context = format!("{isa} {x:?}");
        // A permutation, as 7 and most numbers of rows have no common factor.
        let places: Vec<usize> = (0..n).map(|row| (7 * row + 3) % n).collect();
        if n % 7 == 0 {
            return;
        }
        let mut to = Matrix::zeros(n, x.cols());
        scatter_rows(x, &mut to, &places);
        for (row, &place) in places.iter().enumerate() {
            assert_bits(to.row(place), x.row(row), &context);
        }
        let mut back = Matrix::default();
        gather_rows(&to, &places, &mut back);
        assert_eq!(&back, x, "{context}");
        let some = some_rows(x);
        let mut copied = Matrix::zeros(n, x.cols());
        copy_rows(x, &some, &mut copied, &places[..some.len()]);
        for (&from, &to) in some.iter().zip(&places) {
            assert_bits(copied.row(to), x.row(from), &context);
        }
        let mut sum = x.clone();
        add_gathered_rows(&mut sum, x, &places);
        let mut expected = x.clone();
        expected.add(&x.select_rows(&places));
        assert_bits(sum.data(), expected.data(), &context);
        assert_eq!(
            x.copy_of_rows(n / 2..n),
            x.select_rows(&(n / 2..n).collect::<Vec<_>>())
        );
    });
}

#[test]
#[should_panic(expected = "row 2 is written twice")]
fn a_row_is_not_written_twice() {
    let x = matrix(2, 5, 1);
    scatter_rows(&x, &mut Matrix::zeros(4, 5), &[2, 2]);
}

#[test]
fn packed_rows_are_gathered() {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let weight = pack(isa, &matrix(49, 131, 1), precision);
            let outputs = [48, 0, 7, 7];
            let mut found = Matrix::default();
            weight.gather_rows(&outputs, &mut found);
            let mut row = vec![0.0; 131];
            for (at, &output) in outputs.iter().enumerate() {
                weight.copy_row(output as usize, &mut row);
                assert_bits(found.row(at), &row, &format!("{isa} {precision:?}"));
            }
        }
    }
}

/// The gradient of `weight |y - target|^2` in place of `y`; returns the squared distance.
fn to_gradient(y: &mut [f32], target: &[f32], weight: f64) -> f64 {
    let squared = squared_distance(y, target);
    let factor = (2.0 * weight) as f32;
    let pairs = y.iter_mut().zip(target);
    pairs.for_each(|(y, target)| *y = factor * (*y - target));
    squared
}

#[test]
fn squared_errors_equal_plain_loops() {
    for_shapes(|isa, x| {
        let context = format!("{isa} {x:?}");
        let target = matrix(x.rows(), x.cols(), 5);
        let (mut found, mut expected) = (x.clone(), x.clone());
        let squared = squared_error(&mut found, &target, 0.7);
        let by_row = (0..x.rows()).map(|r| to_gradient(expected.row_mut(r), target.row(r), 0.7));
        let by_row: Vec<f64> = by_row.collect();
        assert_bits_f64(&squared, &by_row, &context);
        assert_bits(found.data(), expected.data(), &context);
    });
}

#[test]
fn sparse_errors_equal_separate_steps() {
    let (weight, bias) = (matrix(30, 130, 2), values(130, 3));
    let (residual, target) = (matrix(49, 130, 4), matrix(49, 130, 5));
    let entries = sparse(49, 30, 1);
    let mut gradient = entries.product(&weight, &bias);
    gradient.add(&residual);
    let squared = squared_error(&mut gradient, &target, 0.7);
    let by_value = entries.dots(&gradient, &weight);
    let found = entries.squared_error(&weight, &bias, Some(&residual), &target, 0.7);
    let expected = SparseError {
        gradient,
        squared,
        by_value,
    };
    assert_eq!(found, expected);
}

#[test]
fn sparse_products_are_added_entry_by_entry() {
    for isa in Isa::available() {
        for d in SIZES {
            let (entries, weight, x) = (sparse(16, 30, 1), matrix(30, d, 2), matrix(48, d, 3));
            let some = some_rows(&x);
            let mut found = x.clone();
            entries.add_product_to_rows_on(isa, &weight, &mut found, &some);
            let expected = changed(&x, |r, row| {
                if r % 3 == 0 {
                    for (feature, value) in entries.entries(r / 3) {
                        let direction = weight.row(feature as usize);
                        row.iter_mut()
                            .zip(direction)
                            .for_each(|(x, d)| *x += value * d);
                    }
                }
            });
            assert_bits(found.data(), expected.data(), &format!("{isa} {d}"));
        }
    }
}

/// The sum of a row as training sums it.
fn sum(row: &[f32]) -> f32 {
    let mut parts = [0.0; 16];
    let chunks = row.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        let pairs = parts.iter_mut().zip(chunk);
        pairs.for_each(|(part, x)| *part += x);
    }
    parts.iter().sum::<f32>() + rest
}

#[test]
fn gradients_of_relu_equal_plain_loops() {
    for_shapes(|isa, f| {
        let context = format!("{isa} {f:?}");
        let (slopes, d) = (values(f.rows(), 2), matrix(f.rows(), f.cols(), 3));
        let mut found = d.clone();
        let sums = relu_backward(&mut found, f, &slopes);
        let expected = changed(&d, |r, row| {
            for (d, f) in row.iter_mut().zip(f.row(r)) {
                *d = if *f > 0.0 { *d + slopes[r] } else { 0.0 };
            }
        });
        assert_bits(found.data(), expected.data(), &context);
        let by_row = |x: &Matrix| -> Vec<f32> { (0..x.rows()).map(|r| sum(x.row(r))).collect() };
        assert_bits(&sums, &by_row(&expected), &context);
        let positive = positive_rows(f);
        assert_bits(&positive.sums, &by_row(f), &context);
        for (row, &count) in positive.counts.iter().enumerate() {
            let expected = f.row(row).iter().filter(|x| **x > 0.0).count();
            assert_eq!(count as usize, expected, "{context}");
        }
    });
}

#[test]
fn the_first_entry_that_is_not_finite_is_named() {
    let mut x = matrix(40, 1000, 1);
    assert_eq!(x.first_not_finite(), None);
    x.row_mut(30)[7] = f32::INFINITY;
    x.row_mut(20)[999] = f32::NEG_INFINITY;
    assert_eq!(x.first_not_finite(), Some((20, f32::NEG_INFINITY)));
}

#[test]
fn row_operations_have_the_same_bits_on_one_thread_and_two() {
    let on = |threads: usize| {
        on_threads(threads, || {
            let mut x = matrix(500, 768, 1);
            let all: Vec<usize> = (0..500).collect();
            let means = centre_rows(&mut x);
            let stds = standardise_rows(&mut x, 1e-5);
            affine_rows(&mut x, &stds, &means);
            project_out(&mut x, &all, &values(768, 2));
            let squared = squared_error(&mut x, &matrix(500, 768, 3), 0.1);
            (x, squared, means, stds)
        })
    };
    assert_eq!(on(1), on(2));
}
