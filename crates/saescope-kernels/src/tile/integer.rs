//! Tiles of 16-bit integers, summed exactly in 32 bits: twice as many products per instruction as
//! with f32.
//!
//! A panel is laid out as for bf16: `[depth / 2][NR][2]`. Rows are padded to an even depth.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::avx2::six_rows_loop;
use super::float::Tiles;
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};

/// The operands of an integer tile.
#[derive(Clone, Copy)]
pub(crate) struct IntegerTile {
    /// First row of the left operand.
    pub(crate) a: *const i16,
    /// Values from one row of `a` to the next.
    pub(crate) a_stride: usize,
    pub(crate) panel: *const i16,
    /// Number of pairs of values of a row.
    pub(crate) pairs: usize,
    /// `[rows][NR]`, the sums as f32.
    pub(crate) out: *mut f32,
}

/// Tiles of integers on an instruction set.
///
/// # Safety
/// As for [`Tiles`]. Partial sums stay within 32 bits.
pub(crate) trait IntegerTiles: Tiles {
    /// Computes a tile of `rows <= MR` rows.
    unsafe fn sums(rows: usize, tile: &IntegerTile);
}

/// Tiles for any processor; the compiler vectorises the loop if it can.
///
/// # Safety
/// As for [`IntegerTiles::sums`].
#[inline(always)]
unsafe fn plain<S: Tiles, const NR: usize>(rows: usize, tile: &IntegerTile) {
    for row in 0..rows {
        // SAFETY: the row and the panel hold `pairs` pairs, and `out` the row's sums.
        unsafe {
            let a = tile.a.add(row * tile.a_stride);
            let mut sums = [0_i32; NR];
            for pair in 0..tile.pairs {
                let x = (i32::from(*a.add(2 * pair)), i32::from(*a.add(2 * pair + 1)));
                let b = &*tile.panel.add(2 * pair * NR).cast::<[[i16; 2]; NR]>();
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += x.0 * i32::from(b[0]) + x.1 * i32::from(b[1]);
                }
            }
            for (column, sum) in sums.into_iter().enumerate() {
                *tile.out.add(row * NR + column) = sum as f32;
            }
        }
    }
}

impl IntegerTiles for Portable {
    #[inline(always)]
    unsafe fn sums(rows: usize, tile: &IntegerTile) {
        // SAFETY: as the caller promises.
        unsafe { plain::<Portable, { Portable::NR }>(rows, tile) }
    }
}

#[cfg(target_arch = "aarch64")]
impl IntegerTiles for crate::simd::Neon {
    #[inline(always)]
    unsafe fn sums(rows: usize, tile: &IntegerTile) {
        use crate::simd::Neon;
        // SAFETY: as the caller promises.
        unsafe { plain::<Neon, { Neon::NR }>(rows, tile) }
    }
}

#[cfg(target_arch = "x86_64")]
impl IntegerTiles for Avx2 {
    #[inline(always)]
    unsafe fn sums(rows: usize, tile: &IntegerTile) {
        // SAFETY: as the caller promises.
        unsafe {
            match rows {
                6 => six_integer_rows(tile),
                _ => (0..rows).for_each(|row| {
                    let (a, out) = (
                        tile.a.add(row * tile.a_stride),
                        tile.out.add(row * Avx2::NR),
                    );
                    one_row_avx2(&IntegerTile { a, out, ..*tile });
                }),
            }
        }
    }
}

/// One step over a pair of integers for six rows, `$x` bytes into each row and `$b` bytes into the
/// panel.
#[cfg(target_arch = "x86_64")]
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

/// The products of one row with a pair of each column.
#[cfg(target_arch = "x86_64")]
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
/// As for [`IntegerTiles::sums`].
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn six_integer_rows(tile: &IntegerTile) {
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

/// Computes a tile of one row.
///
/// # Safety
/// As for [`IntegerTiles::sums`], for one row.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn one_row_avx2(tile: &IntegerTile) {
    // SAFETY: the row and the panel hold `pairs` pairs, and `out` 16 sums.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); 2];
        for pair in 0..tile.pairs {
            let x = _mm256_set1_epi32(tile.a.add(2 * pair).cast::<i32>().read_unaligned());
            for (v, sum) in sums.iter_mut().enumerate() {
                let b = tile.panel.add(32 * pair + 16 * v).cast();
                let products = _mm256_madd_epi16(x, _mm256_loadu_si256(b));
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(tile.out.add(8 * v), _mm256_cvtepi32_ps(sum));
        }
    }
}

#[cfg(target_arch = "x86_64")]
const NV: usize = Avx512::NR / 16;

/// Computes a tile by the function for its number of rows.
#[cfg(target_arch = "x86_64")]
macro_rules! avx512_rows {
    ($rows:expr, $tile:expr, $vnni:literal, $($mr:literal)+) => {
        match $rows {
            $($mr => rows_avx512::<$mr, $vnni>($tile),)+
            _ => unreachable!("tiles have 1 to {} rows", Avx512::MR),
        }
    };
}

#[cfg(target_arch = "x86_64")]
impl IntegerTiles for Avx512 {
    #[inline(always)]
    unsafe fn sums(rows: usize, tile: &IntegerTile) {
        // SAFETY: as the caller promises.
        unsafe { avx512_rows!(rows, tile, false, 1 2 3 4 5 6 7 8) }
    }
}

/// [`IntegerTiles::sums`] by instructions that multiply and add pairs at once.
///
/// # Safety
/// As for [`IntegerTiles::sums`], and the processor has AVX512_VNNI.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn sums_vnni(rows: usize, tile: &IntegerTile) {
    // SAFETY: as the caller promises.
    unsafe { avx512_rows!(rows, tile, true, 1 2 3 4 5 6 7 8) }
}

/// Computes a tile of `MR` rows.
///
/// # Safety
/// As for [`IntegerTiles::sums`], and the processor has AVX512_VNNI if `VNNI`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn rows_avx512<const MR: usize, const VNNI: bool>(tile: &IntegerTile) {
    // SAFETY: rows and panel hold `pairs` pairs, and `out` the sums of `MR` rows.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); NV]; MR];
        for pair in 0..tile.pairs {
            let mut b = [_mm512_setzero_si512(); NV];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_si512(tile.panel.add(2 * pair * Avx512::NR + 32 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = tile.a.add(r * tile.a_stride + 2 * pair).cast::<i32>();
                let x = _mm512_set1_epi32(x.read_unaligned());
                for v in 0..NV {
                    sums[v] = if VNNI {
                        _mm512_dpwssd_epi32(sums[v], x, b[v])
                    } else {
                        _mm512_add_epi32(sums[v], _mm512_madd_epi16(x, b[v]))
                    };
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let out = tile.out.add(r * Avx512::NR + 16 * v);
                _mm512_storeu_ps(out, _mm512_cvtepi32_ps(sum));
            }
        }
    }
}
