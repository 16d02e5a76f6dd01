use super::*;
use crate::checkpoint::Dtype;

/// A model whose every element is its number, counted from the header's end.
pub(super) fn file(sizes: [i32; 7], elements: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend((0..elements).flat_map(|i| (i as f32).to_le_bytes()));
    bytes
}

// dim 8, hidden 12, 2 layers, 4 heads of 2, 2 of them for keys, 5 tokens, context 3.
const SIZES: [i32; 7] = [8, 12, 2, 4, 2, 5, 3];
const ELEMENTS: usize = 5 * 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 96) + 8 + 2 * 3;

#[test]
fn tensors_follow_each_other_in_llama2c_order() {
    let checkpoint = open_bytes("x.bin", &file(SIZES, ELEMENTS)).unwrap();
    let header = checkpoint.llama2c().unwrap();
    assert!(header.shared_classifier);
    assert_eq!((header.n_kv_heads, header.vocab_size), (2, 5));
    let wk = checkpoint.tensor("wk.1").unwrap();
    assert_eq!((wk.dtype(), wk.shape()), (Dtype::F32, &[4, 8][..]));
    // Embedding, both norms, both wq, the wk of layer 0.
    assert_eq!(wk.to_vec().unwrap()[0], (40 + 16 + 128 + 32) as f32);
    let last = values(&checkpoint, "rms_final_weight");
    assert_eq!(last[7] as usize, ELEMENTS - 6 - 1);
    assert!(checkpoint.names().all(|name| !name.starts_with("freq")));
    assert!(checkpoint.tensor("wcls").is_err());
}

#[test]
fn a_negative_vocabulary_means_an_unembedding_of_its_own() {
    let sizes = [8, 12, 2, 4, 2, -5, 3];
    let checkpoint = open_bytes("x.bin", &file(sizes, ELEMENTS + 40)).unwrap();
    assert!(!checkpoint.llama2c().unwrap().shared_classifier);
    let wcls = checkpoint.tensor("wcls").unwrap();
    assert_eq!(wcls.shape(), [5, 8]);
    assert_eq!(wcls.to_vec().unwrap()[0], ELEMENTS as f32);
}

#[test]
fn a_size_that_is_not_exactly_right_is_refused() {
    for elements in [ELEMENTS - 1, ELEMENTS + 1, ELEMENTS + 40, 0] {
        refusal("x.bin", &file(SIZES, elements));
    }
    let bytes = file(SIZES, ELEMENTS);
    for len in 0..bytes.len() {
        refusal("x.bin", &bytes[..len]);
    }
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    for (at, size) in [
        (0, 0),
        (0, -8),
        (0, i32::MIN),
        (2, i32::MAX),
        (3, 3),
        (4, 3),
        (5, i32::MAX),
    ] {
        let mut sizes = SIZES;
        sizes[at] = size;
        refusal("x.bin", &file(sizes, ELEMENTS));
    }
    refusal(
        "x.bin",
        &file([i32::MAX - 1, i32::MAX, 4096, 1, 1, i32::MIN, i32::MAX], 9),
    );
    refusal("x.bin", b"24ka\x01\0\0\0rest of a file of a later version");
}
