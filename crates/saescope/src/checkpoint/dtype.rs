//! The types of numbers in files, and their conversion to f32.

use std::fmt;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::quant;

/// Type of the stored elements of a tensor, little-endian.
///
/// The `Q` types are ggml's: elements share a scale per block, so they are read in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the field's own
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Dtype {
    /// Elements per block; 1 unless quantised.
    pub fn block_len(self) -> usize {
        match self {
            Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q8_0 => 32,
            Dtype::Q4K | Dtype::Q5K | Dtype::Q6K => 256,
            _ => 1,
        }
    }

    /// Bytes per block; the size of an element unless quantised.
    pub fn block_bytes(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 | Dtype::U16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::Q4_0 => 18,
            Dtype::Q4_1 => 20,
            Dtype::Q5_0 => 22,
            Dtype::Q5_1 => 24,
            Dtype::Q8_0 => 34,
            Dtype::Q4K => 144,
            Dtype::Q5K => 176,
            Dtype::Q6K => 210,
        }
    }

    /// True if elements share scales in blocks.
    pub fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Bytes that `len` elements take, or `None` when `len` breaks a block or the count overflows.
    pub(super) fn bytes_of(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Converts whole blocks; `bytes` holds exactly the blocks of `out`.
    pub(super) fn to_f32(self, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(self.bytes_of(out.len()), Some(bytes.len()));
        match self {
            Dtype::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => each(bytes, out, f32::from_le_bytes),
            Dtype::F16 => f16_to_f32(bytes, out),
            Dtype::Bf16 => each(bytes, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            }),
            Dtype::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
            Dtype::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            Dtype::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I8 => each(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
            Dtype::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
            Dtype::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
            Dtype::U16 => each(bytes, out, |b| f32::from(u16::from_le_bytes(b))),
            Dtype::U8 => each(bytes, out, |[b]| f32::from(b)),
            Dtype::Bool => each(bytes, out, |[b]| f32::from(b != 0)),
            Dtype::Q4_0 => blocks(bytes, out, quant::q4_0),
            Dtype::Q4_1 => blocks(bytes, out, quant::q4_1),
            Dtype::Q5_0 => blocks(bytes, out, quant::q5_0),
            Dtype::Q5_1 => blocks(bytes, out, quant::q5_1),
            Dtype::Q8_0 => blocks(bytes, out, quant::q8_0),
            Dtype::Q4K => blocks(bytes, out, quant::q4_k),
            Dtype::Q5K => blocks(bytes, out, quant::q5_k),
            Dtype::Q6K => blocks(bytes, out, quant::q6_k),
        }
    }

    /// Converts whole numbers exactly; `None` for a type that is not one, or a value beyond i64.
    pub(super) fn to_i64(self, bytes: &[u8]) -> Option<Vec<i64>> {
        fn all<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> i64) -> Option<Vec<i64>> {
            Some(bytes.as_chunks().0.iter().map(|b| one(*b)).collect())
        }
        match self {
            Dtype::I64 => all(bytes, i64::from_le_bytes),
            Dtype::I32 => all(bytes, |b| i32::from_le_bytes(b).into()),
            Dtype::I16 => all(bytes, |b| i16::from_le_bytes(b).into()),
            Dtype::I8 => all(bytes, |b| i8::from_le_bytes(b).into()),
            Dtype::U64 => {
                let numbers = bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b));
                numbers.map(|n| n.try_into().ok()).collect()
            }
            Dtype::U32 => all(bytes, |b| u32::from_le_bytes(b).into()),
            Dtype::U16 => all(bytes, |b| u16::from_le_bytes(b).into()),
            Dtype::U8 => all(bytes, |[b]| b.into()),
            Dtype::Bool => all(bytes, |[b]| (b != 0).into()),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Dtype::F64 => "F64",
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::I64 => "I64",
            Dtype::I32 => "I32",
            Dtype::I16 => "I16",
            Dtype::I8 => "I8",
            Dtype::U64 => "U64",
            Dtype::U32 => "U32",
            Dtype::U16 => "U16",
            Dtype::U8 => "U8",
            Dtype::Bool => "BOOL",
            Dtype::Q4_0 => "Q4_0",
            Dtype::Q4_1 => "Q4_1",
            Dtype::Q5_0 => "Q5_0",
            Dtype::Q5_1 => "Q5_1",
            Dtype::Q8_0 => "Q8_0",
            Dtype::Q4K => "Q4_K",
            Dtype::Q5K => "Q5_K",
            Dtype::Q6K => "Q6_K",
        };
        f.pad(name)
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], one: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = one(*bytes);
    }
}

/// Converts blocks of `BYTES` bytes and `LEN` elements, one after another.
fn blocks<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(bytes, out);
    }
}

/// Converts in pieces: the machine's own conversion takes many halves at once, aligned.
fn f16_to_f32(bytes: &[u8], out: &mut [f32]) {
    const PIECE: usize = 256;
    let mut halves = [f16::ZERO; PIECE];
    for (out, bytes) in out.chunks_mut(PIECE).zip(bytes.chunks(2 * PIECE)) {
        for (half, bits) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*bits);
        }
        halves[..out.len()].convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_becomes_the_f32_of_the_same_value() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let mut out = vec![0.0; bits.len()];
        Dtype::F16.to_f32(&bytes, &mut out);
        for (&bits, &out) in bits.iter().zip(&out) {
            let expected = f16::from_bits(bits).to_f32_const();
            assert!(
                out == expected || (out.is_nan() && expected.is_nan()),
                "{bits:#06x}"
            );
        }
        Dtype::Bf16.to_f32(&bytes, &mut out);
        for (&bits, out) in bits.iter().zip(&out) {
            assert_eq!(out.to_bits() >> 16, u32::from(bits));
        }
    }

    #[test]
    fn whole_numbers_convert_exactly_to_i64_and_floats_not_at_all() {
        let big = (1i64 << 53) + 1;
        assert_eq!(Dtype::I64.to_i64(&big.to_le_bytes()), Some(vec![big]));
        assert_eq!(Dtype::I8.to_i64(&[0xff]), Some(vec![-1]));
        assert_eq!(Dtype::U64.to_i64(&u64::MAX.to_le_bytes()), None);
        assert_eq!(Dtype::F32.to_i64(&[0; 4]), None);
    }

    #[test]
    fn a_part_of_a_block_has_no_size() {
        assert_eq!(Dtype::Q4K.bytes_of(512), Some(288));
        assert_eq!(Dtype::Q4K.bytes_of(511), None);
        assert_eq!(Dtype::F64.bytes_of(usize::MAX / 2), None);
    }
}
