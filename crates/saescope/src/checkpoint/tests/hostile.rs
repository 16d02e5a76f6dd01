//! Pickles and archives that no honest writer makes.

use super::*;

/// An archive with these entries, stored.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let header = bytes.len() as u32;
        let [len, name_len] = [data.len() as u32, name.len() as u32];
        bytes.extend(b"PK\x03\x04");
        bytes.extend([0; 22]);
        bytes.extend(name_len.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 16]);
        directory.extend(len.to_le_bytes());
        directory.extend(len.to_le_bytes());
        directory.extend(name_len.to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = bytes.len() as u32;
    let count = entries.len() as u16;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// A file of `torch.save` around a pickle, with one storage of 16 bytes.
fn saved(pickle: &[u8]) -> Vec<u8> {
    zip(&[("x/data.pkl", pickle), ("x/data/0", &[0; 16])])
}

/// A pickle of `{"w": tensor}`, of a storage of `len` f32.
fn tensor(len: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu",
        len,
        b"tQ",
        offset,
        b"(",
        shape,
        b"t(",
        strides,
        b"t\x89}tRs.",
    ]
    .concat()
}

/// LONG1 of a number.
fn long(number: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &number.to_le_bytes()].concat()
}

#[test]
fn a_tensor_inside_its_storage_is_read() {
    let bytes = saved(&tensor(b"K\x04", b"K\x01", b"K\x03", b"K\x01"));
    let checkpoint = open_bytes("x.pt", &bytes).unwrap();
    assert_eq!(checkpoint.tensor("w").unwrap().shape(), [3]);
}

#[test]
fn tensors_outside_their_storage_are_refused_by_name() {
    let huge = long(1 << 60);
    let most = long(i64::MAX);
    let two_huge = [huge.clone(), huge.clone()].concat();
    for pickle in [
        tensor(b"K\x05", b"K\x00", b"K\x03", b"K\x01"),
        tensor(&huge, b"K\x00", b"K\x03", b"K\x01"),
        tensor(&long(-1), b"K\x00", b"K\x03", b"K\x01"),
        tensor(b"K\x04", b"K\x02", b"K\x03", b"K\x01"),
        tensor(b"K\x04", &huge, b"K\x03", b"K\x01"),
        tensor(b"K\x04", &most, b"K\x03", b"K\x01"),
        tensor(b"K\x04", &long(-1), b"K\x03", b"K\x01"),
        tensor(b"K\x04", b"K\x00", b"K\x03", b"K\x02"),
        tensor(b"K\x04", b"K\x00", b"K\x03", &most),
        tensor(b"K\x04", b"K\x00", b"K\x03", &long(-1)),
        tensor(b"K\x04", b"K\x00", b"K\x03K\x01", b"K\x01"),
        tensor(b"K\x04", b"K\x00", &huge, b"K\x00"),
        tensor(b"K\x04", b"K\x00", &two_huge, b"K\x00K\x00"),
        tensor(b"K\x04", b"K\x00", b"U\x01a", b"K\x01"),
    ] {
        refused_for("w", "x.pt", &saved(&pickle));
    }
}

