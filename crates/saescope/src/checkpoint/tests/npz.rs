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
