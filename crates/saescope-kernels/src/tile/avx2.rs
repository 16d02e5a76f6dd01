//! The whole tile of AVX2, 6 rows by 16 columns, written out: its 12 sums, 2 columns and 2 rows take
//! all 16 registers, and the compiler, left to itself, spills some of them in the innermost loop.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Panel, Tile, finish};
use crate::simd::Avx2;

/// Computes a tile of six rows.
///
/// # Safety
/// As for [`Tiles::run`](super::Tiles::run).
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn six_rows(tile: &Tile) {
    // SAFETY: as the caller promises.
    unsafe {
        let sums = match tile.panel {
            Panel::F32(b) => sum_f32(tile, b),
            Panel::Bf16(b) => sum_bf16(tile, b),
            Panel::Bf16Dot(_) => unreachable!("bf16 rows are multiplied by `dot::run`"),
        };
        finish::<Avx2, 6, 2>(tile, &sums);
    }
}

/// One step of depth for six rows: `{a}` and `{a3}` point at the value of row 0 and of row 3.
macro_rules! six_products {
    () => {
        "vbroadcastss {x}, dword ptr [{a}]
        vbroadcastss {y}, dword ptr [{a} + {s}]
        vfmadd231ps {c0}, {x}, {b0}
        vfmadd231ps {d0}, {x}, {b1}
        vfmadd231ps {c1}, {y}, {b0}
        vfmadd231ps {d1}, {y}, {b1}
        vbroadcastss {x}, dword ptr [{a} + 2*{s}]
        vbroadcastss {y}, dword ptr [{a3}]
        vfmadd231ps {c2}, {x}, {b0}
        vfmadd231ps {d2}, {x}, {b1}
        vfmadd231ps {c3}, {y}, {b0}
        vfmadd231ps {d3}, {y}, {b1}
        vbroadcastss {x}, dword ptr [{a3} + {s}]
        vbroadcastss {y}, dword ptr [{a3} + 2*{s}]
        vfmadd231ps {c4}, {x}, {b0}
        vfmadd231ps {d4}, {x}, {b1}
        vfmadd231ps {c5}, {y}, {b0}
        vfmadd231ps {d5}, {y}, {b1}
        add {a}, 4
        add {a3}, 4"
    };
}

/// Runs a loop `$steps` times over the operands that `six_products!` names.
macro_rules! six_rows_loop {
    ($tile:ident, $b:ident, $steps:expr, $($line:expr),+) => {{
        let zero = _mm256_setzero_ps();
        let (mut c, mut d) = ([zero; 6], [zero; 6]);
        asm!(
            "test {n}, {n}",
            "jz 3f",
            "2:",
            $($line,)+
            "dec {n}",
            "jnz 2b",
            "3:",
            n = inout(reg) $steps => _,
            a = inout(reg) $tile.a => _,
            a3 = inout(reg) $tile.a.add(3 * $tile.a_stride) => _,
            s = in(reg) 4 * $tile.a_stride,
            b = inout(reg) $b => $b,
            b0 = out(ymm_reg) _,
            b1 = out(ymm_reg) _,
            x = out(ymm_reg) _,
            y = out(ymm_reg) _,
            c0 = inout(ymm_reg) c[0],
            c1 = inout(ymm_reg) c[1],
            c2 = inout(ymm_reg) c[2],
            c3 = inout(ymm_reg) c[3],
            c4 = inout(ymm_reg) c[4],
            c5 = inout(ymm_reg) c[5],
            d0 = inout(ymm_reg) d[0],
            d1 = inout(ymm_reg) d[1],
            d2 = inout(ymm_reg) d[2],
            d3 = inout(ymm_reg) d[3],
            d4 = inout(ymm_reg) d[4],
            d5 = inout(ymm_reg) d[5],
            options(readonly, nostack),
        );
        let sums: [[__m256; 2]; 6] = std::array::from_fn(|r| [c[r], d[r]]);
        sums
    }};
}

/// # Safety
/// As for [`six_rows`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sum_f32(tile: &Tile, b: *const f32) -> [[__m256; 2]; 6] {
    let mut b = b;
    // SAFETY: the loop reads `depth` values of each row and `depth` times 16 of the panel.
    let sums = unsafe {
        six_rows_loop!(
            tile,
            b,
            tile.depth,
            "vmovups {b0}, ymmword ptr [{b}]",
            "vmovups {b1}, ymmword ptr [{b} + 32]",
            six_products!(),
            "add {b}, 64"
        )
    };
    let _ = b;
    sums
}

/// # Safety
/// As for [`six_rows`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sum_bf16(tile: &Tile, b: *const u16) -> [[__m256; 2]; 6] {
    let mut b = b;
    // SAFETY: the loop reads `depth / 2` pairs of each row and as many times 16 of the panel; the
    // step after it reads the last value of each row when the depth is odd.
    unsafe {
        let mut sums = six_rows_loop!(
            tile,
            b,
            tile.depth / 2,
            "vmovdqu {b0}, ymmword ptr [{b}]",
            "vmovdqu {b1}, ymmword ptr [{b} + 32]",
            "vpslld {b0}, {b0}, 16",
            "vpslld {b1}, {b1}, 16",
            six_products!(),
            "vpxor {x}, {x}, {x}",
            "vpblendw {b0}, {x}, ymmword ptr [{b}], 0xaa",
            "vpblendw {b1}, {x}, ymmword ptr [{b} + 32], 0xaa",
            six_products!(),
            "add {b}, 64"
        );
        if tile.depth % 2 == 1 {
            use crate::simd::Simd;
            let column = [Avx2::load_bf16_first(b), Avx2::load_bf16_first(b.add(16))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = Avx2::splat(*tile.a.add(r * tile.a_stride + tile.depth - 1));
                for (sum, column) in sums.iter_mut().zip(column) {
                    *sum = Avx2::fma(x, column, *sum);
                }
            }
        }
        sums
    }
}
