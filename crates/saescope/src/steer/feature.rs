//! What turning a feature up means in each unit.

use saescope_kernels::dot;

use crate::edit::{DirectionOp, Edit, Unit};
use crate::error::{Error, Result};
use crate::hook::pooled_positions;
use crate::model::{Model, PASS_TOKENS, TextBatches};
use crate::sae::{InputNorm, Sae};

/// How far a feature is turned up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many times its row of the decoder: the article's and Neuronpedia's meaning.
    Raw(f32),
    /// What the feature writes when this is its activation, the autoencoder's norm undone.
    Activation(f32),
    /// What it writes at a multiple of its largest activation on some text.
    Max {
        /// The multiple.
        multiple: f32,
        /// The activation.
        largest: f32,
    },
    /// Its direction, as long as this share of the token's norm.
    Norm(f32),
}

/// An edit that adds what `feature` writes, at every token of the site where the autoencoder writes.
///
/// Where the feature is off, [`Amount::Activation`] is what setting its activation and splicing with
/// the error term does; where it is on, it comes on top.
///
/// # Errors
/// When there is no such feature, or the site is not known.
pub fn feature_edit(sae: &Sae, feature: u32, amount: Amount) -> Result<Edit> {
    let direction = sae.direction(feature)?.to_vec();
    let (scale, unit) = match amount {
        Amount::Raw(scale) => (scale, Unit::Raw),
        Amount::Norm(share) => (share, Unit::Norm),
        Amount::Activation(activation) => written(sae, activation, &direction),
        Amount::Max { multiple, largest } => written(sae, multiple * largest, &direction),
    };
    let op = DirectionOp::Add {
        direction,
        scale,
        unit,
    };
    Ok(Edit {
        label: Some(format!("feature {feature}")),
        ..Edit::new(sae.out_site()?, op)
    })
}

/// Scale and unit of what an activation writes, by the norm that decoding undoes.
fn written(sae: &Sae, activation: f32, direction: &[f32]) -> (f32, Unit) {
    if sae.is_transcoder() {
        return (activation, Unit::Raw);
    }
    let d = sae.d_in() as f32;
    match sae.input_norm() {
        InputNorm::None => (activation, Unit::Raw),
        InputNorm::LayerNorm => (activation, Unit::Std),
        InputNorm::Scale(factor) => (activation / factor, Unit::Raw),
        // `|x - mean| / sqrt(d)` is the standard deviation that divides by d.
        InputNorm::ConstantNorm if sae.centres() => {
            (activation * ((d - 1.0) / d).sqrt(), Unit::Std)
        }
        // `|x| / sqrt(d)`, for a direction as long as it is.
        InputNorm::ConstantNorm => {
            let norm = dot(direction, direction).sqrt() as f32;
            (activation * norm / d.sqrt(), Unit::Norm)
        }
    }
}

/// Where a feature is most active in some texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Which feature.
    pub feature: u32,
    /// Its largest activation; 0 where it is never active.
    pub activation: f32,
    /// Number of the text.
    pub text: usize,
    /// Position in it.
    pub position: usize,
}

/// The largest activation of each of `features` in `texts`, at the positions that speak for a text
/// ([`pooled_positions`]).
///
/// # Errors
/// When a feature does not exist, the site is not known, or a text does not fit the context.
pub fn peaks(model: &Model, sae: &Sae, texts: &[Vec<u32>], features: &[u32]) -> Result<Vec<Peak>> {
    let site = sae.site()?;
    let first = texts
        .first()
        .map_or(0, |text| pooled_positions(text.len()).start);
    let mut peaks = Vec::with_capacity(features.len());
    for &feature in features {
        sae.direction(feature)?;
        peaks.push(Peak {
            feature,
            activation: 0.0,
            text: 0,
            position: first,
        });
    }
    for batch in TextBatches::new(texts, PASS_TOKENS) {
        let encoded = sae.encode(&batch.activations(model, site, &mut ())?)?;
        for text in batch.texts() {
            for position in pooled_positions(text.tokens.len()) {
                let row = text.rows.start + position;
                for peak in &mut peaks {
                    let activation = encoded.features.value(row, peak.feature);
                    if activation > peak.activation {
                        *peak = Peak {
                            activation,
                            text: text.number,
                            position,
                            ..*peak
                        };
                    }
                }
            }
        }
    }
    Ok(peaks)
}

/// Texts of many kinds, one per line, for when no others are given.
pub const REFERENCE_TEXTS: &str = include_str!("reference.txt");

impl Peak {
    /// The multiple of this peak as an amount.
    ///
    /// # Errors
    /// When the feature was never active, so that there is nothing to multiply.
    pub fn times(&self, multiple: f32) -> Result<Amount> {
        if self.activation > 0.0 {
            return Ok(Amount::Max {
                multiple,
                largest: self.activation,
            });
        }
        Err(Error::Argument(format!(
            "feature {} is not active anywhere in the reference text, so it has no largest activation \
             to multiply; give another text or another unit",
            self.feature
        )))
    }
}
