//! Attention and its cache.

use super::common::*;

/// Attention by its formula; returns the pattern `[rows][n_heads * n_keys]` and z.
fn attend_f64(attention: &Attention, qkv: &Matrix) -> (Vec<f64>, Vec<f64>) {
    let (n, d) = (qkv.rows(), attention.d_head);
    let (mut pattern, mut z) = (vec![], vec![]);
    for row in 0..n {
        for head in 0..attention.n_heads {
            let kv = head / (attention.n_heads / attention.n_kv_heads);
            let at = |row: usize, head: usize, i: usize| f64::from(qkv.row(row)[head * d + i]);
            let first = attention.window.map_or(0, |w| (row + 1).saturating_sub(w));
            let score = |key: usize| {
                let dot: f64 = (0..d)
                    .map(|i| at(row, head, i) * at(key, attention.n_heads + kv, i))
                    .sum();
                let score = dot * f64::from(attention.scale);
                attention
                    .softcap
                    .map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
            };
            let visible = |key: usize| key >= first && key <= row;
            let weights: Vec<f64> = (0..n)
                .map(|key| if visible(key) { score(key).exp() } else { 0.0 })
                .collect();
            let total: f64 = weights.iter().sum();
            pattern.extend(weights.iter().map(|w| w / total));
            for i in 0..d {
                let value = |key: usize| at(key, attention.n_heads + attention.n_kv_heads + kv, i);
                z.push((0..n).map(|key| weights[key] / total * value(key)).sum());
            }
        }
    }
    (pattern, z)
}

fn cache_of(isa: Isa, attention: &Attention, qkv: &Matrix, capacity: usize) -> KeysValues {
    let mut cache = KeysValues::new_on(isa, attention.n_kv_heads, attention.d_head, capacity);
    cache.append(qkv, 0, qkv.rows(), attention.n_heads * attention.d_head);
    cache
}

fn hyperparameters() -> impl Iterator<Item = Attention> {
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
        for attention in hyperparameters() {
            for rows in [1, 7, 17, 48, 70] {
                let cols = (attention.n_heads + 2 * attention.n_kv_heads) * attention.d_head;
                let qkv = matrix(rows, cols, 5);
                let cache = cache_of(isa, &attention, &qkv, rows + 3);
                let sequences = [Sequence {
                    cache: &cache,
                    rows,
                }];
                let (expected_pattern, expected) = attend_f64(&attention, &qkv);
                let context = format!("{isa} {attention:?} {rows}");
                let mut z = Matrix::default();
                attend(&attention, &qkv, &sequences, &mut z);
                assert_close(z.data(), &expected, 1e-5, &context);
                let weights = pattern(&attention, &qkv, &sequences);
                assert_close(weights.data(), &expected_pattern, 1e-5, &context);
                let mut again = Matrix::default();
                attend_with_pattern(&attention, &weights, &sequences, &mut again);
                assert_eq!(again, z, "{context}: with the given pattern");
            }
        }
    }
}

#[test]
fn cached_attention_has_the_same_bits() {
    for isa in Isa::available() {
        for attention in hyperparameters() {
            let keys_at = attention.n_heads * attention.d_head;
            let qkv = matrix(
                61,
                (attention.n_heads + 2 * attention.n_kv_heads) * attention.d_head,
                5,
            );
            let whole_cache = cache_of(isa, &attention, &qkv, 61);
            let mut whole = Matrix::default();
            attend(
                &attention,
                &qkv,
                &[Sequence {
                    cache: &whole_cache,
                    rows: 61,
                }],
                &mut whole,
            );
            let mut cache = KeysValues::new_on(isa, attention.n_kv_heads, attention.d_head, 61);
            for row in 0..61 {
                let one = qkv.select_rows(&[row]);
                cache.append(&one, 0, 1, keys_at);
                let mut z = Matrix::default();
                attend(
                    &attention,
                    &one,
                    &[Sequence {
                        cache: &cache,
                        rows: 1,
                    }],
                    &mut z,
                );
                assert_eq!(z.row(0), whole.row(row), "{isa} {attention:?} {row}");
            }
        }
    }
}
