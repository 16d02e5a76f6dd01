//! Vectors of f32 under one name for every instruction set, so that each kernel is written once.
//!
//! A kernel body is a generic `#[inline(always)]` function over [`Simd`]; the macro `kernel!`
//! makes the function that callers see, which compiles the body once per instruction set and
//! picks one when called.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, dot_pairs};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

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
    /// `a * b + c`, rounded once where the processor can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^n` for integral `n` in -126..=127.
    unsafe fn exp2(n: Self::V) -> Self::V;
    /// The sum of the lanes.
    unsafe fn sum(v: Self::V) -> f32;
    /// The largest lane.
    unsafe fn largest(v: Self::V) -> f32;
    /// A bit for each lane of `a` that is greater than that of `b`, lane 0 lowest.
    unsafe fn above(a: Self::V, b: Self::V) -> u32;
    /// Of `LANES` pairs of bf16 the first of each, as f32.
    unsafe fn load_bf16_first(p: *const u16) -> Self::V;
    /// Of `LANES` pairs of bf16 the second of each, as f32.
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

/// `exp(x)` with a relative error under 2e-7, for x clamped to what f32 can hold.
///
/// Range reduction by ln 2 in two parts and a polynomial of degree 7, the classic scheme of the
/// Cephes library (Moshier).
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller has the instruction set; nothing here touches memory.
    unsafe {
        // In this order of operands a NaN stays one.
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

/// A vector, or its first `lanes`.
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

/// Writes a vector, or its first `lanes`.
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

/// Replaces the `n` values at `p` by an expression of index, vector and lanes, a vector at a time.
///
/// A macro, because a closure cannot be made to inline: left apart, it is compiled without the
/// instruction set, and every operation in it becomes a call.
macro_rules! each {
    ($simd:ty, $n:expr, $p:expr, |$i:ident, $x:pat_param, $lanes:ident| $value:expr) => {{
        let (n, p) = ($n, $p);
        let mut $i = 0;
        while $i < n {
            let $lanes = (n - $i).min(<$simd>::LANES);
            let $x = load::<$simd>(p.add($i), $lanes);
            store::<$simd>(p.add($i), $value, $lanes);
            $i += $lanes;
        }
    }};
}
pub(crate) use each;

/// Defines `fn name(isa, arguments)`, which runs the generic `body::<S>` compiled for `isa`.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(isa: $crate::isa::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: as the caller promises.
                unsafe { $body::<$crate::simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: as the caller promises.
                unsafe { $body::<$crate::simd::Avx512>($($arg),*) }
            }
            // SAFETY: an `Isa` other than `Portable` is only handed out where it is available.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Bf16 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::isa::Isa::Neon => $body::<$crate::simd::Neon>($($arg),*),
                    _ => $body::<$crate::simd::Portable>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use kernel;
