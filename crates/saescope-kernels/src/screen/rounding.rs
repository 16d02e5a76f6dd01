//! Rows rounded to integers, with bounds of the rounding error.

use crate::isa::Isa;
use crate::simd::{Simd, kernel, load};

/// Bounds of a rounded row.
#[derive(Clone, Copy, Default)]
pub(super) struct RowBounds {
    /// The value of an integer; 0 for a row that was not rounded.
    pub(super) unit: f32,
    /// An upper bound of the norm of the row.
    pub(super) norm: f32,
    /// An upper bound of the norm of the rounding error.
    pub(super) error: f32,
}

/// Covers the rounding of a few f32 operations.
const MARGIN: f32 = 1.0 + 1e-6;

/// `1.5 * 2^23`: a sum with it has no bits for a fraction, so that adding it rounds, without a call
/// on processors that lack the instruction, and leaves the integer in the lowest bits.
const SHIFT: f32 = 12_582_912.0;

/// The integers of a rounded row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IntegerWidth {
    /// 16 bits; the dot product of two such rows stays within 32 bits.
    Word,
    /// -127 to 127.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86-64 only"))]
    Byte,
}

impl IntegerWidth {
    fn largest(self) -> f32 {
        match self {
            IntegerWidth::Word => 32_767.0,
            IntegerWidth::Byte => 127.0,
        }
    }

    /// The unit for a row of `n` values whose norm is `norm` at most, the largest of them
    /// `largest`.
    fn unit(self, n: usize, norm: f64, largest: f32) -> f32 {
        let unit = f64::from(largest) / f64::from(self.largest());
        match self {
            IntegerWidth::Byte => unit as f32,
            IntegerWidth::Word => {
                // The square root of 2^31, less the norm that rounding may add.
                let highest = 46_340.0 - 0.5 * (n as f64).sqrt() - 1.0;
                (norm / highest).max(unit) as f32
            }
        }
    }
}

/// Rounds a row to integers; the entries of `out` past the row become 0.
pub(super) fn round(isa: Isa, width: IntegerWidth, row: &[f32], out: &mut [i16]) -> RowBounds {
    out[row.len()..].fill(0);
    let mut bounds = None;
    // SAFETY: `out` is at least as long as the row.
    unsafe { round_in_f32(isa, width, row, out, &mut bounds) };
    bounds.unwrap_or_else(|| round_in_f64(width, row, out))
}

kernel! {
    /// Rounds a row; leaves `bounds` unset if f32 cannot hold the squares of the row.
    ///
    /// # Safety
    /// `out` is at least as long as `row`.
    fn round_in_f32(width: IntegerWidth, row: &[f32], out: &mut [i16], bounds: &mut Option<RowBounds>) = round_in_f32_with
}

/// # Safety
/// As for [`round_in_f32`].
#[inline(always)]
unsafe fn round_in_f32_with<S: Simd>(
    width: IntegerWidth,
    row: &[f32],
    out: &mut [i16],
    bounds: &mut Option<RowBounds>,
) {
    // The sum of `n` values, in any order, is off by at most this fraction (Higham, Accuracy and
    // Stability of Numerical Algorithms, 4.2).
    let summation = 1.0 + (row.len() + 8) as f64 * f64::from(f32::EPSILON);
    // SAFETY: every vector lies within the row, and as far within `out`.
    unsafe {
        let (squares, largest) = measure::<S>(row);
        // Within these limits no square, of the rounding error either, underflows or overflows.
        if !(squares > 1e-16 && squares < 1e30) {
            return;
        }
        let norm = f64::from(squares).sqrt() * summation;
        let unit = width.unit(row.len(), norm, largest);
        let (inverse, unit_v) = (S::splat(1.0 / unit), S::splat(-unit));
        let shift = S::splat(SHIFT);
        let (lowest, highest) = (S::splat(-width.largest()), S::splat(width.largest()));
        let mut errors = [S::splat(0.0); 2];
        let mut i = 0;
        while i < row.len() {
            let lanes = (row.len() - i).min(S::LANES);
            let x = load::<S>(row.as_ptr().add(i), lanes);
            let whole = S::sub(S::fma(x, inverse, shift), shift);
            let whole = S::max(lowest, S::min(highest, whole));
            let rest = S::fma(whole, unit_v, x);
            errors = [errors[1], S::fma(rest, rest, errors[0])];
            let mut shifted = [0.0_f32; 16];
            S::store(shifted.as_mut_ptr(), S::add(whole, shift));
            let integers = shifted.map(|shifted| (shifted.to_bits() as u16).cast_signed());
            std::ptr::copy_nonoverlapping(integers.as_ptr(), out.as_mut_ptr().add(i), lanes);
            i += lanes;
        }
        let error = f64::from(S::sum(S::add(errors[0], errors[1]))).sqrt() * summation;
        // If a multiply-add rounds twice, each remainder is off by one bit of its value.
        let error = error + 2.0 * f64::from(f32::EPSILON) * norm;
        *bounds = Some(RowBounds {
            unit,
            norm: norm as f32 * MARGIN,
            error: error as f32 * MARGIN,
        });
    }
}

/// The sum of squares and the largest absolute value.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn measure<S: Simd>(row: &[f32]) -> (f32, f32) {
    // SAFETY: every vector lies within the row.
    unsafe {
        let zero = S::splat(0.0);
        let mut squares = [zero; 2];
        let mut largest = zero;
        let mut i = 0;
        while i < row.len() {
            let lanes = (row.len() - i).min(S::LANES);
            let x = load::<S>(row.as_ptr().add(i), lanes);
            squares = [squares[1], S::fma(x, x, squares[0])];
            largest = S::max(S::max(x, S::sub(zero, x)), largest);
            i += lanes;
        }
        (S::sum(S::add(squares[0], squares[1])), S::largest(largest))
    }
}

/// The same in f64: for rows of any magnitude, and rows that are not finite.
fn round_in_f64(width: IntegerWidth, row: &[f32], out: &mut [i16]) -> RowBounds {
    let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let norm = squares.sqrt();
    let unit = width.unit(row.len(), norm, largest);
    if !(unit.is_normal() && (1.0 / unit).is_normal() && norm.is_finite()) {
        // A row of zeros needs no rounding; a row that is not finite has no bounds.
        out.fill(0);
        let norm = norm as f32;
        return RowBounds {
            unit: 0.0,
            norm,
            error: norm,
        };
    }
    let inverse = 1.0 / unit;
    let mut error = 0.0_f64;
    for (out, &x) in out.iter_mut().zip(row) {
        let whole = (x * inverse + SHIFT) - SHIFT;
        let whole = whole.clamp(-width.largest(), width.largest());
        *out = whole as i32 as i16;
        let rest = f64::from(x) - f64::from(whole) * f64::from(unit);
        error += rest * rest;
    }
    RowBounds {
        unit,
        norm: norm as f32 * MARGIN,
        error: error.sqrt() as f32 * MARGIN,
    }
}
