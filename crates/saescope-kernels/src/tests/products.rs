//! Packed weights and their products.

use super::common::*;
use crate::{activation, transpose};

#[test]
fn products_equal_a_plain_loop() {
    for isa in Isa::available() {
        for rows in SIZES {
            for (d_in, d_out) in [(1, 7), (7, 48), (17, 49), (48, 1), (49, 17), (1000, 49)] {
                let (x, w) = (matrix(rows, d_in, 1), matrix(d_out, d_in, 2));
                let bias = values(d_out, 3);
                let context = format!("{isa} {rows}x{d_in}x{d_out}");
                let mut out = Matrix::default();
                pack(isa, &w, Precision::F32).product(&x, Some(&bias), Epilogue::Keep, &mut out);
                assert_close(out.data(), &product_f64(&x, &w, &bias), 5e-6, &context);

                pack(isa, &w, Precision::Bf16).product(&x, Some(&bias), Epilogue::Keep, &mut out);
                let dots = isa == Isa::Avx512Bf16;
                let x = if dots { rounded(&x) } else { x };
                assert_close(
                    out.data(),
                    &product_f64(&x, &rounded(&w), &bias),
                    1e-5,
                    &context,
                );
            }
        }
    }
}

#[test]
fn a_fused_operand_equals_one_computed_before() {
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
fn a_row_has_the_same_bits_alone_and_among_others() {
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
fn fused_epilogues_equal_separate_steps() {
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
fn packed_rows_can_be_copied_out() {
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
fn a_repacked_weight_equals_a_packed_one() {
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
                // Other values in between, so that none are left from the same weight.
                again.repack(&matrix(d_out, d_in, 3));
                again.repack_transposed(&Matrix::from_fn(d_in, d_out, |r, c| w.row(c)[r]));
                again.product(&x, None, Epilogue::Keep, &mut out);
                assert_eq!(out, once, "{isa} {precision:?} {d_out} x {d_in} transposed");
            }
        }
    }
}

#[test]
fn a_transpose_exchanges_rows_and_columns() {
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
fn products_have_the_same_bits_on_one_thread_and_two() {
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
