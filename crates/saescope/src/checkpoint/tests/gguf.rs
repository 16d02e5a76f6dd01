use super::*;
use crate::checkpoint::gguf::Value;

const BLOCKS: &str = "quant/blocks.gguf";

#[test]
fn every_type_becomes_the_f32_that_gguf_makes_of_it() {
    assert_same(&open(BLOCKS), &open("quant/expected.safetensors"));
}

#[test]
fn blocks_can_be_read_one_at_a_time_and_not_in_parts() {
    let checkpoint = open(BLOCKS);
    for tensor in checkpoint.tensors() {
        let block = tensor.dtype().block_len();
        let whole = tensor.to_vec().unwrap();
        let mut out = vec![0.0; block];
        for (i, expected) in whole.chunks(block).enumerate() {
            tensor.read(i * block..(i + 1) * block, &mut out).unwrap();
            assert_eq!(out, expected);
        }
        if tensor.dtype().is_quantised() {
            assert!(tensor.read(1..1 + block, &mut out).is_err());
        }
    }
}

#[test]
fn metadata_of_every_type_is_read() {
    let checkpoint = open(BLOCKS);
    let metadata = checkpoint.gguf().unwrap();
    assert_eq!(metadata.str("general.architecture").unwrap(), Some("test"));
    assert_eq!(metadata.str("test.str").unwrap(), Some("안녕"));
    for (key, expected) in [
        ("test.u8", 200),
        ("test.u16", 60000),
        ("test.u32", 4_000_000_000),
    ] {
        assert_eq!(metadata.u32(key).unwrap(), Some(expected));
    }
    for (key, expected) in [
        ("test.i8", -100),
        ("test.i16", -30000),
        ("test.i32", -2_000_000_000),
        ("test.i64", -(1 << 60)),
    ] {
        assert_eq!(metadata.get(key), Some(&Value::I64(expected)));
        assert!(metadata.u32(key).is_err());
    }
    assert_eq!(metadata.get("test.u64"), Some(&Value::U64(1 << 60)));
    assert_eq!(metadata.f32("test.f32").unwrap(), Some(0.1));
    assert_eq!(metadata.get("test.f64"), Some(&Value::F64(0.1)));
    assert_eq!(metadata.bool("test.bool").unwrap(), Some(true));
    assert_eq!(
        metadata.strs("test.strs").unwrap().unwrap(),
        ["a", "", "Ġb"]
    );
    assert_eq!(metadata.f32s("test.f32s").unwrap().unwrap(), [0.5, -1.0]);
    assert_eq!(metadata.i32s("test.i32s").unwrap().unwrap(), [1, -2, 3]);
    assert_eq!(
        metadata.bools("test.bools").unwrap().unwrap(),
        [true, false]
    );
    assert_eq!(metadata.str("test.none").unwrap(), None);
    assert!(metadata.str("test.u8").is_err());
    assert!(metadata.iter().any(|(key, _)| key == "test.u8"));
}

/// A file of some metadata, given as bytes with their number, and of tensors.
pub(super) fn file(
    values: (u64, &[u8]),
    tensors: &[(&str, &[u64], u32, u64)],
    data: usize,
) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(values.0.to_le_bytes());
    bytes.extend(values.1);
    for (name, shape, kind, offset) in tensors {
        bytes.extend(text(name));
        bytes.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|d| bytes.extend(d.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A key, the number of its type and the bytes of its value.
fn value(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = text(key);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(value);
    bytes
}

#[test]
fn shapes_are_reversed_and_version_2_is_read_alike() {
    let mut bytes = file((0, &[]), &[("a", &[4, 3], 0, 0)], 48);
    for version in [3, 2] {
        bytes[4] = version;
        let checkpoint = open_bytes("x.gguf", &bytes).unwrap();
        assert_eq!(checkpoint.tensor("a").unwrap().shape(), [3, 4]);
    }
    for version in [[1, 0, 0, 0], [4, 0, 0, 0], [0, 0, 0, 3]] {
        bytes[4..8].copy_from_slice(&version);
        refusal("x.gguf", &bytes);
    }
}

#[test]
fn tensors_that_overlap_or_leave_the_file_are_refused_by_name() {
    let a: (&str, &[u64], u32, u64) = ("a", &[8], 0, 0);
    assert!(open_bytes("x.gguf", &file((0, &[]), &[a, ("b", &[8], 0, 32)], 64)).is_ok());
    for b in [
        ("b", &[8][..], 0, 0),
        ("b", &[9], 0, 32),
        ("b", &[8], 0, 33),
        ("b", &[8], 0, 64),
        ("b", &[8], 0, u64::MAX - 31),
        ("b", &[1 << 60], 0, 32),
        ("b", &[1 << 32, 1 << 32, 1 << 32], 0, 32),
        ("b", &[16], 2, 32),
        ("b", &[32], 18, 32),
        ("b", &[8], 1000, 32),
    ] {
        refused_for("b", "x.gguf", &file((0, &[]), &[a, b], 64));
    }
    refusal("x.gguf", &file((0, &[]), &[("b", &[1; 5], 0, 0)], 64));
    refused_for("a", "x.gguf", &file((0, &[]), &[a, ("a", &[8], 0, 32)], 64));
}

#[test]
fn counts_and_lengths_beyond_the_file_are_refused() {
    let huge = (1u64 << 60).to_le_bytes();
    let array = |kind: u32| [&kind.to_le_bytes()[..], &huge].concat();
    let mut cases = vec![
        value("k", 8, &huge),
        value("k", 9, &array(9)),
        value("k", 9, &array(77)),
        value("k", 77, &[]),
        huge.to_vec(),
        value("general.alignment", 4, &[0; 4]),
        value("general.alignment", 4, &[3, 0, 0, 0]),
        value("split.count", 2, &[5, 0]),
        value("k", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
    ];
    cases.extend([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12].map(|kind| value("k", 9, &array(kind))));
    for case in cases {
        refusal("x.gguf", &file((1, &case), &[], 0));
        refusal("x.gguf", &file((1 << 60, &case), &[], 0));
    }
    let twice = value("k", 0, &[1]).repeat(2);
    refusal("x.gguf", &file((2, &twice), &[], 0));
    let mut bytes = file((0, &[]), &[("a", &[8], 0, 0)], 32);
    bytes[8..16].copy_from_slice(&huge);
    refusal("x.gguf", &bytes);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = golden_bytes(BLOCKS);
    for len in 0..bytes.len() - 32 {
        refusal("x.gguf", &bytes[..len]);
    }
}
