//! Tiles of 6 rows by 16 columns for AVX2, in assembly: 12 sums, 2 columns and 2 rows take all 16
//! registers, and the compiler spills some of them in the innermost loop. Four steps of depth share
//! the overhead of the loop: if two hardware threads share a core, every instruction counts.

use std::arch::x86_64::*;

use super::operands::{Tile, finish};
use crate::simd::Avx2;

/// Computes a tile of six rows whose panel `b` is f32.
///
/// # Safety
/// As for `Tiles::run`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn six_rows(tile: &Tile, b: *const f32) {
    // SAFETY: as the caller promises.
    unsafe { finish::<Avx2, 6, 2>(tile, &sum(tile, b)) }
}

/// One step of depth for six rows, `$x` bytes into each row and `$b` bytes into the panel; `{a}`
/// and `{a3}` point at row 0 and row 3.
macro_rules! step {
    ($x:literal, $b:literal, $b1:literal) => {
        concat!(
            "vmovups {b0}, ymmword ptr [{b} + ",
            $b,
            "]\n",
            "vmovups {b1}, ymmword ptr [{b} + ",
            $b1,
            "]\n",
            "vbroadcastss {x}, dword ptr [{a} + ",
            $x,
            "]\n",
            "vbroadcastss {y}, dword ptr [{a} + {s} + ",
            $x,
            "]\n",
            "vfmadd231ps {c0}, {x}, {b0}\n",
            "vfmadd231ps {d0}, {x}, {b1}\n",
            "vfmadd231ps {c1}, {y}, {b0}\n",
            "vfmadd231ps {d1}, {y}, {b1}\n",
            "vbroadcastss {x}, dword ptr [{a} + 2*{s} + ",
            $x,
            "]\n",
            "vbroadcastss {y}, dword ptr [{a3} + ",
            $x,
            "]\n",
            "vfmadd231ps {c2}, {x}, {b0}\n",
            "vfmadd231ps {d2}, {x}, {b1}\n",
            "vfmadd231ps {c3}, {y}, {b0}\n",
            "vfmadd231ps {d3}, {y}, {b1}\n",
            "vbroadcastss {x}, dword ptr [{a3} + {s} + ",
            $x,
            "]\n",
            "vbroadcastss {y}, dword ptr [{a3} + 2*{s} + ",
            $x,
            "]\n",
            "vfmadd231ps {c4}, {x}, {b0}\n",
            "vfmadd231ps {d4}, {x}, {b1}\n",
            "vfmadd231ps {c5}, {y}, {b0}\n",
            "vfmadd231ps {d5}, {y}, {b1}\n",
        )
    };
}

/// Sums `$n` steps for six rows; evaluates to the sums of each half of the columns. The rows at
/// `$a` are `$stride` bytes apart; a step takes four bytes of each row and 64 bytes of the panel at
/// `$b`.
macro_rules! six_rows_loop {
    ($step:ident, $n:expr, $a:expr, $a3:expr, $stride:expr, $b:expr, $zero:expr) => {{
        let (mut c, mut d) = ([$zero; 6], [$zero; 6]);
        std::arch::asm!(
            "test {fours}, {fours}",
            "jz 3f",
            "2:",
            $step!("0", "0", "32"),
            $step!("4", "64", "96"),
            $step!("8", "128", "160"),
            $step!("12", "192", "224"),
            "add {a}, 16",
            "add {a3}, 16",
            "add {b}, 256",
            "dec {fours}",
            "jnz 2b",
            "3:",
            "test {ones}, {ones}",
            "jz 5f",
            "4:",
            $step!("0", "0", "32"),
            "add {a}, 4",
            "add {a3}, 4",
            "add {b}, 64",
            "dec {ones}",
            "jnz 4b",
            "5:",
            fours = inout(reg) $n / 4 => _,
            ones = inout(reg) $n % 4 => _,
            a = inout(reg) $a => _,
            a3 = inout(reg) $a3 => _,
            s = in(reg) $stride,
            b = inout(reg) $b => _,
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
        (c, d)
    }};
}
pub(super) use six_rows_loop;

/// The sums of six rows with the panel `b`.
///
/// # Safety
/// As for [`six_rows`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sum(tile: &Tile, b: *const f32) -> [[__m256; 2]; 6] {
    let (a, stride) = (tile.a, tile.a_stride);
    // SAFETY: the loop reads `depth` values of each row and `depth` times 16 of the panel.
    let (c, d) = unsafe {
        let (a3, zero) = (a.add(3 * stride), _mm256_setzero_ps());
        six_rows_loop!(step, tile.depth, a, a3, 4 * stride, b, zero)
    };
    std::array::from_fn(|r| [c[r], d[r]])
}
