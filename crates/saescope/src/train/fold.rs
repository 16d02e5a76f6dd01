//! A trained autoencoder as it is used: other architectures as ReLU, TopK or JumpReLU, and what was
//! done to activations taken into the weights.

use saescope_kernels::{Gate, Matrix, RowSet, row_dots};

use super::input::Entrance;
use super::weights::Small;
use super::{Input, Objective, State, TrainConfig};
use crate::error::Result;
use crate::sae::{self, InputNorm, Record, Sae};

impl State {
    /// What is used after training: BatchTopK and Matryoshka as JumpReLU with the running threshold,
    /// Gated as the JumpReLU that it equals, the input's scale and mean folded in.
    ///
    /// # Errors
    /// When the parts do not fit each other.
    pub fn sae(&self, record: Record) -> Result<Sae> {
        let (w_enc, w_dec) = (self.weights.w_enc().clone(), self.weights.w_dec.clone());
        let parts = (w_enc, w_dec, self.weights.small.clone());
        fold(&self.config, &self.entrance, self.threshold, parts, record)
    }

    /// The same without a second copy of the weights.
    pub(super) fn into_sae(mut self, record: Record) -> Result<Sae> {
        let mut w_enc = Matrix::default();
        self.weights.encoder.update(|weight, bias, gate| {
            std::mem::swap(weight, &mut w_enc);
            bias.clear();
            *gate = Gate::Positive;
        });
        drop(self.optimiser);
        let parts = (w_enc, self.weights.w_dec, self.weights.small);
        fold(&self.config, &self.entrance, self.threshold, parts, record)
    }
}

fn fold(
    config: &TrainConfig,
    entrance: &Entrance,
    threshold: Option<f64>,
    (mut w_enc, mut w_dec, small): (Matrix, Matrix, Small),
    mut record: Record,
) -> Result<Sae> {
    let transcoder = config.transcoder.is_some();
    let subtract_b_dec = config.init.subtract_b_dec;
    let x = &entrance.x;
    let out = entrance.target.as_ref().unwrap_or(x);
    w_enc.scale(x.scale);
    // What the encoder's reading `x - mean` instead of `x` adds to products; subtracting `b_dec`, which
    // then holds the mean, does the same.
    let shifts: Vec<f32> = match subtract_b_dec {
        true => vec![0.0; config.d_sae],
        false => row_dots(&w_enc, RowSet::All, &x.mean)
            .into_iter()
            .map(|product| -product as f32)
            .collect(),
    };
    let (b_enc, gate) = gate(config, threshold, &mut w_enc, &small, &shifts);
    w_dec.scale(1.0 / out.scale);
    let pairs = small.b_dec.iter().zip(&out.mean);
    let mut b_dec: Vec<f32> = pairs.map(|(b, mean)| b / out.scale + mean).collect();
    let w_skip = (!small.w_skip.is_empty()).then(|| {
        let mut skip = Matrix::from_vec(b_dec.len(), x.mean.len(), small.w_skip);
        skip.scale(x.scale / out.scale);
        let products = row_dots(&skip, RowSet::All, &x.mean);
        let pairs = b_dec.iter_mut().zip(products);
        pairs.for_each(|(b, product)| *b -= product as f32);
        skip
    });
    note(config, entrance, &mut record)?;
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

/// The encoder's bias and gate, from products that `shifts` are added to.
fn gate(
    config: &TrainConfig,
    threshold: Option<f64>,
    w_enc: &mut Matrix,
    small: &Small,
    shifts: &[f32],
) -> (Vec<f32>, Gate) {
    let shifted = |bias: &[f32]| -> Vec<f32> {
        bias.iter()
            .zip(shifts)
            .map(|(b, shift)| b + shift)
            .collect()
    };
    let b_enc = shifted(&small.b_enc);
    match &config.objective {
        Objective::L1 { .. } => (b_enc, Gate::Positive),
        Objective::TopK { k, .. } => (b_enc, Gate::TopK(*k)),
        Objective::BatchTopK { .. } | Objective::Matryoshka { .. } => {
            let threshold = threshold.unwrap_or(0.0) as f32;
            (b_enc, Gate::Above(vec![threshold; config.d_sae]))
        }
        Objective::JumpRelu { .. } => (b_enc, Gate::Above(small.threshold.clone())),
        Objective::Gated { .. } => {
            let scales: Vec<f32> = small.r_mag.iter().map(|r| r.exp()).collect();
            let parts = small.b_mag.iter().zip(shifts).zip(&scales);
            let b_mag = parts.map(|((b, shift), scale)| b + scale * shift).collect();
            sae::gated(w_enc, &scales, &b_enc, b_mag)
        }
    }
}

/// What a user has to know.
fn note(config: &TrainConfig, entrance: &Entrance, record: &mut Record) -> Result<()> {
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
    if entrance.x.scale != 1.0 {
        let scale = entrance.x.scale;
        record.notes.push(format!(
            "trained on activations times {scale}; folded into the weights"
        ));
    }
    Ok(())
}
