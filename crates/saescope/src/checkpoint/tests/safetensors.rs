use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{Dtype, Elements, NewTensor, save_safetensors};

/// A file of `header` and `data` bytes of zeros.
pub(super) fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn info(dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn tensors_that_overlap_leave_gaps_or_leave_the_file_are_refused_by_name() {
    let a = info("F32", "[2]", 0, 8);
    for (b, data) in [
        (info("F32", "[2]", 4, 12), 12),
        (info("F32", "[2]", 0, 8), 8),
        (info("F32", "[2]", 12, 20), 20),
        (info("F32", "[2]", 8, 16), 15),
        (info("F32", "[2]", 8, 20), 20),
        (info("F32", "[2]", 16, 8), 16),
        (info("F32", "[1152921504606846976]", 8, 16), 16),
        (info("F32", "[4294967296,4294967296]", 8, 16), 16),
        (info("F32", "[2]", 8, u64::MAX), 16),
        (info("F32", "[2]", u64::MAX - 7, u64::MAX), 16),
        (info("F99", "[2]", 8, 16), 16),
        (info("F8_E4M3", "[8]", 8, 16), 16),
        (info("F32", "[-2]", 8, 16), 16),
    ] {
        let header = format!(r#"{{"a":{a},"b":{b}}}"#);
        refused_for("b", "x.safetensors", &file(&header, data));
    }
}

#[test]
fn headers_that_lie_about_their_length_are_refused() {
    let good = file(&format!(r#"{{"a":{}}}"#, info("F32", "[2]", 0, 8)), 8);
    assert!(open_bytes("x.safetensors", &good).is_ok());
    for len in 0..good.len() {
        refusal("x.safetensors", &good[..len]);
    }
    for claim in [1 << 60, u64::MAX, 99_999_999, 1] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        refusal("x.safetensors", &bytes);
    }
    let mut longer = good;
    longer.push(0);
    refusal("x.safetensors", &longer);
}

#[test]
fn deep_nesting_in_a_header_is_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1 << 16), "]".repeat(1 << 16));
    refusal("x.safetensors", &file(&deep, 0));
}

#[test]
fn wrong_element_types_and_ranges_are_refused_when_read() {
    let header = format!(r#"{{"a":{}}}"#, info("F32", "[2,3]", 0, 24));
    let checkpoint = open_bytes("x.safetensors", &file(&header, 24)).unwrap();
    let tensor = checkpoint.tensor("a").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &[2, 3][..]));
    assert!(tensor.to_i64().is_err());
    let mut out = [0.0; 3];
    tensor.read(3..6, &mut out).unwrap();
    #[allow(clippy::reversed_empty_ranges)]
    for range in [4..7, 0..2, 5..2, 0..usize::MAX, usize::MAX..2] {
        assert!(matches!(
            tensor.read(range, &mut out),
            Err(Error::Tensor { .. })
        ));
    }
    assert!(matches!(
        checkpoint.tensor("b"),
        Err(Error::MissingTensor { .. })
    ));
}

#[test]
fn the_first_value_that_is_not_finite_is_named_with_its_place() {
    let header = format!(r#"{{"a":{}}}"#, info("F32", "[2000]", 0, 8000));
    let checkpoint = open_bytes("x.safetensors", &file(&header, 8000)).unwrap();
    let tensor = checkpoint.tensor("a").unwrap();
    let mut values = tensor.to_vec().unwrap();
    tensor.check_finite(&values, 0).unwrap();
    values[1500] = f32::NEG_INFINITY;
    values[1700] = f32::NAN;
    match tensor.check_finite(&values[1000..], 1000) {
        Err(Error::NotFinite { index, tensor, .. }) => assert_eq!((index, &*tensor), (1500, "a")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_saved_file_is_replaced_whole_and_equal_input_gives_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let metadata = BTreeMap::from([("model".to_owned(), "안녕".to_owned())]);
    let b = NewTensor {
        name: "b",
        shape: &[2],
        elements: Elements::I64(&[-1, 1 << 60]),
    };
    let a = NewTensor {
        name: "a",
        shape: &[3],
        elements: Elements::F32(&[1.0, f32::NAN, -0.0]),
    };
    save_safetensors(&path, &[a, b], &metadata).unwrap();
    let first = std::fs::read(&path).unwrap();
    save_safetensors(&path, &[b, a], &metadata).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);

    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.metadata(), Some(&metadata));
    assert_eq!(checkpoint.stored_bytes(), 28);
    let numbers = checkpoint.tensor("b").unwrap().to_i64().unwrap();
    assert_eq!(numbers, [-1, 1 << 60]);

    let wrong = NewTensor {
        shape: &[2, 2],
        ..b
    };
    for refused in [vec![wrong], vec![b, b]] {
        assert!(matches!(
            save_safetensors(&path, &refused, &metadata),
            Err(Error::Tensor { .. })
        ));
    }
    assert_eq!(std::fs::read(&path).unwrap(), first);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn saving_where_no_folder_is_fails_with_the_path() {
    let error = save_safetensors(Path::new("/nonexistent/x"), &[], &BTreeMap::new());
    assert!(matches!(error, Err(Error::Io { .. })));
}

#[test]
fn evicted_tensors_read_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let elements: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
    let tensor = NewTensor {
        name: "a",
        shape: &[100_000],
        elements: Elements::F32(&elements),
    };
    save_safetensors(&path, &[tensor], &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(values(&checkpoint, "a"), elements);
    checkpoint.tensor("a").unwrap().evict();
    assert_eq!(values(&checkpoint, "a"), elements);
}

proptest! {
    #[test]
    fn what_is_saved_is_read_back(
        tensors in proptest::collection::btree_map("\\PC{1,12}", proptest::collection::vec(any::<f32>(), 0..40), 0..6)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let shapes: Vec<[usize; 2]> = tensors.values().map(|v| [1, v.len()]).collect();
        let new: Vec<NewTensor> = tensors.iter().zip(&shapes).map(|((name, values), shape)| NewTensor {
            name,
            shape,
            elements: Elements::F32(values),
        }).collect();
        save_safetensors(&path, &new, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        prop_assert_eq!(checkpoint.names().count(), tensors.len());
        for (name, expected) in &tensors {
            let found: Vec<u32> = values(&checkpoint, name).iter().map(|v| v.to_bits()).collect();
            let expected: Vec<u32> = expected.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
