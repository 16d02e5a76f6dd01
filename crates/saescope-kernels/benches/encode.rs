//! Encoding 1024 tokens, 768 -> 131,072, k 32: tokens/s with the screen and without.
//!
//! `cargo bench -p saescope-kernels --bench encode`

use std::time::Instant;

use saescope_kernels::{Encoder, Gate, Isa, Matrix};

fn main() {
    let (tokens, d_in, d_sae, k) = (1024, 768, 131_072, 32);
    let mut state = 1_u64;
    let mut normal = move || -> f32 {
        let mut sum = 0.0_f32;
        for _ in 0..4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            sum += (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5;
        }
        sum * 3.0_f32.sqrt()
    };
    let mut weight = Matrix::zeros(d_sae, d_in);
    weight
        .data_mut()
        .iter_mut()
        .for_each(|w| *w = normal() / 27.7);
    let mut x = Matrix::zeros(tokens, d_in);
    x.data_mut().iter_mut().for_each(|x| *x = normal());
    let encoder = Encoder::new(weight, vec![0.0; d_sae], Gate::TopK(k));
    println!(
        "{}, {} threads",
        Isa::current(),
        rayon::current_num_threads()
    );
    let start = Instant::now();
    encoder.encode(&x.select_rows(&(0..64).collect::<Vec<_>>()));
    println!(
        "screen made and 64 tokens: {:.3} s",
        start.elapsed().as_secs_f64()
    );
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(encoder.encode(&x).len(), tokens * k);
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "{tokens} tokens: {:.3} s, {:.0} tokens/s",
        seconds[3],
        tokens as f64 / seconds[3]
    );
    let few = x.select_rows(&(0..16).collect::<Vec<_>>());
    let start = Instant::now();
    encoder.encode(&few);
    println!(
        "16 tokens without the screen: {:.3} s",
        start.elapsed().as_secs_f64()
    );
}
