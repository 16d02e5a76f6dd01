//! ReLU + L1 while many features are active: the same pass over dense activations, where products of
//! whole matrices cost less than following entries.

use rayon::prelude::*;
use saescope_kernels::{Activation, Matrix, Storage, Then, Weight, transpose};

use super::Products;
use super::activity::Activity;
use super::dead::Fires;
use super::pass::{Job, Loss, Pass};
use super::plain::L1;
use super::weights::Gradients;

/// Share of active features from which on products of whole matrices are faster.
pub(super) const WORTH_DENSE: f64 = 0.1;

/// The pass of ReLU + L1.
pub(super) fn pass(job: &Job, penalty: &L1, fires: &mut Fires) -> Pass {
    let dense = Dense {
        storage: match job.config.products {
            Products::F32 => Storage::F32,
            Products::Bf16 => Storage::Bf16,
        },
    };
    let (w_enc, w_dec) = (job.weights.w_enc(), &job.weights.w_dec);
    let small = &job.weights.small;
    let relu = Then::Activate(Activation::Relu);
    let f = dense.product(job.inner, w_enc, Some(&small.b_enc), relu); // [tokens, d_sae]
    let mut y = dense.product_transposed(&f, w_dec, Some(&small.b_dec)); // [tokens, d_out]
    if let Some(skip) = job.skip() {
        y.add(&skip);
    }
    let error = job.error(y);
    // The gradients are sums over tokens: from here on features have the rows.
    let mut by_feature = Matrix::default();
    transpose(&f, &mut by_feature); // [d_sae, tokens]
    drop(f);
    let activity = activity(&by_feature);
    fires.saw(&activity);
    let mut d_pre = dense.product(w_dec, &error.gradient, None, Then::Keep); // [d_sae, tokens]
    penalty.add_dense(&by_feature, &mut d_pre);
    let g_dec = dense.product_transposed(&by_feature, &error.gradient, None);
    let g_enc = dense.product_transposed(&d_pre, job.inner, None);
    let mut gradients = Gradients {
        features: (0..job.config.d_sae as u32).collect(),
        w_enc: g_enc,
        w_dec: g_dec,
        small: small.zeros(),
    };
    gradients.small.b_enc = row_sums(&d_pre);
    gradients.add_biases(job, &[&error.gradient]);
    let sparsity = penalty.finish(job, &activity, &mut gradients);
    Pass {
        loss: Loss {
            reconstruction: error.loss,
            sparsity,
            aux: 0.0,
        },
        activity,
        squared: error.squared,
        gradients,
    }
}

struct Dense {
    storage: Storage,
}

impl Dense {
    /// `then(x W^T + bias)`, `w` `[d_out, d_in]`.
    fn product(&self, x: &Matrix, w: &Matrix, bias: Option<&[f32]>, then: Then) -> Matrix {
        let mut packed = Weight::empty(self.storage);
        packed.repack(w);
        let mut out = Matrix::default();
        packed.product(x, bias, then, &mut out);
        out
    }

    /// `x W + bias`, `w` `[d_in, d_out]`.
    fn product_transposed(&self, x: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> Matrix {
        let mut packed = Weight::empty(self.storage);
        packed.repack_transposed(w);
        let mut out = Matrix::default();
        packed.product(x, bias, Then::Keep, &mut out);
        out
    }
}

/// The sum of every row.
fn row_sums(x: &Matrix) -> Vec<f32> {
    let rows = x.data().par_chunks_exact(x.cols());
    rows.map(|row| row.iter().sum()).collect()
}

/// Of activations by feature, `[d_sae, tokens]`.
fn activity(by_feature: &Matrix) -> Activity {
    let rows = by_feature.data().par_chunks_exact(by_feature.cols());
    let of_row = |row: &[f32]| {
        let start = (0_u32, 0.0_f32, f32::INFINITY);
        row.iter().fold(start, |(count, sum, least), &value| {
            if value > 0.0 {
                (count + 1, sum + value, least.min(value))
            } else {
                (count, sum, least)
            }
        })
    };
    let features: Vec<(u32, f32, f32)> = rows.map(of_row).collect();
    let least = features.iter().map(|feature| feature.2);
    Activity {
        tokens: by_feature.cols(),
        least: least.fold(f32::INFINITY, f32::min),
        counts: features.iter().map(|feature| feature.0).collect(),
        sums: features.iter().map(|feature| feature.1).collect(),
    }
}
