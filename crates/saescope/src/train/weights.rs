//! The trained weights, their gradients, and the optimiser's moments.

use saescope_kernels::{
    AdamState, AdamStep, Encoder, Gate, Gradient, Matrix, RowNorm, adam_rows, adam_slice,
    squared_norm,
};

use super::{DecoderNorm, Objective, TrainConfig};

/// All weights but the two large matrices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Vectors {
    /// `[d_sae]`; of Gated, the gate's bias.
    pub(super) b_enc: Vec<f32>,
    /// `[d_out]`
    pub(super) b_dec: Vec<f32>,
    /// `[d_sae]`, of JumpReLU.
    pub(super) threshold: Vec<f32>,
    /// `[d_sae]`, of Gated: the magnitude's encoder is the gate's times `exp(r_mag)`.
    pub(super) r_mag: Vec<f32>,
    /// `[d_sae]`, of Gated.
    pub(super) b_mag: Vec<f32>,
    /// `[d_out, d_in]`, of a transcoder with a skip map.
    pub(super) w_skip: Vec<f32>,
}

/// The names of the parts of [`Vectors`], in order.
pub(super) const VECTOR_NAMES: [&str; 6] =
    ["b_enc", "b_dec", "threshold", "r_mag", "b_mag", "w_skip"];

impl Vectors {
    /// True for the parts that grow with the length of a token: biases and thresholds.
    const IS_BIAS: [bool; 6] = [true, true, true, false, true, false];

    pub(super) fn parts(&self) -> [&Vec<f32>; 6] {
        let Vectors {
            b_enc,
            b_dec,
            threshold,
            r_mag,
            b_mag,
            w_skip,
        } = self;
        [b_enc, b_dec, threshold, r_mag, b_mag, w_skip]
    }

    pub(super) fn parts_mut(&mut self) -> [&mut Vec<f32>; 6] {
        let Vectors {
            b_enc,
            b_dec,
            threshold,
            r_mag,
            b_mag,
            w_skip,
        } = self;
        [b_enc, b_dec, threshold, r_mag, b_mag, w_skip]
    }

    /// Vectors of zeros of the same lengths.
    pub(super) fn zeros(&self) -> Vectors {
        let mut zeros = self.clone();
        for part in zeros.parts_mut() {
            part.fill(0.0);
        }
        zeros
    }
}

/// The trained weights.
pub(super) struct Weights {
    /// `w_enc`, packed for finding the entries that a step has to compute.
    pub(super) encoder: Encoder,
    /// `[d_sae, d_out]`
    pub(super) w_dec: Matrix,
    pub(super) vectors: Vectors,
}

impl Weights {
    pub(super) fn new(
        config: &TrainConfig,
        w_enc: Matrix,
        w_dec: Matrix,
        vectors: Vectors,
    ) -> Weights {
        let gate = match &config.objective {
            Objective::TopK { k, .. } => Gate::TopK(*k),
            _ => Gate::Positive,
        };
        let bias = encoder_bias(config, &vectors);
        Weights {
            encoder: Encoder::new(w_enc, bias, gate),
            w_dec,
            vectors,
        }
    }

    /// `[d_sae, d_in]`
    pub(super) fn w_enc(&self) -> &Matrix {
        self.encoder.weight()
    }

    /// Changes weights, and updates the packed encoder.
    pub(super) fn update(
        &mut self,
        config: &TrainConfig,
        change: impl FnOnce(&mut Matrix, &mut Matrix, &mut Vectors),
    ) {
        let (w_dec, vectors) = (&mut self.w_dec, &mut self.vectors);
        self.encoder.update(|w_enc, bias, _| {
            change(w_enc, w_dec, vectors);
            *bias = encoder_bias(config, vectors);
        });
    }
}

/// The bias with which exactly the entries that a step has to compute are positive: for JumpReLU those
/// above the threshold less half the width of the kernel.
fn encoder_bias(config: &TrainConfig, vectors: &Vectors) -> Vec<f32> {
    match config.objective {
        Objective::JumpRelu { bandwidth, .. } => {
            let pairs = vectors.b_enc.iter().zip(&vectors.threshold);
            pairs
                .map(|(b, theta)| b - theta + bandwidth / 2.0)
                .collect()
        }
        _ => vectors.b_enc.clone(),
    }
}

/// The gradient of a loss.
pub(super) struct Gradients<'a> {
    /// `[d_sae, d_in]`
    pub(super) w_enc: Gradient<'a>,
    /// `[d_sae, d_out]`
    pub(super) w_dec: Gradient<'a>,
    pub(super) vectors: Vectors,
}

