//! The operands of a tile, and its last step: writing the sums out.

use crate::simd::{Simd, load, store};

/// The right operand of a tile: a panel of columns.
#[derive(Clone, Copy)]
pub(crate) enum Panel {
    /// `[depth][NR]`
    F32(*const f32),
    /// `[depth / 2][NR][2]`, multiplied with f32 rows.
    Bf16(*const u16),
    /// `[depth / 2][NR][2]`, multiplied with bf16 rows, two products per lane and instruction.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86-64 only"))]
    Bf16Dot(*const u16),
}

/// One tile: `out = a * panel + bias + residual`, added to `out` if it accumulates.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// First row of the left operand: f32, or bf16 for a `Bf16Dot` panel.
    pub(crate) a: *const f32,
    /// Values from one row of `a` to the next.
    pub(crate) a_stride: usize,
    pub(crate) panel: Panel,
    pub(crate) depth: usize,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// Number of columns that exist in `out`.
    pub(crate) width: usize,
    /// True if `out` holds the sum over the depth before this part.
    pub(crate) accumulate: bool,
    /// `[width]`, or null.
    pub(crate) bias: *const f32,
    /// Strided as `out` and added last, or null.
    pub(crate) residual: *const f32,
}

/// Number of panels that a single row is multiplied with together: the sums of one panel are too
/// few to keep the multipliers busy, and one stream from memory is slower than several.
pub(crate) const WIDE: usize = 4;

/// Finishes each of [`WIDE`] panels.
///
/// # Safety
/// As for [`finish`], for [`WIDE`] panels of one row.
#[inline(always)]
pub(super) unsafe fn finish_wide<S: Simd, const NV: usize>(tile: &Tile, sums: &[[S::V; NV]; WIDE]) {
    for (p, sums) in sums.iter().enumerate() {
        let column = p * NV * S::LANES;
        let at = |p: *const f32| {
            if p.is_null() {
                p
            } else {
                p.wrapping_add(column)
            }
        };
        let panel = Tile {
            out: tile.out.wrapping_add(column),
            bias: at(tile.bias),
            residual: at(tile.residual),
            width: tile.width.saturating_sub(column),
            ..*tile
        };
        // SAFETY: of the columns from `column` on, `width` exist.
        unsafe { finish::<S, 1, NV>(&panel, &[*sums]) };
    }
}

/// Adds the sum so far, the bias and the residual, and writes the columns that exist.
///
/// # Safety
/// The pointers of the tile are valid for `MR` rows; the processor has the instruction set.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
    tile: &Tile,
    sums: &[[S::V; NV]; MR],
) {
    for v in 0..NV {
        let at = v * S::LANES;
        if at >= tile.width {
            break;
        }
        let lanes = (tile.width - at).min(S::LANES);
        // SAFETY: only the `lanes` that exist are read and written.
        unsafe {
            for (r, sums) in sums.iter().enumerate() {
                let out = tile.out.add(r * tile.out_stride + at);
                let mut value = sums[v];
                if tile.accumulate {
                    value = S::add(load::<S>(out, lanes), value);
                }
                if !tile.bias.is_null() {
                    value = S::add(value, load::<S>(tile.bias.add(at), lanes));
                }
                if !tile.residual.is_null() {
                    let residual = tile.residual.add(r * tile.out_stride + at);
                    value = S::add(value, load::<S>(residual, lanes));
                }
                store::<S>(out, value, lanes);
            }
        }
    }
}
