//! Thousands of damaged files. The fuzz targets call the same functions without an end.

use super::*;
use crate::checkpoint::Dtype;

/// Opens a file and reads all that it says, as a program that trusts it would.
fn read_all(name: &str, bytes: &[u8]) {
    let checkpoint = match open_bytes(name, bytes) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            assert!(error.to_string().starts_with(name), "{error}");
            return;
        }
    };
    assert!(checkpoint.stored_bytes() <= 64 * bytes.len() as u64);
    for tensor in checkpoint.tensors() {
        if tensor.len() <= 1 << 16 {
            let values = tensor.to_vec().unwrap();
            assert_eq!(values.len(), tensor.shape().iter().product::<usize>());
            // Either answer is right for damaged numbers.
            let _ = tensor.check_finite(&values, 0);
            assert!(tensor.to_i64().is_ok() || tensor.dtype() != Dtype::I64);
        }
    }
}

/// A generator of numbers (SplitMix64) that gives the same ones everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let extremes = [
            0,
            1,
            u64::MAX,
            1 << 60,
            1 << 63,
            1 << 31,
            u64::from(u32::MAX),
        ];
        match self.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            2 => {
                let to = self.below(bytes.len());
                let len = self.below(16).min(bytes.len() - at.max(to));
                bytes.copy_within(at..at + len, to);
            }
            3 => {
                let with = extremes[self.below(extremes.len())].to_le_bytes();
                let len = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&with[..len]);
            }
            4 => {
                bytes.remove(at);
            }
            5 => bytes.insert(at, self.next() as u8),
            _ => bytes[at] ^= 1 << self.below(8),
        }
    }
}

fn survives_damage(name: &str, whole: &[u8], rounds: u64) {
    assert!(open_bytes(name, whole).is_ok(), "{name}");
    for seed in 0..rounds {
        let mut random = Random(seed);
        let mut bytes = whole.to_vec();
        for _ in 0..=random.below(3) {
            if !bytes.is_empty() {
                random.damage(&mut bytes);
            }
        }
        read_all(name, &bytes);
    }
}

#[test]
fn damaged_safetensors_files_never_panic() {
    let bytes = golden_bytes("torch/expected.safetensors");
    survives_damage("x.safetensors", &bytes, 4000);
}

#[test]
fn damaged_gguf_files_never_panic() {
    survives_damage("x.gguf", &golden_bytes("quant/blocks.gguf"), 4000);
}

#[test]
fn damaged_torch_files_never_panic() {
    survives_damage("x.pt", &golden_bytes("torch/state.pt"), 4000);
    survives_damage("x.pt", &golden_bytes("torch/state_old.pt"), 4000);
    survives_damage("x.pt", &golden_bytes("torch/sae.pt"), 2000);
}

#[test]
fn damaged_llama2c_files_never_panic() {
    let bytes = super::llama2c::file([8, 12, 1, 4, 2, 5, 3], 40 + 8 + 192 + 8 + 288 + 8 + 6);
    survives_damage("x.bin", &bytes, 2000);
}

#[test]
fn damaged_files_of_numpy_never_panic() {
    for (name, file) in [
        ("x.npz", "compressed.npz"),
        ("x.npz", "by_layer.npz"),
        ("x.npy", "big.npy"),
    ] {
        let bytes = golden_bytes(&format!("vectors/torch/{file}"));
        survives_damage(name, &bytes, 4000);
    }
}
