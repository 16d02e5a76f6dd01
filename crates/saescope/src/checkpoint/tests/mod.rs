//! The readers against files that their formats' own writers made, and against hostile ones.

mod folders;
mod gguf;
mod hostile;
mod llama2c;
mod mutations;
mod npz;
mod safetensors;
mod torch;

use std::path::{Path, PathBuf};

use super::Checkpoint;
use crate::error::{Error, Result};

/// A file under `tests/golden`, of which every one has to be there.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
}

fn golden_bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap_or_else(|e| panic!("{name}: {e}; tests/golden makes it"))
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&golden(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn open_bytes(name: &str, bytes: &[u8]) -> Result<Checkpoint> {
    Checkpoint::from_bytes(Path::new(name), bytes.to_vec())
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.tensor(name).unwrap().to_vec().unwrap()
}

/// The error of opening `bytes`, which has to name the file first.
fn refusal(name: &str, bytes: &[u8]) -> Error {
    let Err(error) = open_bytes(name, bytes) else {
        panic!("{name} was opened");
    };
    assert!(error.to_string().starts_with(name), "{error}");
    error
}

/// Asserts that opening `bytes` fails because of the tensor called `tensor`.
fn refused_for(tensor: &str, name: &str, bytes: &[u8]) {
    match refusal(name, bytes) {
        Error::Tensor { tensor: named, .. } => assert_eq!(named, tensor),
        other => panic!("{other}"),
    }
}

/// Asserts that every tensor of `expected` is in `found` with the same bits.
fn assert_same(found: &Checkpoint, expected: &Checkpoint) {
    assert!(expected.names().next().is_some());
    for tensor in expected.tensors() {
        let name = tensor.name();
        let other = found.tensor(name).unwrap();
        assert_eq!(other.shape(), tensor.shape(), "{name}");
        let bits = |values: Vec<f32>| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        let expected = bits(tensor.to_vec().unwrap());
        assert_eq!(bits(other.to_vec().unwrap()), expected, "{name}");
    }
}
