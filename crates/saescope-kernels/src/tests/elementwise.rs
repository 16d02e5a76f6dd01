//! Non-linearities, norms, rotations and sums.

use super::common::*;
use crate::{activation, elementwise};

#[test]
fn activations_equal_their_formulas_up_to_large_values() {
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.05).collect();
            let both = Matrix::from_vec(1, 2 * x.len(), [x.clone(), vec![1.0; x.len()]].concat());
            let mut out = Matrix::default();
            activation::gated_on(isa, activation, &both, &mut out);
            for (&x, &found) in x.iter().zip(out.data()) {
                let expected = act_f64(activation, f64::from(x));
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error < 2e-6 * (1.0 + expected.abs()),
                    "{isa} {activation:?}({x}) = {found}"
                );
            }
        }
    }
}

#[test]
fn a_gate_is_multiplied_by_the_second_half_of_a_row() {
    for isa in Isa::available() {
        for d in SIZES {
            let x = matrix(3, 2 * d, 1);
            let mut out = Matrix::default();
            activation::gated_on(isa, Activation::Silu, &x, &mut out);
            let expected: Vec<f64> = (0..3)
                .flat_map(|r| {
                    let (gate, up) = x.row(r).split_at(d);
                    let gate = gate
                        .iter()
                        .map(|&g| act_f64(Activation::Silu, f64::from(g)));
                    gate.zip(up)
                        .map(|(g, &u)| g * f64::from(u))
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_close(out.data(), &expected, 1e-6, &format!("{isa} {d}"));
        }
    }
}

#[test]
fn activations_of_nan_are_nan() {
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let x = Matrix::from_vec(1, 2, vec![f32::NAN, 1.0]);
            let mut out = Matrix::default();
            activation::gated_on(isa, activation, &x, &mut out);
            assert!(out.data()[0].is_nan(), "{isa} {activation:?}");
        }
    }
}

#[test]
fn softcap_bounds_values() {
    let mut x = Matrix::from_vec(1, 3, vec![-1e6, 0.5, 1e6]);
    softcap(30.0, &mut x);
    let expected = [-30.0, 30.0 * (0.5_f64 / 30.0).tanh(), 30.0];
    assert_close(x.data(), &expected, 1e-6, "softcap");
}

#[test]
fn norms_equal_their_formulas() {
    for isa in Isa::available() {
        for d in SIZES {
            let x = Matrix::from_fn(5, d, |r, c| values(d, r as u64 + 1)[c] * 3.0 + 10.0);
            let (weight, bias) = (values(d, 8), values(d, 9));
            for centred in [false, true] {
                let bias = centred.then_some(&bias[..]);
                let mut out = Matrix::default();
                let norm = if centred {
                    Norm::layer(&weight, bias, 1e-5)
                } else {
                    Norm::rms(&weight, 1e-5)
                };
                norm.apply_on(isa, &x, &mut out);
                let expected: Vec<f64> = (0..5)
                    .flat_map(|r| {
                        let row: Vec<f64> = x.row(r).iter().map(|&x| f64::from(x)).collect();
                        let n = d as f64;
                        let mean = if centred {
                            row.iter().sum::<f64>() / n
                        } else {
                            0.0
                        };
                        let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                        let inverse = 1.0 / (square + 1e-5).sqrt();
                        let shift = |c: usize| bias.map_or(0.0, |b| f64::from(b[c]));
                        let value = |(c, x): (usize, &f64)| {
                            (x - mean) * inverse * f64::from(weight[c]) + shift(c)
                        };
                        row.iter().enumerate().map(value).collect::<Vec<_>>()
                    })
                    .collect();
                assert_close(out.data(), &expected, 2e-5, &format!("{isa} {d} {centred}"));
            }
        }
    }
}

#[test]
fn head_norms_change_their_heads_only() {
    let (mut x, before) = (matrix(3, 20, 1), matrix(3, 20, 1));
    let weight = [2.0, 1.0, 0.5, -1.0];
    rms_norm_heads(&mut x, 4, 2, &weight, 1e-6);
    for row in 0..3 {
        assert_eq!(x.row(row)[..4], before.row(row)[..4]);
        assert_eq!(x.row(row)[12..], before.row(row)[12..]);
        let mut normed = Matrix::default();
        let head = Matrix::from_vec(1, 4, before.row(row)[8..12].to_vec());
        Norm::rms(&weight, 1e-6).apply(&head, &mut normed);
        assert_eq!(x.row(row)[8..12], *normed.data());
    }
}

#[test]
fn rotation_rotates_pairs_by_position_times_frequency() {
    let frequencies = [1.0, 0.25];
    let mut x = Matrix::from_vec(2, 10, [values(10, 1), values(10, 1)].concat());
    let before = x.clone();
    Rotation::new(&frequencies, [0, 7].into_iter()).apply(&mut x, 2, 5);
    assert_eq!(x.row(0), before.row(0), "position 0 is not rotated");
    let (old, new) = (before.row(1), x.row(1));
    assert_eq!(
        (new[4], new[9]),
        (old[4], old[9]),
        "entries past the rotated ones stay"
    );
    for head in [0, 5] {
        for (pair, frequency) in frequencies.iter().enumerate() {
            let (sin, cos) = (7.0 * f64::from(*frequency)).sin_cos();
            let (a, b) = (f64::from(old[head + pair]), f64::from(old[head + pair + 2]));
            assert!((f64::from(new[head + pair]) - (a * cos - b * sin)).abs() < 1e-6);
            assert!((f64::from(new[head + pair + 2]) - (b * cos + a * sin)).abs() < 1e-6);
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
fn squared_norms_equal_those_in_f64() {
    for n in [0, 1, 17, 1000, 40_001] {
        let x = values(n, 1);
        let expected = dot(&x, &x);
        assert!(
            (squared_norm(&x) - expected).abs() <= 1e-12 * expected,
            "{n}"
        );
    }
}
