//! The whole tiles of AVX2, 6 rows by 16 columns, written out: its 12 sums, 2 columns and 2 rows take
//! all 16 registers, and the compiler, left to itself, spills some of them in the innermost loop.
//! Four steps of depth share one loop overhead: where two hardware threads share a core, every
//! instruction counts.

use std::arch::asm;
use std::arch::x86_64::*;

use super::integer::IntegerTile;
use super::{Tile, finish};
use crate::simd::Avx2;

/// Computes a tile of six rows whose panel `b` is f32.
///
/// # Safety
/// As for [`Tiles::run`](super::Tiles::run).
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn six_rows(tile: &Tile, b: *const f32) {
    // SAFETY: as the caller promises.
    unsafe { finish::<Avx2, 6, 2>(tile, &sum(tile, b)) }
}

/// One step of depth for six rows, `$x` bytes into each row and `$b` bytes into the panel: `{a}`
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

/// Runs `$step` `$n` times from zero and gives the six sums of each half of the columns. The rows at
/// `$a` are `$stride` bytes apart, and a step takes four bytes of each and 64 of the panel at `$b`.
macro_rules! six_rows_loop {
    ($step:ident, $n:expr, $a:expr, $a3:expr, $stride:expr, $b:expr, $zero:expr) => {{
        let (mut c, mut d) = ([$zero; 6], [$zero; 6]);
        asm!(
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

/// One step over a pair of integers for six rows, `$x` bytes into each row and `$b` bytes into the
/// panel.
macro_rules! integer_step {
    ($x:literal, $b:literal, $b1:literal) => {
        concat!(
            "vmovdqu {b0}, ymmword ptr [{b} + ",
            $b,
            "]\n",
            "vmovdqu {b1}, ymmword ptr [{b} + ",
            $b1,
            "]\n",
            integer_row!("{a}", $x, "c0", "d0"),
            integer_row!("{a} + {s}", $x, "c1", "d1"),
            integer_row!("{a} + 2*{s}", $x, "c2", "d2"),
            integer_row!("{a3}", $x, "c3", "d3"),
            integer_row!("{a3} + {s}", $x, "c4", "d4"),
            integer_row!("{a3} + 2*{s}", $x, "c5", "d5"),
        )
    };
}

macro_rules! integer_row {
    ($row:literal, $x:literal, $c:literal, $d:literal) => {
        concat!(
            "vpbroadcastd {x}, dword ptr [",
            $row,
            " + ",
            $x,
            "]\n",
            "vpmaddwd {y}, {x}, {b0}\n",
            "vpmaddwd {x}, {x}, {b1}\n",
            "vpaddd {",
            $c,
            "}, {",
            $c,
            "}, {y}\n",
            "vpaddd {",
            $d,
            "}, {",
            $d,
            "}, {x}\n",
        )
    };
}

/// Computes a tile of six rows of 16-bit integers.
///
/// # Safety
/// As for [`IntegerTiles::sums`](super::integer::IntegerTiles::sums).
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn six_integer_rows(tile: &IntegerTile) {
    let (a, stride) = (tile.a, tile.a_stride);
    // SAFETY: the loop reads `pairs` pairs of each row and of each of 16 columns; `out` has room
    // for six rows of sums.
    unsafe {
        let (a3, zero) = (a.add(3 * stride), _mm256_setzero_si256());
        let (c, d) = six_rows_loop!(
            integer_step,
            tile.pairs,
            a,
            a3,
            2 * stride,
            tile.panel,
            zero
        );
        for (row, (c, d)) in c.into_iter().zip(d).enumerate() {
            let out = tile.out.add(16 * row);
            _mm256_storeu_ps(out, _mm256_cvtepi32_ps(c));
            _mm256_storeu_ps(out.add(8), _mm256_cvtepi32_ps(d));
        }
    }
}
