//! The operations that a kernel is written in.

/// Vectors of `LANES` f32.
///
/// # Safety
/// Every method requires that the processor has the instruction set, and that pointers are valid
/// for the lanes read or written. Nothing needs to be aligned.
pub(crate) trait Simd: Copy {
    /// Lanes of a vector.
    const LANES: usize;
    /// A vector.
    type V: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n < LANES` lanes from memory, zeros in the others.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    /// Writes the first `n < LANES` lanes.
    unsafe fn store_first(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// The larger of two; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once if the processor can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^n` for integral `n` in -126..=127.
    unsafe fn exp2(n: Self::V) -> Self::V;
    /// The sum of the lanes.
    unsafe fn sum(v: Self::V) -> f32;
    /// The largest lane.
    unsafe fn largest(v: Self::V) -> f32;
    /// A bit for each lane, lane 0 lowest: 1 if `a` is greater than `b`.
    unsafe fn above(a: Self::V, b: Self::V) -> u32;
    /// The first values of `LANES` pairs of bf16, as f32.
    unsafe fn load_bf16_first(p: *const u16) -> Self::V;
    /// The second values of `LANES` pairs of bf16, as f32.
    unsafe fn load_bf16_second(p: *const u16) -> Self::V;
    /// Writes the transpose of `LANES` rows of `LANES` 32-bit words. Strides count words.
    #[inline(always)]
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
        for row in 0..Self::LANES {
            for col in 0..Self::LANES {
                // SAFETY: as the caller promises.
                unsafe { *to.add(col * to_stride + row) = *from.add(row * from_stride + col) };
            }
        }
    }
}

/// `exp(x)` with a relative error under 2e-7, for `x` clamped to the range of f32: range reduction
/// by ln 2 in two parts and a polynomial of degree 7, as in the Cephes library (Moshier).
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller has the instruction set; nothing here touches memory.
    unsafe {
        // With operands in this order a NaN stays NaN.
        let x = S::max(S::splat(-87.0), S::min(S::splat(88.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-355.0 / 512.0), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_2e-4);
        for c in [
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            0.166_666_65,
            0.5,
        ] {
            p = S::fma(p, r, S::splat(c));
        }
        let p = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
        S::mul(p, S::exp2(n))
    }
}

/// Loads a vector, or its first `lanes`.
///
/// # Safety
/// `p` holds `lanes` values.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(p: *const f32, lanes: usize) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        if lanes == S::LANES {
            S::load(p)
        } else {
            S::load_first(p, lanes)
        }
    }
}

/// Stores a vector, or its first `lanes`.
///
/// # Safety
/// `p` has room for `lanes` values.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(p: *mut f32, v: S::V, lanes: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        if lanes == S::LANES {
            S::store(p, v)
        } else {
            S::store_first(p, v, lanes)
        }
    }
}
