//! Vectors of f32 with one interface for every instruction set, so that each kernel is written
//! once.
//!
//! The body of a kernel is a generic `#[inline(always)]` function over [`Simd`]. The macro
//! `kernel!` defines the function that callers see: it compiles the body for each instruction set
//! and picks one when called.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod vector;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, dot_pairs};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
pub(crate) use vector::{Simd, exp, load, store};

/// Replaces the `n` values at `p` by an expression of index, vector and lanes, a vector at a time.
///
/// This is a macro because a closure cannot be forced inline: compiled apart, it lacks the
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

/// Defines `fn name(isa, arguments)`, which runs `body::<S>` compiled for `isa`.
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
