//! ggml's quantised blocks as f32: one function for each layout of a block.
//!
//! Operations stand in the order of ggml's own `dequantize_row_*`, so that results are equal bit for
//! bit. Which type a tensor has is `dtype`'s to know.

use half::f16;

fn scale<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `N` bytes of a block from `at`, as an array whose length the compiler knows.
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    match block[at..].first_chunk() {
        Some(part) => part,
        None => unreachable!("blocks have a fixed layout"),
    }
}

/// f16 scale, 16 bytes of nibbles: the low ones are elements 0 to 15, the high ones 16 to 31.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let nibbles: &[u8; 16] = part(block, 2);
    for (i, q) in nibbles.iter().enumerate() {
        out[i] = f32::from((q & 15) as i8 - 8) * d;
        out[i + 16] = f32::from((q >> 4) as i8 - 8) * d;
    }
}

/// f16 scale, f16 minimum, nibbles as in [`q4_0`].
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, min) = (scale(block, 0), scale(block, 2));
    let nibbles: &[u8; 16] = part(block, 4);
    for (i, q) in nibbles.iter().enumerate() {
        out[i] = f32::from(q & 15) * d + min;
        out[i + 16] = f32::from(q >> 4) * d + min;
    }
}

/// The 32 fifth bits of a block, each worth 16.
fn fifth_bits(bits: &[u8; 4]) -> [u8; 32] {
    let bits = u32::from_le_bytes(*bits);
    std::array::from_fn(|i| ((bits >> i & 1) << 4) as u8)
}

/// f16 scale, 32 fifth bits, nibbles as in [`q4_0`].
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let high = fifth_bits(part(block, 2));
    let nibbles: &[u8; 16] = part(block, 6);
    for (i, q) in nibbles.iter().enumerate() {
        out[i] = f32::from((q & 15 | high[i]) as i8 - 16) * d;
        out[i + 16] = f32::from((q >> 4 | high[i + 16]) as i8 - 16) * d;
    }
}

/// f16 scale, f16 minimum, 32 fifth bits, nibbles as in [`q4_0`].
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, min) = (scale(block, 0), scale(block, 2));
    let high = fifth_bits(part(block, 4));
    let nibbles: &[u8; 16] = part(block, 8);
    for (i, q) in nibbles.iter().enumerate() {
        out[i] = f32::from(q & 15 | high[i]) * d + min;
        out[i + 16] = f32::from(q >> 4 | high[i + 16]) * d + min;
    }
}

/// f16 scale, 32 signed bytes.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let bytes: &[u8; 32] = part(block, 2);
    for (out, &q) in out.iter_mut().zip(bytes) {
        *out = f32::from(q as i8) * d;
    }
}

/// Eight 6-bit scales and eight 6-bit minimums out of 12 bytes: the low 6 bits of bytes 0 to 7 are
/// the first four of each; the other four have 4 bits in bytes 8 to 11 and 2 on top of bytes 0 to 7.
fn scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        mins[i] = packed[i + 4] & 63;
        scales[i + 4] = packed[i + 8] & 15 | packed[i] >> 6 << 4;
        mins[i + 4] = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
    }
    (scales, mins)
}

/// f16 scale of scales, f16 scale of minimums, 12 bytes of both, 128 of nibbles: each 32 bytes hold
/// a sub-block of 32 in their low nibbles and the next in their high ones.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    let (scales, mins) = scales_and_mins(part(block, 4));
    for (i, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let nibbles: &[u8; 32] = part(block, 16 + 32 * i);
        let scale = [0, 1].map(|half| d * f32::from(scales[2 * i + half]));
        let min = [0, 1].map(|half| d_min * f32::from(mins[2 * i + half]));
        for (j, q) in nibbles.iter().enumerate() {
            out[j] = scale[0] * f32::from(q & 15) - min[0];
            out[j + 32] = scale[1] * f32::from(q >> 4) - min[1];
        }
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the nibbles: bit `k` belongs to sub-block `k`.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    let (scales, mins) = scales_and_mins(part(block, 4));
    let high: &[u8; 32] = part(block, 16);
    for (i, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let nibbles: &[u8; 32] = part(block, 48 + 32 * i);
        let scale = [0, 1].map(|half| d * f32::from(scales[2 * i + half]));
        let min = [0, 1].map(|half| d_min * f32::from(mins[2 * i + half]));
        for (j, q) in nibbles.iter().enumerate() {
            let high = high[j] >> (2 * i);
            out[j] = scale[0] * f32::from(q & 15 | (high & 1) << 4) - min[0];
            out[j + 32] = scale[1] * f32::from(q >> 4 | (high >> 1 & 1) << 4) - min[1];
        }
    }
}

/// 128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales, f16 scale of scales. Each half
/// of the block takes 64 bytes, 32 bytes and 8 scales, one scale for 16 elements.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = scale(block, 208);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let low: &[u8; 64] = part(block, 64 * half);
        let high: &[u8; 32] = part(block, 128 + 32 * half);
        let scales: &[u8; 8] = part(block, 192 + 8 * half);
        let scales = scales.map(|s| d * f32::from(s as i8));
        for (quarter, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low: &[u8; 32] = part(low, 32 * (quarter % 2));
            let nibble = 4 * (quarter / 2);
            for j in 0..32 {
                let q = low[j] >> nibble & 15 | (high[j] >> (2 * quarter) & 3) << 4;
                out[j] = scales[2 * quarter + j / 16] * f32::from(q as i8 - 32);
            }
        }
    }
}
