//! The encoder and its screens.

use super::common::*;

fn gates(d_sae: usize, seed: u64) -> [Gate; 4] {
    let thresholds = values(d_sae, seed).iter().map(|x| 3.0 * x).collect();
    [
        Gate::Positive,
        Gate::TopK(5),
        Gate::TopK(2 * d_sae),
        Gate::Above(thresholds),
    ]
}

/// Rows like activations: some with a norm a hundred times larger, some with one dominant entry,
/// some of zeros.
fn activations(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut x = matrix(rows, cols, seed);
    for row in 0..rows {
        match row % 5 {
            1 => x.row_mut(row).iter_mut().for_each(|x| *x *= 100.0),
            2 => x.row_mut(row)[row % cols] = 300.0,
            3 if row % 2 == 0 => x.row_mut(row).fill(0.0),
            _ => {}
        }
    }
    x
}

#[test]
fn encoding_equals_a_plain_loop() {
    for (d_in, d_sae) in [(1, 7), (7, 49), (48, 1000), (49, 1000)] {
        let (x, weight) = (activations(9, d_in, 1), matrix(d_sae, d_in, 2));
        let bias = values(d_sae, 3);
        let expected = product_f64(&x, &weight, &bias);
        for isa in Isa::available() {
            for gate in gates(d_sae, 4) {
                let encoder = Encoder::new_on(isa, weight.clone(), bias.clone(), gate.clone());
                let found = encoder.encode(&x);
                for row in 0..x.rows() {
                    let pre = &expected[row * d_sae..][..d_sae];
                    let mut active: Vec<usize> = (0..d_sae).filter(|&f| pre[f] > 0.0).collect();
                    if let Gate::Above(thresholds) = &gate {
                        active.retain(|&f| pre[f] > f64::from(thresholds[f]));
                    }
                    if let Gate::TopK(k) = gate {
                        active.sort_by(|&a, &b| pre[b].total_cmp(&pre[a]).then(a.cmp(&b)));
                        active.truncate(k);
                        active.sort_unstable();
                    }
                    let values: Vec<f64> = active.iter().map(|&f| pre[f]).collect();
                    let active: Vec<u32> = active.into_iter().map(|f| f as u32).collect();
                    assert_eq!(found.row(row).0, active, "{isa} {gate:?} row {row}");
                    assert_close(found.row(row).1, &values, 1e-5, "activations");
                }
            }
        }
    }
}

#[test]
fn a_screen_loses_no_feature_and_changes_no_bit() {
    for (d_in, d_sae) in [(7, 49), (48, 1000), (49, 3001), (768, 500)] {
        let x = activations(101, d_in, 5);
        let mut weight = matrix(d_sae, d_in, 6);
        // Features that differ in their last bits or not at all.
        for feature in 20..40 {
            let row: Vec<f32> = weight.row(3).iter().map(|w| w * (1.0 + 1e-7)).collect();
            weight.row_mut(feature).copy_from_slice(&row);
        }
        weight.row_mut(41).fill(0.0);
        weight.row_mut(42)[0] = f32::INFINITY;
        for isa in Isa::available() {
            for gate in gates(d_sae, 7) {
                let encoder = Encoder::new_on(isa, weight.clone(), values(d_sae, 8), gate);
                let whole = encoder.encode(&x);
                for row in 0..x.rows() {
                    let alone = encoder.encode(&x.select_rows(&[row]));
                    assert_eq!(whole.row(row), alone.row(0), "{isa}, row {row}");
                }
            }
        }
    }
}

#[test]
fn an_updated_encoder_equals_a_new_one() {
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
        // Twice: a second change may come before rows are encoded.
        encoder.update(|weight, _, _| weight.row_mut(11).fill(0.5));
        let (mut weight, mut bias) = (matrix(300, 49, 5), values(300, 4));
        weight.row_mut(11).fill(0.5);
        bias[7] = 3.0;
        let new = Encoder::new_on(isa, weight, bias, Gate::Above(thresholds.clone()));
        assert_eq!(encoder.encode(&x), new.encode(&x), "{isa}");
    }
}

#[test]
fn earlier_rows_do_not_change_what_an_encoder_returns() {
    let weight = matrix(300, 49, 2);
    // The first rows have a few products far above all others, so that the guess is too high for
    // the second: rows of any norm, one of zeros, and one on which only biases make features
    // active.
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
fn screens_hold_for_rows_of_any_norm() {
    for isa in Isa::available() {
        for (x_scale, weight_scale) in [(1e-20, 1.0), (1e18, 1.0), (1.0, 1e-20), (1e-9, 1e17)] {
            let (mut x, mut weight) = (activations(40, 49, 1), matrix(300, 49, 2));
            x.scale(x_scale);
            weight.scale(weight_scale);
            let encoder = Encoder::new_on(isa, weight, vec![0.0; 300], Gate::TopK(5));
            let whole = encoder.encode(&x);
            for row in 0..x.rows() {
                let alone = encoder.encode(&x.select_rows(&[row]));
                assert_eq!(
                    whole.row(row),
                    alone.row(0),
                    "{isa} {x_scale} {weight_scale}, row {row}"
                );
            }
        }
    }
}

#[test]
fn screens_hold_for_rows_with_one_very_large_entry() {
    // Bytes are too coarse for such rows, so that the screen of 16-bit integers is used.
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
fn a_sparse_product_equals_the_dense_one() {
    let (weight, bias) = (matrix(60, 17, 1), values(17, 2));
    let encoder = Encoder::new(matrix(60, 9, 3), values(60, 4), Gate::TopK(7));
    let sparse = encoder.encode(&activations(8, 9, 5));
    let dense = Matrix::from_fn(8, 60, |row, feature| sparse.value(row, feature as u32));
    let transposed = Matrix::from_fn(17, 60, |column, feature| weight.row(feature)[column]);
    let expected = product_f64(&dense, &transposed, &bias);
    assert_close(
        sparse.product(&weight, &bias).data(),
        &expected,
        1e-6,
        "product",
    );
}