#[test]
fn malformed_pickles_are_refused() {
    let nested = [
        &b"\x80\x02"[..],
        &b"]".repeat(1000),
        &b"a".repeat(999),
        b".",
    ]
    .concat();
    // A list in itself, by way of the memo.
    let cycle = b"\x80\x02]q\x00h\x00a.";
    // Each list holds the one before it twice: 2^60 values in a hundred bytes.
    let doubling = [&b"\x80\x02U\x01a"[..], &b"2\x86".repeat(60), b"."].concat();
    let marks = [&b"\x80\x02"[..], &b"(".repeat(2 << 20)].concat();
    let dups = [&b"\x80\x02N"[..], &b"2".repeat(2 << 20)].concat();
    let lists = [&b"\x80\x02"[..], &b"]".repeat(3 << 20)].concat();
    for pickle in [
        &b""[..],
        b".",
        b"\x80\x02",
        b"\x80\x020.",
        b"\x80\x02(0.",
        b"\x80\x02N(a.",
        b"\x80\x02Nt.",
        b"\x80\x02NNa.",
        b"\x80\x02}Na.",
        b"\x80\x02}(Nu.",
        b"\x80\x02h\x00.",
        b"\x80\x02q\x00.",
        b"\x80\x02NR.",
        b"\x80\x02N)R.",
        b"\x80\x02NNb.",
        b"\x80\x02NQ.",
        b"\x80\x02ctorch\nSize\n.",
        b"\x80\x02ctorch\nSize\n)R.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.",
        b"\x80\x02ccollections\nOrderedDict\nN\x85R.",
        b"\x80\x02ctorch\nSize\n)\x81.",
        b"\x80\x02\x8dAAAAAAA\x0f.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x02U\x02\xff\xff.",
        b"\x80\x02\x8a\xff.",
        b"\x80\x02Inan\n.",
        b"\x80\x02ctorch",
        cycle,
        &nested,
        &doubling,
        &marks,
        &dups,
        &lists,
    ] {
        refusal("x.pt", &saved(pickle));
    }
}

#[test]
fn wrappers_without_end_are_refused() {
    // A parameter of a parameter of ..., each from the one before it by way of the memo.
    let mut pickle = b"\x80\x02ctorch._utils\n_rebuild_parameter\nq\x00N".to_vec();
    for _ in 0..10_000 {
        pickle.extend(b"q\x01h\x00h\x01\x85R");
    }
    pickle.push(b'.');
    refused_for("tensor", "x.pt", &saved(&pickle));
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let one = tensor(b"K\x04", b"K\x00", b"K\x03", b"K\x01");
    let one = &one[2..one.len() - 1];
    // {"a.w": {...}, ...}: the keys "a.b" and "a" -> "b" lead to one name.
    let pickle = [
        &b"\x80\x02}(U\x03a.a"[..],
        one,
        b"U\x01a}U\x01a",
        one,
        b"su.",
    ]
    .concat();
    refused_for("a.a.w", "x.pt", &saved(&pickle));
}

#[test]
fn archives_that_lie_are_refused() {
    let good = saved(&tensor(b"K\x04", b"K\x00", b"K\x03", b"K\x01"));
    assert!(open_bytes("x.pt", &good).is_ok());
    for len in 0..good.len() {
        refusal("x.pt", &good[..len]);
    }
    let pickle: &[u8] = b"\x80\x02}.";
    for entries in [
        &[("x/data.txt", pickle)][..],
        &[("x/data.pkl", pickle), ("y/data.pkl", pickle)],
        &[("x/data.pkl", pickle), ("x/data.pkl", pickle)],
        &[("x/data.pkl", pickle), ("x/byteorder", b"big")],
        &[("xdata.pkl", pickle)],
        &[],
    ] {
        refusal("x.pt", &zip(entries));
    }
    // Compressed, by its method; then with sizes and places far outside.
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for (at, bytes) in [
        (10, &[8, 0][..]),
        (8, &[1, 0]),
        (20, &[0xfe; 4]),
        (24, &[0xfe; 4]),
        (42, &[0xfe; 4]),
        (42, &[1, 0, 0, 0]),
        (28, &[0xff; 2]),
        (30, &[0xff; 2]),
    ] {
        let mut bad = good.clone();
        bad[directory + at..][..bytes.len()].copy_from_slice(bytes);
        refusal("x.pt", &bad);
    }
}

#[test]
fn a_wide_archive_with_a_false_directory_is_refused() {
    let bytes = golden_bytes("torch/sae.pt");
    let end = bytes.windows(4).position(|w| w == b"PK\x06\x06").unwrap();
    for at in [32, 48] {
        for wrong in [1u64 << 60, u64::MAX, 1 << 20] {
            let mut bad = bytes.clone();
            bad[end + at..][..8].copy_from_slice(&wrong.to_le_bytes());
            refusal("x.pt", &bad);
        }
    }
}
