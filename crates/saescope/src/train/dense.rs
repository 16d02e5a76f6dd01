//! ReLU + L1 while many features are active: the pass over dense activations, since products of whole
//! matrices then cost less than sparse ones.

use saescope_kernels::{
    Activation, Epilogue, Gradient, Matrix, PositiveRows, Precision, Weight, positive_rows,
    transpose,
};

use super::activity::{Activity, FiringCounts};
use super::pass::{Loss, PassInput, PassResult};
use super::plain::L1;
use super::weights::{Gradients, Vectors};
use super::{Products, TrainConfig};

/// Share of active features from which products of whole matrices are faster.
pub(super) const WORTH_DENSE: f64 = 0.1;

/// Memory for the dense matrices of a pass, kept from step to step: fresh memory from the system would
/// cost a tenth of a step.
pub(super) struct DenseWorkspace {
    /// Activations `[tokens, d_sae]`, then their gradients `[d_sae, tokens]`.
    all: Matrix,
    by_feature: Matrix,
    packed: Weight,
}

impl DenseWorkspace {
    pub(super) fn new(config: &TrainConfig) -> DenseWorkspace {
        let precision = match config.products {
            Products::F32 => Precision::F32,
            Products::Bf16 => Precision::Bf16,
        };
        DenseWorkspace {
            all: Matrix::default(),
            by_feature: Matrix::default(),
            packed: Weight::empty(precision),
        }
    }
}

/// The pass of ReLU + L1.
pub(super) fn pass<'x>(
    input: &PassInput<'_, 'x>,
    penalty: &L1,
    firing: &mut FiringCounts,
    room: &mut DenseWorkspace,
) -> PassResult<'x> {
    let DenseWorkspace {
        all,
        by_feature,
        packed,
    } = room;
    let (w_enc, w_dec) = (input.weights.w_enc(), &input.weights.w_dec);
    let vectors = &input.weights.vectors;
    packed.repack(w_enc);
    let relu = Epilogue::Activate(Activation::Relu);
    packed.product(input.encoder_input, Some(&vectors.b_enc), relu, all); // [tokens, d_sae]
    let mut y = product_transposed(packed, all, w_dec, Some(&vectors.b_dec)); // [tokens, d_out]
    if let Some(skip) = input.skip() {
        y.add(&skip);
    }
    let error = input.error(y);
    // The gradients are sums over tokens, so that from here on rows are features.
    transpose(all, by_feature); // [d_sae, tokens]
    let activity = activity(by_feature);
    firing.record(&activity);
    packed.repack(&error.gradient);
    let d_pre = all;
    packed.product(w_dec, None, Epilogue::Keep, d_pre); // [d_sae, tokens]
    let b_enc = penalty.add_dense(by_feature, d_pre);
    let g_dec = product_transposed(packed, by_feature, &error.gradient, None);
    let g_enc = product_transposed(packed, d_pre, input.encoder_input, None);
    let mut gradients = Gradients {
        w_enc: Gradient::dense(g_enc),
        w_dec: Gradient::dense(g_dec),
        vectors: Vectors::gradient(input, b_enc, &[&error.gradient]),
    };
    let sparsity = penalty.finish(input, &activity, &mut gradients);
    PassResult {
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

/// `x w + bias` for `w`, `[d_in, d_out]`, which is packed into `packed`.
fn product_transposed(packed: &mut Weight, x: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> Matrix {
    packed.repack_transposed(w);
    let mut out = Matrix::default();
    packed.product(x, bias, Epilogue::Keep, &mut out);
    out
}

/// The activity of activations by feature, `[d_sae, tokens]`. L1 does not need the smallest one.
fn activity(by_feature: &Matrix) -> Activity {
    let PositiveRows { counts, sums } = positive_rows(by_feature);
    Activity {
        tokens: by_feature.cols(),
        least: f32::INFINITY,
        counts,
        sums,
    }
}
