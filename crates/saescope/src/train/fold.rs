//! Folding: a trained state becomes an autoencoder of ReLU, TopK or JumpReLU that reads raw activations,
//! with the input's scale and mean taken into the weights.

use saescope_kernels::{Gate, Matrix, RowSet, row_dots};

use super::state::{Learner, Setup, State};
use super::weights::Vectors;
use super::{Input, Objective, TrainConfig};
use crate::error::Result;
use crate::sae::{self, InputNorm, Record, Sae};

impl State {
    /// The autoencoder that is used after training: BatchTopK and Matryoshka as JumpReLU with the running
    /// threshold, Gated as the JumpReLU that it equals, the input's scale and mean folded in.
    ///
    /// # Errors
    /// When the parts do not fit each other.
    pub fn sae(&self, record: Record) -> Result<Sae> {
        let weights = &self.learner.weights;
        let parts = TrainedWeights {
            w_enc: weights.w_enc().clone(),
            w_dec: weights.w_dec.clone(),
            vectors: weights.vectors.clone(),
            threshold: self.learner.threshold,
        };
        fold(&self.setup, parts, record)
    }

    /// The same without a second copy of the weights.
    pub(super) fn into_sae(self, record: Record) -> Result<Sae> {
        let Learner {
            mut weights,
            optimiser,
            threshold,
            ..
        } = self.learner;
        let mut w_enc = Matrix::default();
        weights.encoder.update(|weight, bias, gate| {
            std::mem::swap(weight, &mut w_enc);
            bias.clear();
            *gate = Gate::Positive;
        });
        drop(optimiser);
        let parts = TrainedWeights {
            w_enc,
            w_dec: weights.w_dec,
            vectors: weights.vectors,
            threshold,
        };
        fold(&self.setup, parts, record)
    }
}

/// The trained numbers that make an autoencoder.
struct TrainedWeights {
    /// `[d_sae, d_in]`
    w_enc: Matrix,
    /// `[d_sae, d_out]`
    w_dec: Matrix,
    vectors: Vectors,
    /// The running threshold of BatchTopK.
    threshold: Option<f64>,
}

fn fold(setup: &Setup, trained: TrainedWeights, mut record: Record) -> Result<Sae> {
    let Setup { config, transform } = setup;
    let TrainedWeights {
        mut w_enc,
        mut w_dec,
        vectors,
        threshold,
    } = trained;
    let transcoder = config.transcoder.is_some();
    let subtract_b_dec = config.init.subtract_b_dec;
    let x = &transform.x;
    let out = transform.target.as_ref().unwrap_or(x);
    w_enc.scale(x.scale);
    // Encoding `x - mean` instead of `x` shifts every product by `-e . mean`. A `b_dec` that is subtracted
    // holds the mean, so that nothing is left to shift.
    let shifts: Vec<f32> = if subtract_b_dec {
        vec![0.0; config.d_sae]
    } else {
        row_dots(&w_enc, RowSet::All, &x.mean)
            .into_iter()
            .map(|product| -product as f32)
            .collect()
    };
    let (b_enc, gate) = gate(config, threshold, &mut w_enc, &vectors, &shifts);
    w_dec.scale(1.0 / out.scale);
    let pairs = vectors.b_dec.iter().zip(&out.mean);
    let mut b_dec: Vec<f32> = pairs.map(|(b, mean)| b / out.scale + mean).collect();
    let w_skip = (!vectors.w_skip.is_empty()).then(|| {
        let mut skip = Matrix::from_vec(b_dec.len(), x.mean.len(), vectors.w_skip);
        skip.scale(x.scale / out.scale);
        let products = row_dots(&skip, RowSet::All, &x.mean);
        let pairs = b_dec.iter_mut().zip(products);
        pairs.for_each(|(b, product)| *b -= product as f32);
        skip
    });
    note(setup, &mut record)?;
    let weights = sae::Weights {
        w_enc,
        b_enc,
        gate,
        w_dec,
        b_dec,
        subtract_b_dec,
        input_norm: match config.input {
            Input::LayerNorm => InputNorm::LayerNorm,
            _ => InputNorm::None,
        },
        centre: false,
        w_skip,
        transcoder,
    };
    Sae::new(weights, record)
}

/// The bias and the gate of an encoder whose products all lack `shifts`, `[d_sae]`.
fn gate(
    config: &TrainConfig,
    threshold: Option<f64>,
    w_enc: &mut Matrix,
    vectors: &Vectors,
    shifts: &[f32],
) -> (Vec<f32>, Gate) {
    let shifted = |bias: &[f32]| -> Vec<f32> {
        bias.iter()
            .zip(shifts)
            .map(|(b, shift)| b + shift)
            .collect()
    };
    let b_enc = shifted(&vectors.b_enc);
    match &config.objective {
        Objective::L1 { .. } => (b_enc, Gate::Positive),
        Objective::TopK { k, .. } => (b_enc, Gate::TopK(*k)),
        Objective::BatchTopK { .. } | Objective::Matryoshka { .. } => {
            let threshold = threshold.unwrap_or(0.0) as f32;
            (b_enc, Gate::Above(vec![threshold; config.d_sae]))
        }
        Objective::JumpRelu { .. } => (b_enc, Gate::Above(vectors.threshold.clone())),
        Objective::Gated { .. } => {
            let scales: Vec<f32> = vectors.r_mag.iter().map(|r| r.exp()).collect();
            let parts = vectors.b_mag.iter().zip(shifts).zip(&scales);
            let b_mag = parts.map(|((b, shift), scale)| b + scale * shift).collect();
            sae::gated(w_enc, &scales, &b_enc, b_mag)
        }
    }
}

/// Adds to the record the configuration, and a note on everything that was folded.
fn note(setup: &Setup, record: &mut Record) -> Result<()> {
    let Setup { config, transform } = setup;
    record.config = serde_json::to_value(config).map_err(|e| crate::Error::Training {
        step: config.steps,
        reason: e.to_string(),
    })?;
    let folded = match config.objective {
        Objective::BatchTopK { .. } | Objective::Matryoshka { .. } => {
            Some("trained as BatchTopK; used as JumpReLU with the running threshold")
        }
        Objective::Gated { .. } => Some("trained as Gated; used as the JumpReLU that it equals"),
        _ => None,
    };
    record.notes.extend(folded.map(str::to_owned));
    if transform.x.scale != 1.0 {
        let scale = transform.x.scale;
        record.notes.push(format!(
            "trained on activations times {scale}; folded into the weights"
        ));
    }
    Ok(())
}
