//! Bare products at the shapes of GPT-2 small: GFLOP/s and share of the peak.
//!
//! `cargo bench -p saescope-kernels`

use std::time::Instant;

use saescope_kernels::{Epilogue, Isa, Matrix, Precision, Weight, peak_gflops};

fn main() {
    let peak = peak_gflops();
    println!("{}, peak {peak:.0} GFLOP/s", Isa::current());
    let shapes = [
        (512, 768, 2304),
        (512, 768, 3072),
        (512, 3072, 768),
        (1024, 768, 768),
        (4096, 768, 6144),
        (1024, 768, 50257),
        (1, 768, 50257),
        (1, 768, 2304),
    ];
    for (rows, d_in, d_out) in shapes {
        for precision in [Precision::F32, Precision::Bf16] {
            measure(rows, d_in, d_out, precision, peak);
        }
    }
}

fn measure(rows: usize, d_in: usize, d_out: usize, precision: Precision, peak: f64) {
    let value = |i: usize| ((i * 7919) % 1000) as f32 / 1000.0 - 0.5;
    let weight = Weight::pack(d_out, d_in, precision, |range, out| {
        for (i, out) in out.iter_mut().enumerate() {
            *out = value(range.start * d_in + i);
        }
        Ok::<_, ()>(())
    })
    .expect("filling cannot fail");
    let x = Matrix::from_fn(rows, d_in, |r, c| value(r * d_in + c));
    let mut out = Matrix::default();
    let flops = 2.0 * (rows * d_in * d_out) as f64;
    let mut seconds: Vec<f64> = (0..((3e10 / flops) as usize).clamp(7, 500))
        .map(|_| {
            let start = Instant::now();
            weight.product(&x, None, Epilogue::Keep, &mut out);
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let rate = flops / median / 1e9;
    println!(
        "{:>18} {precision:?}: {:9.3} ms {rate:6.1} GFLOP/s {:4.0}% of peak, {:5.1} GB/s of weights",
        format!("{rows}x{d_in}x{d_out}"),
        median * 1e3,
        rate / peak * 100.0,
        weight.bytes() as f64 / median / 1e9,
    );
}
