//! Vectors as arrays, which the compiler maps to the baseline of the target.

use super::vector::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 8];

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

// SAFETY of every body: the trait's own conditions.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Portable {
    const LANES: usize = 8;
    type V = V;

    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> V {
        let mut v = [0.0; 8];
        unsafe { std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n) }
        v
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: V, n: usize) {
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n) }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // Two roundings: `f32::mul_add` is a library call if the processor lacks the instruction.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // Adding and subtracting 1.5 * 2^23 rounds to nearest even while |x| is under 2^22.
        const SHIFT: f32 = 12_582_912.0;
        a.map(|x| (x + SHIFT) - SHIFT)
    }
    #[inline(always)]
    unsafe fn exp2(n: V) -> V {
        n.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn sum(v: V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    unsafe fn largest(v: V) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn above(a: V, b: V) -> u32 {
        let bit = |lane: usize| u32::from(a[lane] > b[lane]) << lane;
        (0..8).map(bit).sum()
    }
    #[inline(always)]
    unsafe fn load_bf16_first(p: *const u16) -> V {
        let pairs = unsafe { p.cast::<[u32; 8]>().read_unaligned() };
        pairs.map(|pair| f32::from_bits(u32::from_le(pair) << 16))
    }
    #[inline(always)]
    unsafe fn load_bf16_second(p: *const u16) -> V {
        let pairs = unsafe { p.cast::<[u32; 8]>().read_unaligned() };
        pairs.map(|pair| f32::from_bits(u32::from_le(pair) & 0xffff_0000))
    }
}
