//! Tiles with rows and panels of bf16, for processors that multiply pairs of bf16.

use std::arch::x86_64::*;

use super::float::Tiles;
use super::operands::{Panel, Tile, WIDE, finish, finish_wide};
use crate::simd::{Avx512, dot_pairs};

const NV: usize = Avx512::NR / 16;

/// Computes a tile of `rows` rows of bf16.
///
/// # Safety
/// As for [`Tiles::run`]; the processor has AVX512_BF16, and rows of `a` are padded to an even
/// depth.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run(rows: usize, tile: &Tile) {
    macro_rules! by_rows {
        ($($mr:literal)+) => {
            match rows {
                // SAFETY: as the caller promises.
                $($mr => unsafe { finish::<Avx512, $mr, NV>(tile, &sum::<$mr>(tile)) },)+
                _ => unreachable!("tiles have 1 to {} rows", Avx512::MR),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8);
}

/// The sums of `MR` rows with the panel.
///
/// # Safety
/// As for [`run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn sum<const MR: usize>(tile: &Tile) -> [[__m512; NV]; MR] {
    let Panel::Bf16Dot(mut b) = tile.panel else {
        unreachable!("this loop is for bf16 rows");
    };
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    let a: *const u16 = tile.a.cast();
    for k in (0..tile.depth).step_by(2) {
        // SAFETY: `depth / 2`, rounded up, pairs lie in every row and column.
        unsafe {
            let mut column = [_mm512_setzero_si512(); NV];
            for (v, column) in column.iter_mut().enumerate() {
                *column = _mm512_loadu_si512(b.add(32 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let pair = a.add(r * tile.a_stride + k).cast::<i32>().read_unaligned();
                let pair = _mm512_set1_epi32(pair);
                for v in 0..NV {
                    sums[v] = dot_pairs(sums[v], pair, column[v]);
                }
            }
            b = b.add(32 * NV);
        }
    }
    sums
}

/// Computes one row of [`WIDE`] panels, `panel_stride` bf16 values apart.
///
/// # Safety
/// As for [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run_wide(tile: &Tile, panel_stride: usize) {
    let Panel::Bf16Dot(b) = tile.panel else {
        unreachable!("this loop is for bf16 rows");
    };
    let mut sums = [[_mm512_setzero_ps(); NV]; WIDE];
    let a: *const u16 = tile.a.cast();
    for k in (0..tile.depth).step_by(2) {
        // SAFETY: `depth / 2`, rounded up, pairs lie in the row and every column.
        unsafe {
            let pair = _mm512_set1_epi32(a.add(k).cast::<i32>().read_unaligned());
            for (p, sums) in sums.iter_mut().enumerate() {
                let b = b.add(p * panel_stride + k * Avx512::NR);
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = dot_pairs(*sum, pair, _mm512_loadu_si512(b.add(32 * v).cast()));
                }
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { finish_wide::<Avx512, NV>(tile, &sums) };
}

/// Rounds f32 to bf16, to nearest even. Subnormal numbers become zero; the processor would multiply
/// them as zeros anyway.
///
/// # Safety
/// The processor has AVX512_BF16, and `to` is at least as long as `from`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) unsafe fn round(from: &[f32], to: &mut [u16]) {
    let whole = from.len() - from.len() % 16;
    // SAFETY: only values that exist are read and written; the two types are the same 256 bits.
    unsafe {
        for at in (0..whole).step_by(16) {
            let x = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr().add(at)));
            let x = std::mem::transmute::<__m256bh, __m256i>(x);
            _mm256_storeu_si256(to.as_mut_ptr().add(at).cast(), x);
        }
        // Masked stores of 16-bit values are slow, so only the last values use one.
        if whole < from.len() {
            let lanes = u16::MAX >> (16 - (from.len() - whole));
            let x = _mm512_maskz_loadu_ps(lanes, from.as_ptr().add(whole));
            let x = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_mask_storeu_epi16(to.as_mut_ptr().add(whole).cast(), lanes, x);
        }
    }
}

/// Rounds two rows of equal length as [`round`] does, to pairs with one value of each row.
///
/// # Safety
/// The processor has AVX512_BF16, the rows have equal length, and `to` is at least twice as long.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) unsafe fn round_pairs(first: &[f32], second: &[f32], to: &mut [u16]) {
    for at in (0..first.len()).step_by(16) {
        let lanes = u16::MAX >> (16 - (first.len() - at).min(16));
        // SAFETY: only values that exist are read and written; the two types are the same 256 bits.
        unsafe {
            let words = |row: &[f32]| {
                let x = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, row.as_ptr().add(at)));
                _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(x))
            };
            let pairs = _mm512_or_si512(words(first), _mm512_slli_epi32(words(second), 16));
            _mm512_mask_storeu_epi32(to.as_mut_ptr().add(2 * at).cast(), lanes, pairs);
        }
    }
}
