//! Tiles with f32 rows, for panels of f32 or bf16.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::operands::{Panel, Tile, WIDE, finish, finish_wide};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// The shape of register tiles on an instruction set.
///
/// # Safety
/// As for [`Simd`]; the pointers of the tile are valid for `rows` rows.
pub(crate) trait Tiles: Simd {
    /// Most rows of a tile.
    const MR: usize;
    /// Columns of a panel.
    const NR: usize;
    /// Computes a tile of `rows <= MR` rows.
    unsafe fn run(rows: usize, tile: &Tile);
    /// Computes one row of [`WIDE`] panels, `panel_stride` f32 or bf16 values apart.
    unsafe fn run_wide(tile: &Tile, panel_stride: usize);
}

/// Implements [`Tiles`]: numbers of rows, vectors of a panel, and a function for the largest f32
/// tile.
macro_rules! tiles {
    ($isa:ty, rows $($mr:literal)+, vectors $nv:literal $(, $most:literal rows by $whole:path)?) => {
        impl Tiles for $isa {
            const MR: usize = tiles!(@last $($mr)+ $($most)?);
            const NR: usize = $nv * <$isa as Simd>::LANES;
            #[inline(always)]
            unsafe fn run(rows: usize, tile: &Tile) {
                // SAFETY: as the caller promises.
                unsafe {
                    match (rows, tile.panel) {
                        $(($most, Panel::F32(b)) => $whole(tile, b),)?
                        $(($mr, _) => run::<$isa, $mr, $nv>(tile),)+
                        $(($most, _) => run::<$isa, $most, $nv>(tile),)?
                        _ => unreachable!("tiles have 1 to {} rows", Self::MR),
                    }
                }
            }
            #[inline(always)]
            unsafe fn run_wide(tile: &Tile, panel_stride: usize) {
                // SAFETY: as the caller promises.
                unsafe { run_wide::<$isa, $nv>(tile, panel_stride) }
            }
        }
    };
    (@last $last:literal) => { $last };
    (@last $first:literal $($rest:literal)+) => { tiles!(@last $($rest)+) };
}
tiles!(Portable, rows 1 2 3 4, vectors 1);
#[cfg(target_arch = "x86_64")]
tiles!(Avx2, rows 1 2 3 4 5, vectors 2, 6 rows by avx2::six_rows);
#[cfg(target_arch = "x86_64")]
tiles!(Avx512, rows 1 2 3 4 5 6 7 8, vectors 3);
#[cfg(target_arch = "aarch64")]
tiles!(crate::simd::Neon, rows 1 2 3 4 5 6, vectors 4);

/// Computes a tile of `MR` rows.
///
/// # Safety
/// As for [`Tiles::run`].
#[inline(always)]
unsafe fn run<S: Simd, const MR: usize, const NV: usize>(tile: &Tile) {
    // SAFETY: as the caller promises.
    unsafe {
        match tile.panel {
            Panel::F32(b) => run_f32::<S, MR, NV>(tile, b),
            Panel::Bf16(b) => finish::<S, MR, NV>(tile, &sum_bf16::<S, MR, NV>(tile, b)),
            // Only `Isa::Avx512Bf16` makes this variant, and it runs a loop of its own.
            Panel::Bf16Dot(_) => unreachable!("bf16 rows are multiplied by `dot::run`"),
        }
    }
}

/// Computes only vectors of columns that exist: heads are seldom a whole number of panels wide.
///
/// # Safety
/// As for [`Tiles::run`].
#[inline(always)]
unsafe fn run_f32<S: Simd, const MR: usize, const NV: usize>(tile: &Tile, b: *const f32) {
    // SAFETY: as the caller promises.
    unsafe {
        match tile.width.div_ceil(S::LANES) {
            1 if NV > 1 => finish::<S, MR, 1>(tile, &sum_f32::<S, MR, NV, 1>(tile, b)),
            2 if NV > 2 => finish::<S, MR, 2>(tile, &sum_f32::<S, MR, NV, 2>(tile, b)),
            _ => finish::<S, MR, NV>(tile, &sum_f32::<S, MR, NV, NV>(tile, b)),
        }
    }
}