impl Gradients<'_> {
    /// The norm over all weights.
    pub(super) fn norm(&self, config: &TrainConfig, weights: &Weights) -> f64 {
        let w_enc = self.w_enc.squared_norm(weights.w_enc(), RowNorm::Free);
        let w_dec = (self.w_dec).squared_norm(&weights.w_dec, config.decoder.row_norm());
        self.norm_of(w_enc, w_dec)
    }

    /// The norm over all weights, from the sums of squares of the large matrices.
    fn norm_of(&self, w_enc: f64, w_dec: f64) -> f64 {
        let vectors = self.vectors.parts().map(|part| squared_norm(part));
        (w_enc + w_dec + vectors.iter().sum::<f64>()).sqrt()
    }
}

impl DecoderNorm {
    fn row_norm(self) -> RowNorm {
        match self {
            DecoderNorm::Unit => RowNorm::Unit,
            DecoderNorm::Free => RowNorm::Free,
        }
    }
}

/// The moments of one matrix.
pub(super) struct MatrixMoments {
    pub(super) m: Matrix,
    pub(super) v: Matrix,
}

impl MatrixMoments {
    pub(super) fn zeros(rows: usize, cols: usize) -> MatrixMoments {
        MatrixMoments {
            m: Matrix::zeros(rows, cols),
            v: Matrix::zeros(rows, cols),
        }
    }

    fn with<'a>(&'a mut self, params: &'a mut Matrix) -> AdamState<'a> {
        AdamState {
            params,
            m: &mut self.m,
            v: &mut self.v,
        }
    }

    fn forget(&mut self, feature: usize) {
        self.m.fill_row(feature, 0.0);
        self.v.fill_row(feature, 0.0);
    }
}

/// Adam's moments.
pub(super) struct Optimiser {
    pub(super) w_enc: MatrixMoments,
    pub(super) w_dec: MatrixMoments,
    pub(super) m: Vectors,
    pub(super) v: Vectors,
}

impl Optimiser {
    pub(super) fn new(weights: &Weights) -> Optimiser {
        let zeros = |of: &Matrix| MatrixMoments::zeros(of.rows(), of.cols());
        Optimiser {
            w_enc: zeros(weights.w_enc()),
            w_dec: zeros(&weights.w_dec),
            m: weights.vectors.zeros(),
            v: weights.vectors.zeros(),
        }
    }

    /// Takes one step on `scale * gradients`; returns the norm of the gradients.
    pub(super) fn step(
        &mut self,
        config: &TrainConfig,
        weights: &mut Weights,
        gradients: &Gradients,
        scale: f32,
        step: AdamStep,
    ) -> f64 {
        let mut norm = 0.0;
        weights.update(config, |w_enc, w_dec, vectors| {
            let to = self.w_enc.with(w_enc);
            let of_enc = adam_rows(to, &gradients.w_enc, scale, step, RowNorm::Free);
            let to = self.w_dec.with(w_dec);
            let row_norm = config.decoder.row_norm();
            let of_dec = adam_rows(to, &gradients.w_dec, scale, step, row_norm);
            norm = gradients.norm_of(of_enc, of_dec);
            let moments = self.m.parts_mut().into_iter().zip(self.v.parts_mut());
            let parts = vectors
                .parts_mut()
                .into_iter()
                .zip(gradients.vectors.parts());
            for (((part, gradient), (m, v)), is_bias) in parts.zip(moments).zip(Vectors::IS_BIAS) {
                let factor = if is_bias {
                    config.adam.bias_lr_factor
                } else {
                    1.0
                };
                let step = AdamStep {
                    lr: step.lr * factor,
                    ..step
                };
                adam_slice(part, m, v, gradient, scale, step);
            }
            // A negative threshold would let negative pre-activations through.
            vectors.threshold.iter_mut().for_each(|t| *t = t.max(0.0));
        });
        norm
    }

    /// Resets the moments of one feature.
    pub(super) fn forget(&mut self, feature: usize) {
        self.w_enc.forget(feature);
        self.w_dec.forget(feature);
        for moment in [&mut self.m, &mut self.v] {
            let of_features = [
                &mut moment.b_enc,
                &mut moment.threshold,
                &mut moment.r_mag,
                &mut moment.b_mag,
            ];
            for part in of_features {
                if let Some(value) = part.get_mut(feature) {
                    *value = 0.0;
                }
            }
        }
    }
}
