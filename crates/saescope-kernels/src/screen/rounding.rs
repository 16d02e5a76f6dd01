//! Rows rounded to integers, and how far they are then from themselves.

use crate::isa::Isa;
use crate::simd::{Simd, kernel, load};

/// What is known of a rounded row.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds {
    /// What an integer is worth; 0 where nothing was rounded.
    pub(super) unit: f32,
    /// Length of the row, at least.
    pub(super) length: f32,
    /// Length of what was cut off, at least.
    pub(super) cut: f32,
}

/// Makes up for the rounding of a few f32 operations.
const ABOVE: f32 = 1.0 + 1e-6;

/// Adding what leaves no bits for a fraction rounds, without a call where the processor has no
/// instruction for it, and leaves the integer in the lowest bits.
const NO_FRACTION: f32 = 12_582_912.0;

/// Which integers a row becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// Of 16 bits, whose length times that of another such row stays within 32 bits.
    Words,
    /// From -127 to 127.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86-64 only"))]
    Bytes,
}

impl Range {
    fn largest(self) -> f32 {
        match self {
            Range::Words => 32_767.0,
            Range::Bytes => 127.0,
        }
    }

    /// The unit for a row of `n` values of this length at most.
    fn unit(self, n: usize, length: f64, largest: f32) -> f32 {
        let unit = f64::from(largest) / f64::from(self.largest());
        match self {
            Range::Bytes => unit as f32,
            Range::Words => {
                // The square root of 2^31, less what rounding may add to the length.
                let room = 46_340.0 - 0.5 * (n as f64).sqrt() - 1.0;
                (length / room).max(unit) as f32
            }
        }
    }
}

/// Rounds a row to integers. What `out` is longer than `row` becomes 0.
pub(super) fn round(isa: Isa, range: Range, row: &[f32], out: &mut [i16]) -> Bounds {
    out[row.len()..].fill(0);
    let mut bounds = None;
    // SAFETY: `out` is at least as long as the row.
    unsafe { round_in_f32(isa, range, row, out, &mut bounds) };
    bounds.unwrap_or_else(|| round_in_f64(range, row, out))
}

kernel! {
    /// Leaves `bounds` as they are where f32 is too narrow for a row's squares.
    ///
    /// # Safety
    /// `out` is at least as long as `row`.
    fn round_in_f32(range: Range, row: &[f32], out: &mut [i16], bounds: &mut Option<Bounds>) = round_in_f32_with
}

/// # Safety
/// As for [`round_in_f32`].
#[inline(always)]
unsafe fn round_in_f32_with<S: Simd>(
    range: Range,
    row: &[f32],
    out: &mut [i16],
    bounds: &mut Option<Bounds>,
) {
    // Sums of so many values, in any order, are off by at most this share (Higham, Accuracy and
    // Stability of Numerical Algorithms, 4.2).
    let summed = 1.0 + (row.len() + 8) as f64 * f64::from(f32::EPSILON);
    // SAFETY: every vector lies within the row, and as far within `out`.
    unsafe {
        let (squares, largest) = measure::<S>(row);
        // Squares, also of what will be cut off, lose nothing to underflow or overflow.
        if !(squares > 1e-16 && squares < 1e30) {
            return;
        }
        let length = f64::from(squares).sqrt() * summed;
        let unit = range.unit(row.len(), length, largest);
        let (inverse, unit_v) = (S::splat(1.0 / unit), S::splat(-unit));
        let shift = S::splat(NO_FRACTION);
        let (lowest, highest) = (S::splat(-range.largest()), S::splat(range.largest()));
        let mut cut = [S::splat(0.0); 2];
        let mut i = 0;
        while i < row.len() {
            let lanes = (row.len() - i).min(S::LANES);
            let x = load::<S>(row.as_ptr().add(i), lanes);
            let whole = S::sub(S::fma(x, inverse, shift), shift);
            let whole = S::max(lowest, S::min(highest, whole));
            let rest = S::fma(whole, unit_v, x);
            cut = [cut[1], S::fma(rest, rest, cut[0])];
            let mut shifted = [0.0_f32; 16];
            S::store(shifted.as_mut_ptr(), S::add(whole, shift));
            let integers = shifted.map(|shifted| (shifted.to_bits() as u16).cast_signed());
            std::ptr::copy_nonoverlapping(integers.as_ptr(), out.as_mut_ptr().add(i), lanes);
            i += lanes;
        }
        let cut = f64::from(S::sum(S::add(cut[0], cut[1]))).sqrt() * summed;
        // Where multiplying and adding rounds twice, each rest is off by a bit of its value.
        let cut = cut + 2.0 * f64::from(f32::EPSILON) * length;
        *bounds = Some(Bounds {
            unit,
            length: length as f32 * ABOVE,
            cut: cut as f32 * ABOVE,
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

/// The same for rows of any size, and for what is not finite.
fn round_in_f64(range: Range, row: &[f32], out: &mut [i16]) -> Bounds {
    let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let length = squares.sqrt();
    let unit = range.unit(row.len(), length, largest);
    if !(unit.is_normal() && (1.0 / unit).is_normal() && length.is_finite()) {
        // Nothing is known of a row without length, or of one that is not a number.
        out.fill(0);
        let length = length as f32;
        return Bounds {
            unit: 0.0,
            length,
            cut: length,
        };
    }
    let inverse = 1.0 / unit;
    let mut cut = 0.0_f64;
    for (out, &x) in out.iter_mut().zip(row) {
        let whole = (x * inverse + NO_FRACTION) - NO_FRACTION;
        let whole = whole.clamp(-range.largest(), range.largest());
        *out = whole as i32 as i16;
        let rest = f64::from(x) - f64::from(whole) * f64::from(unit);
        cut += rest * rest;
    }
    Bounds {
        unit,
        length: length as f32 * ABOVE,
        cut: cut.sqrt() as f32 * ABOVE,
    }
}