/// The sums of the first `USED` of `NV` vectors of columns.
///
/// # Safety
/// As for [`Tiles::run`].
#[inline(always)]
unsafe fn sum_f32<S: Simd, const MR: usize, const NV: usize, const USED: usize>(
    tile: &Tile,
    b: *const f32,
) -> [[S::V; USED]; MR] {
    // SAFETY: the panel holds `depth` times `NV` vectors, and each row of `a` `depth` values.
    unsafe {
        let mut sums = [[S::splat(0.0); USED]; MR];
        let mut b = b;
        for k in 0..tile.depth {
            let mut column = [S::splat(0.0); USED];
            for (v, column) in column.iter_mut().enumerate() {
                *column = S::load(b.add(v * S::LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*tile.a.add(r * tile.a_stride + k));
                for v in 0..USED {
                    sums[v] = S::fma(x, column[v], sums[v]);
                }
            }
            b = b.add(NV * S::LANES);
        }
        sums
    }
}

/// The sums of f32 rows with a panel of bf16.
///
/// # Safety
/// As for [`Tiles::run`].
#[inline(always)]
unsafe fn sum_bf16<S: Simd, const MR: usize, const NV: usize>(
    tile: &Tile,
    b: *const u16,
) -> [[S::V; NV]; MR] {
    // SAFETY: the panel holds `depth / 2`, rounded up, times `2 NV` vectors of bf16.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; MR];
        let mut b = b;
        // The two values of a pair one after the other: both at once would not fit the registers
        // beside the sums.
        for k in 0..tile.depth {
            let second = k % 2 == 1;
            let mut column = [S::splat(0.0); NV];
            for (v, column) in column.iter_mut().enumerate() {
                let pairs = b.add(2 * v * S::LANES);
                *column = if second {
                    S::load_bf16_second(pairs)
                } else {
                    S::load_bf16_first(pairs)
                };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*tile.a.add(r * tile.a_stride + k));
                for v in 0..NV {
                    sums[v] = S::fma(x, column[v], sums[v]);
                }
            }
            if second {
                b = b.add(2 * NV * S::LANES);
            }
        }
        sums
    }
}

/// Computes one row of [`WIDE`] panels.
///
/// # Safety
/// As for [`Tiles::run_wide`].
#[inline(always)]
unsafe fn run_wide<S: Simd, const NV: usize>(tile: &Tile, panel_stride: usize) {
    // SAFETY: each panel is as long as `run` requires, and panels are `panel_stride` apart.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; WIDE];
        match tile.panel {
            Panel::F32(b) => {
                for k in 0..tile.depth {
                    let x = S::splat(*tile.a.add(k));
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let b = b.add(p * panel_stride + k * NV * S::LANES);
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = S::fma(x, S::load(b.add(v * S::LANES)), *sum);
                        }
                    }
                }
            }
            Panel::Bf16(b) => {
                for k in 0..tile.depth.div_ceil(2) {
                    let first = S::splat(*tile.a.add(2 * k));
                    let second = 2 * k + 1 < tile.depth;
                    let x = if second { *tile.a.add(2 * k + 1) } else { 0.0 };
                    let x = S::splat(x);
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let b = b.add(p * panel_stride + 2 * k * NV * S::LANES);
                        for (v, sum) in sums.iter_mut().enumerate() {
                            let pairs = b.add(2 * v * S::LANES);
                            *sum = S::fma(first, S::load_bf16_first(pairs), *sum);
                            if second {
                                *sum = S::fma(x, S::load_bf16_second(pairs), *sum);
                            }
                        }
                    }
                }
            }
            Panel::Bf16Dot(_) => unreachable!("bf16 rows are multiplied by `dot::run`"),
        }
        finish_wide::<S, NV>(tile, &sums);
    }
}
