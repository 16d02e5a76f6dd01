//! The peak of the machine, for comparison with measurements.

use std::time::Instant;

use rayon::prelude::*;

use crate::isa::Isa;
use crate::simd::{Simd, kernel};

/// GFLOP/s of f32 multiply-adds in registers, all threads together: the fastest of some short runs,
/// since the threads may take a while to get a core each.
pub fn peak_gflops() -> f64 {
    const STEPS: usize = 2_000_000;
    let threads = rayon::current_num_threads();
    let mut fastest = 0.0_f64;
    for _ in 0..40 {
        let start = Instant::now();
        let flops: f64 = (0..threads)
            .into_par_iter()
            .with_max_len(1)
            .map(|_| {
                let mut flops = 0.0;
                // SAFETY: the kernel touches nothing but the counter.
                unsafe { spin(Isa::current(), STEPS, &mut flops) };
                flops
            })
            .sum();
        fastest = fastest.max(flops / start.elapsed().as_secs_f64() / 1e9);
    }
    fastest
}

kernel! {
    /// Runs `steps` rounds of independent multiply-adds; `flops` becomes the number of operations.
    ///
    /// # Safety
    /// The processor has the instruction set.
    fn spin(steps: usize, flops: &mut f64) = spin_with
}

/// # Safety
/// As for [`spin`].
#[inline(always)]
unsafe fn spin_with<S: Simd>(steps: usize, flops: &mut f64) {
    // Enough chains to hide the latency of a multiply-add on two ports.
    const CHAINS: usize = 12;
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [S::splat(1.0); CHAINS];
        let (a, b) = (
            S::splat(std::hint::black_box(0.999)),
            S::splat(std::hint::black_box(1e-3)),
        );
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = S::fma(*sum, a, b);
            }
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = S::add(all, *sum);
        }
        std::hint::black_box(S::sum(all));
    }
    *flops = (2 * steps * CHAINS * S::LANES) as f64;
}
