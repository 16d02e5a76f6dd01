use super::hostile::zip;
use super::*;
use crate::checkpoint::Dtype;

/// An array as numpy writes it, with this header.
fn array(header: &str, data: &[u8]) -> Vec<u8> {
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

fn npz(header: &str, data: &[u8]) -> Vec<u8> {
    zip(&[("w.npy", &array(header, data))])
}

const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";

fn six() -> Vec<u8> {
    (1..7).flat_map(|n| (n as f32).to_le_bytes()).collect()
}

#[test]
fn arrays_of_both_orders_are_read() {
    let found = open_bytes("x.npz", &npz(HEADER, &six())).unwrap();
    assert!(found.is_npz());
    let w = found.tensor("w").unwrap();
    assert_eq!((w.dtype(), w.shape()), (Dtype::F32, &[2, 3][..]));
    assert_eq!(values(&found, "w"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let found = open_bytes("x.npz", &npz(&HEADER.replace("False", "True"), &six())).unwrap();
    assert_eq!(values(&found, "w"), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    let one = HEADER.replace("(2, 3)", "(6,)");
    assert_eq!(
        values(&open_bytes("x.npz", &npz(&one, &six())).unwrap(), "w").len(),
        6
    );
    let scalar = HEADER.replace("(2, 3)", "()");
    let found = open_bytes("x.npz", &npz(&scalar, &six()[..4])).unwrap();
    assert_eq!(values(&found, "w"), [1.0]);
}

#[test]
fn arrays_that_are_not_what_they_say_are_refused_by_name() {
    let headers = [
        HEADER.replace("<f4", "|O"),
        HEADER.replace("<f4", "<c8"),
        HEADER.replace("<f4", "|V2"),
        HEADER.replace("<f4", "<U5"),
        HEADER.replace("'<f4'", "[('a', '<f4')]"),
        HEADER.replace("(2, 3)", "(2, 4)"),
        HEADER.replace("(2, 3)", "(-2, 3)"),
        HEADER.replace("(2, 3)", "(18446744073709551615, 3)"),
        HEADER.replace("(2, 3)", "(4611686018427387904, 4)"),
        HEADER.replace("(2, 3)", "2, 3"),
        HEADER.replace("False", "None"),
        HEADER.replace("descr", "desc"),
        String::new(),
    ];
    for header in headers {
        refused_for("w", "x.npz", &npz(&header, &six()));
    }
    for damage in [
        &b"\x93NUMPX\x01\x00"[..],
        b"\x93NUMPY\x09\x00\x10\x00",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"",
    ] {
        refused_for("w", "x.npz", &zip(&[("w.npy", damage)]));
    }
}

#[test]
fn one_array_is_a_tensor_of_either_byte_order() {
    let one = HEADER.replace("(2, 3)", "(6,)");
    let found = open_bytes("v.npy", &array(&one, &six())).unwrap();
    assert_eq!(values(&found, "tensor"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let big = |width: usize| -> Vec<u8> {
        let numbers = (1..7).map(|n| n as f32);
        match width {
            2 => numbers
                .flat_map(|x| half::f16::from_f32(x).to_be_bytes())
                .collect(),
            4 => numbers.flat_map(f32::to_be_bytes).collect(),
            _ => numbers.flat_map(|x| f64::from(x).to_be_bytes()).collect(),
        }
    };
    for width in [2, 4, 8] {
        let header = HEADER.replace("<f4", &format!(">f{width}"));
        let found = open_bytes("v.npy", &array(&header, &big(width))).unwrap();
        assert_eq!(values(&found, "tensor"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let turned = header.replace("False", "True");
        let found = open_bytes("x.npz", &npz(&turned, &big(width))).unwrap();
        assert_eq!(values(&found, "w"), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
    // One array of several may be big-endian.
    let arrays = [
        ("a.npy", array(HEADER, &six())),
        ("b.npy", array(&HEADER.replace('<', ">"), &big(4))),
    ];
    let arrays: Vec<(&str, &[u8])> = arrays.iter().map(|(n, a)| (*n, a.as_slice())).collect();
    let found = open_bytes("x.npz", &zip(&arrays)).unwrap();
    assert_eq!(values(&found, "a"), values(&found, "b"));
}

#[test]
fn arrays_of_objects_say_how_to_save_numbers() {
    let error = refusal("v.npy", &array(&HEADER.replace("<f4", "|O"), b"\x80\x04N."));
    let text = error.to_string();
    assert!(
        text.contains("Python objects") && text.contains("float32"),
        "{text}"
    );
}

/// An archive of deflated entries with their names, each said to have a length and a checksum, as Python's
/// `zipfile` writes it.
fn deflated(entries: &[(&str, &[u8])], length: impl Fn(u32) -> u32) -> Vec<u8> {
    use std::io::Write as _;
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        encoder.write_all(data).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let header = bytes.len() as u32;
        let name_len = name.len() as u32;
        bytes.extend(b"PK\x03\x04");
        bytes.extend([0; 22]);
        bytes.extend(name_len.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(&packed);
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 6]);
        directory.extend([8, 0, 0, 0, 0, 0]);
        directory.extend(crc.sum().to_le_bytes());
        directory.extend((packed.len() as u32).to_le_bytes());
        directory.extend(length(data.len() as u32).to_le_bytes());
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

#[test]
fn compressed_archives_of_numpy_are_read() {
    assert_same(
        &open("vectors/torch/compressed.npz"),
        &open("vectors/torch/only.npz"),
    );
    let big = array(&HEADER.replace('<', ">"), &{
        let numbers = (1..7).flat_map(|n| (n as f32).to_be_bytes());
        numbers.collect::<Vec<u8>>()
    });
    let one = array(HEADER, &six());
    let both = deflated(&[("b.npy", &big), ("a.npy", &one)], |len| len);
    let found = open_bytes("x.npz", &both).unwrap();
    assert_eq!(values(&found, "a"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&found, "a"), values(&found, "b"));
}

#[test]
fn an_archive_that_grows_beyond_every_weight_is_refused_before_it_does() {
    let zeros = HEADER.replace("(2, 3)", "(8000000,)");
    let zeros = array(&zeros, &vec![0; 32_000_000]);
    for length in [|len: u32| len, |_: u32| 100] {
        let bomb = deflated(&[("w.npy", &zeros)], length);
        assert!(bomb.len() < 1 << 16);
        refused_for("w", "x.npz", &bomb);
    }
    // The bound is on all entries together.
    let small = HEADER.replace("(2, 3)", "(2000000,)");
    let small = array(&small, &vec![0; 8_000_000]);
    let several = deflated(
        &[("a.npy", &small), ("b.npy", &small), ("c.npy", &small)],
        |len| len,
    );
    refused_for("c", "x.npz", &several);
}

#[test]
fn damaged_compressed_archives_are_refused_by_name() {
    let one = array(HEADER, &six());
    let good = deflated(&[("w.npy", &one)], |len| len);
    let more = deflated(&[("w.npy", &one)], |len| len + 1);
    let less = deflated(&[("w.npy", &one)], |len| len - 1);
    let mut method = good.clone();
    let at = good.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    method[at + 10] = 12;
    let mut encrypted = good.clone();
    encrypted[at + 8] = 1;
    let mut checksum = good.clone();
    checksum[at + 16] ^= 1;
    let mut data = good;
    data[40] ^= 0xff;
    for bytes in [more, less, method, encrypted, checksum, data] {
        refused_for("w", "x.npz", &bytes);
    }
}
