//! Every kernel against a plain f64 loop, over odd shapes, under every instruction set here.

mod training;

use half::bf16;

use crate::*;

const SIZES: [usize; 6] = [1, 7, 17, 48, 49, 1000];

/// Reproducible values in -1..1.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

fn matrix(rows: usize, cols: usize, seed: u64) -> Matrix {
    Matrix::from_vec(rows, cols, values(rows * cols, seed))
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().map(|x| x.abs()).fold(1e-6, f64::max);
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs() / scale;
        assert!(
            off <= tolerance,
            "{what}, entry {i}: {found} instead of {expected}"
        );
    }
}

fn pack(isa: Isa, weight: &Matrix, precision: Precision) -> Weight {
    let shape = (weight.rows(), weight.cols());
    let fill = |range: std::ops::Range<usize>, out: &mut [f32]| {
        out.copy_from_slice(&weight.data()[range.start * shape.1..range.end * shape.1]);
        Ok::<_, ()>(())
    };
    Weight::pack_for(isa, shape, precision, fill).unwrap()
}

fn rounded(x: &Matrix) -> Matrix {
    Matrix::from_fn(x.rows(), x.cols(), |r, c| {
        bf16::from_f32(x.row(r)[c]).to_f32()
    })
}

fn product_f64(x: &Matrix, weight: &Matrix, bias: &[f32]) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let row = |r: usize| (0..weight.rows()).map(move |c| (r, c));
    (0..x.rows())
        .flat_map(row)
        .map(|(r, c)| dot(x.row(r), weight.row(c)) + f64::from(bias[c]))
        .collect()
}

fn act_f64(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Gelu => {
            // Phi by Simpson's rule over 2,000 steps, independent of the kernel's series.
            let (steps, density) = (2000, |t: f64| (-t * t / 2.0).exp());
            let h = x / f64::from(steps);
            let inner: f64 = (1..steps)
                .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
                .sum();
            let area = (density(0.0) + inner + density(x)) * h / 3.0;
            x * (0.5 + area / (2.0 * std::f64::consts::PI).sqrt())
        }
    }
}

const ACTIVATIONS: [Activation; 4] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Relu,
];

#[test]
fn products_equal_a_plain_loop() {
    for isa in Isa::available() {
        for rows in SIZES {
            for (d_in, d_out) in [(1, 7), (7, 48), (17, 49), (48, 1), (49, 17), (1000, 49)] {
                let (x, w) = (matrix(rows, d_in, 1), matrix(d_out, d_in, 2));
                let bias = values(d_out, 3);
                let what = format!("{isa} {rows}x{d_in}x{d_out}");
                let mut out = Matrix::default();
                pack(isa, &w, Precision::F32).product(&x, Some(&bias), Epilogue::Keep, &mut out);
                assert_close(out.data(), &product_f64(&x, &w, &bias), 5e-6, &what);

                pack(isa, &w, Precision::Bf16).product(&x, Some(&bias), Epilogue::Keep, &mut out);
                let dots = isa == Isa::Avx512Bf16;
                let x = if dots { rounded(&x) } else { x };
                assert_close(
                    out.data(),
                    &product_f64(&x, &rounded(&w), &bias),
                    1e-5,
                    &what,
                );
            }
        }
    }
}

#[test]
fn what_is_computed_as_it_enters_a_product_is_what_was_computed_before() {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            for (rows, d_in) in [(1, 7), (5, 16), (49, 131)] {
                let weight = pack(isa, &matrix(37, d_in, 2), precision);
                let product = |left: Operand| {
                    let mut out = Matrix::default();
                    weight.product(left, None, Epilogue::Keep, &mut out);
                    out
                };
                let (gain, bias) = (values(d_in, 3), values(d_in, 4));
                let (x, both) = (matrix(rows, d_in, 5), matrix(rows, 2 * d_in, 6));
                let mut before = Matrix::default();
                for norm in [
                    Norm::rms(&gain, 1e-5),
                    Norm::layer(&gain, Some(&bias), 1e-5),
                ] {
                    norm.apply_on(isa, &x, &mut before);
                    let found = product(Operand::Normed(norm, &x));
                    assert_eq!(found.data(), product(Operand::Rows(&before)).data());
                }
                for activation in ACTIVATIONS {
                    activation::gated_on(isa, activation, &both, &mut before);
                    let found = product(Operand::Gated(activation, &both));
                    assert_eq!(found.data(), product(Operand::Rows(&before)).data());
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_whatever_is_computed_beside_it() {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let (x, w) = (matrix(49, 1000, 1), matrix(131, 1000, 2));
            let weight = pack(isa, &w, precision);
            let (mut all, mut one) = (Matrix::default(), Matrix::default());
            weight.product(&x, None, Epilogue::Keep, &mut all);
            for row in [0, 1, 23, 48] {
                weight.product(&x.select_rows(&[row]), None, Epilogue::Keep, &mut one);
                assert_eq!(one.row(0), all.row(row), "{isa} {precision:?} row {row}");
            }
        }
    }
}

#[test]
fn fused_epilogues_equal_the_steps_taken_apart() {
    for isa in Isa::available() {
        let (x, w, added) = (matrix(17, 1000, 1), matrix(49, 1000, 2), matrix(17, 49, 3));
        let (weight, bias) = (pack(isa, &w, Precision::F32), values(49, 4));
        let mut plain = Matrix::default();
        weight.product(&x, Some(&bias), Epilogue::Keep, &mut plain);
        let mut fused = Matrix::default();
        weight.product(&x, Some(&bias), Epilogue::Add(&added), &mut fused);
        let apart = Matrix::from_fn(17, 49, |r, c| plain.row(r)[c] + added.row(r)[c]);
        assert_eq!(fused, apart, "{isa}");
        for activation in ACTIVATIONS {
            weight.product(&x, Some(&bias), Epilogue::Activate(activation), &mut fused);
            let expected: Vec<f64> = plain
                .data()
                .iter()
                .map(|&x| act_f64(activation, f64::from(x)))
                .collect();
            assert_close(
                fused.data(),
                &expected,
                1e-6,
                &format!("{isa} {activation:?}"),
            );
        }
    }
}

#[test]
fn packed_rows_are_handed_back() {
    for isa in Isa::available() {
        for (d_out, d_in) in [(1, 1), (49, 7), (17, 1000)] {
            let w = matrix(d_out, d_in, 1);
            let mut row = vec![0.0; d_in];
            for output in [0, d_out / 2, d_out - 1] {
                pack(isa, &w, Precision::F32).copy_row(output, &mut row);
                assert_eq!(row, w.row(output));
                pack(isa, &w, Precision::Bf16).copy_row(output, &mut row);
                assert_eq!(row, rounded(&w).row(output));
            }
        }
    }
}

#[test]
fn activations_equal_their_formulas_far_out_too() {
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.05).collect();
            let both = Matrix::from_vec(1, 2 * x.len(), [x.clone(), vec![1.0; x.len()]].concat());
            let mut out = Matrix::default();
            activation::gated_on(isa, activation, &both, &mut out);
            for (&x, &found) in x.iter().zip(out.data()) {
                let expected = act_f64(activation, f64::from(x));
                let off = (f64::from(found) - expected).abs();
                assert!(
                    off < 2e-6 * (1.0 + expected.abs()),
                    "{isa} {activation:?}({x}) = {found}"
                );
            }
        }
    }
}

#[test]
fn gating_multiplies_by_the_second_half() {
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
fn norms_equal_their_formulas() {
    for isa in Isa::available() {
        for d in SIZES {
            let x = Matrix::from_fn(5, d, |r, c| values(d, r as u64 + 1)[c] * 3.0 + 10.0);
            let (weight, bias) = (values(d, 8), values(d, 9));
            for centred in [false, true] {
                let bias = centred.then_some(&bias[..]);
                let mut out = Matrix::default();
                let norm = match centred {
                    true => Norm::layer(&weight, bias, 1e-5),
                    false => Norm::rms(&weight, 1e-5),
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
fn head_norms_touch_their_heads_only() {
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
fn rotation_turns_pairs_by_position_times_frequency() {
    let frequencies = [1.0, 0.25];
    let mut x = Matrix::from_vec(2, 10, [values(10, 1), values(10, 1)].concat());
    let before = x.clone();
    Rotation::new(&frequencies, [0, 7].into_iter()).apply(&mut x, 2, 5);
    assert_eq!(x.row(0), before.row(0), "position 0 does not turn");
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

/// Attention by its formula; returns pattern `[rows][n_heads * n_keys]` and z.
fn attend_f64(form: &Attention, qkv: &Matrix) -> (Vec<f64>, Vec<f64>) {
    let (n, d) = (qkv.rows(), form.d_head);
    let (mut pattern, mut z) = (vec![], vec![]);
    for row in 0..n {
        for head in 0..form.n_heads {
            let kv = head / (form.n_heads / form.n_kv_heads);
            let at = |row: usize, head: usize, i: usize| f64::from(qkv.row(row)[head * d + i]);
            let first = form.window.map_or(0, |w| (row + 1).saturating_sub(w));
            let score = |key: usize| {
                let dot: f64 = (0..d)
                    .map(|i| at(row, head, i) * at(key, form.n_heads + kv, i))
                    .sum();
                let score = dot * f64::from(form.scale);
                form.softcap
                    .map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
            };
            let seen = |key: usize| key >= first && key <= row;
            let weights: Vec<f64> = (0..n)
                .map(|key| if seen(key) { score(key).exp() } else { 0.0 })
                .collect();
            let total: f64 = weights.iter().sum();
            pattern.extend(weights.iter().map(|w| w / total));
            for i in 0..d {
                let value = |key: usize| at(key, form.n_heads + form.n_kv_heads + kv, i);
                z.push((0..n).map(|key| weights[key] / total * value(key)).sum());
            }
        }
    }
    (pattern, z)
}

fn cache_of(isa: Isa, form: &Attention, qkv: &Matrix, capacity: usize) -> KeysValues {
    let mut cache = KeysValues::new_on(isa, form.n_kv_heads, form.d_head, capacity);
    cache.append(qkv, 0, qkv.rows(), form.n_heads * form.d_head);
    cache
}

fn forms() -> impl Iterator<Item = Attention> {
    let sizes = [(1, 1, 7), (4, 2, 17), (6, 1, 48), (2, 2, 49)];
    sizes.into_iter().flat_map(|(n_heads, n_kv_heads, d_head)| {
        [(None, None), (Some(5), None), (Some(20), Some(2.0))].map(|(window, softcap)| {
            let scale = 1.3;
            Attention {
                n_heads,
                n_kv_heads,
                d_head,
                scale,
                softcap,
                window,
            }
        })
    })
}

#[test]
fn attention_equals_its_formula() {
    for isa in Isa::available() {
        for form in forms() {
            for rows in [1, 7, 17, 48, 70] {
                let cols = (form.n_heads + 2 * form.n_kv_heads) * form.d_head;
                let qkv = matrix(rows, cols, 5);
                let cache = cache_of(isa, &form, &qkv, rows + 3);
                let sequences = [Sequence {
                    cache: &cache,
                    rows,
                }];
                let (expected_pattern, expected) = attend_f64(&form, &qkv);
                let what = format!("{isa} {form:?} {rows}");
                let mut z = Matrix::default();
                attend(&form, &qkv, &sequences, &mut z);
                assert_close(z.data(), &expected, 1e-5, &what);
                let weights = pattern(&form, &qkv, &sequences);
                assert_close(weights.data(), &expected_pattern, 1e-5, &what);
                let mut again = Matrix::default();
                attend_by(&form, &weights, &sequences, &mut again);
                assert_eq!(again, z, "{what}: through the pattern");
            }
        }
    }
}

#[test]
fn a_token_attends_to_the_same_bits_from_a_cache() {
    for isa in Isa::available() {
        for form in forms() {
            let keys_at = form.n_heads * form.d_head;
            let qkv = matrix(61, (form.n_heads + 2 * form.n_kv_heads) * form.d_head, 5);
            let whole_cache = cache_of(isa, &form, &qkv, 61);
            let mut whole = Matrix::default();
            attend(
                &form,
                &qkv,
                &[Sequence {
                    cache: &whole_cache,
                    rows: 61,
                }],
                &mut whole,
            );
            let mut cache = KeysValues::new_on(isa, form.n_kv_heads, form.d_head, 61);
            for row in 0..61 {
                let one = qkv.select_rows(&[row]);
                cache.append(&one, 0, 1, keys_at);
                let mut z = Matrix::default();
                attend(
                    &form,
                    &one,
                    &[Sequence {
                        cache: &cache,
                        rows: 1,
                    }],
                    &mut z,
                );
                assert_eq!(z.row(0), whole.row(row), "{isa} {form:?} {row}");
            }
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
fn one_thread_and_two_give_the_same_bits() {
    let (x, w) = (matrix(130, 768, 1), matrix(770, 768, 2));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut out = Matrix::default();
            pack(Isa::current(), &w, Precision::F32).product(&x, None, Epilogue::Keep, &mut out);
            out
        })
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn what_is_not_a_number_stays_so() {
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let x = Matrix::from_vec(1, 2, vec![f32::NAN, 1.0]);
            let mut out = Matrix::default();
            activation::gated_on(isa, activation, &x, &mut out);
            assert!(out.data()[0].is_nan(), "{isa} {activation:?}");
        }
    }
}

fn gates(d_sae: usize, seed: u64) -> [Gate; 4] {
    let thresholds = values(d_sae, seed).iter().map(|x| 3.0 * x).collect();
    [
        Gate::Positive,
        Gate::TopK(5),
        Gate::TopK(2 * d_sae),
        Gate::Above(thresholds),
    ]
}

/// Rows as activations are: some a hundred times longer, some with one entry above all others, one
/// of zeros.
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
        // Features that cannot be told apart by less than their last bits, and equal ones.
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
fn sparse_rows_times_a_matrix_is_the_dense_product() {
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
