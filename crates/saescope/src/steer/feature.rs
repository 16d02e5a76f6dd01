//! Edits that turn a feature up, in each unit, and the largest activations of features.

use saescope_kernels::norm;

use crate::edit::{DirectionOp, Edit, Unit};
use crate::error::{Error, Result};
use crate::hook::pooled_positions;
use crate::model::{Model, PASS_TOKENS, TextBatches};
use crate::sae::{InputNorm, Sae};

/// Multiple of a feature's direction that is added to a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// This multiple of its decoder row, as articles and Neuronpedia mean it.
    Raw(f32),
    /// The contribution of the feature to a reconstruction in which this is its activation; the
    /// autoencoder's norm is undone.
    Activation(f32),
    /// The same at a multiple of its largest activation on some texts.
    Max {
        /// The multiple.
        multiple: f32,
        /// The activation.
        largest: f32,
    },
    /// Its direction, scaled to this fraction of the token's norm.
    Norm(f32),
}

/// An edit that adds the direction of `feature` at every token, the first included, of the site where
/// the autoencoder writes.
///
/// On a token where the feature is inactive, [`Amount::Activation`] equals setting the activation and
/// splicing with the error term; where it is active, the amount is added to its activation.
///
/// # Errors
/// When there is no such feature, or the site of the autoencoder is not known.
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

/// Scale and unit at which `direction` is added for an activation, given the norm that decoding undoes.
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
        // Decoding multiplies with `|x| / sqrt(d)`, and `Unit::Norm` divides by the direction's norm.
        InputNorm::ConstantNorm => {
            let norm = norm(direction) as f32;
            (activation * norm / d.sqrt(), Unit::Norm)
        }
    }
}

/// Largest activation of a feature in some texts, and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Number of the feature.
    pub feature: u32,
    /// The activation; 0 if the feature is never active.
    pub activation: f32,
    /// Number of the text, from 0.
    pub text: usize,
    /// Position in the text, from 0.
    pub position: usize,
}

/// The largest activation of each of `features` in `texts`, at the positions of
/// [`pooled_positions`].
///
/// # Errors
/// When a feature does not exist, the site of the autoencoder is not known, or a text does not fit the
/// context.
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

/// Texts of many kinds, one per line: the default reference for largest activations.
pub const REFERENCE_TEXTS: &str = include_str!("reference.txt");

impl Peak {
    /// A multiple of this peak as an amount.
    ///
    /// # Errors
    /// When the feature was never active, so that there is nothing to multiply.
    pub fn times(&self, multiple: f32) -> Result<Amount> {
        largest_times(self.feature, self.activation, multiple)
    }
}

/// A multiple of a feature's largest activation as an amount.
pub(super) fn largest_times(feature: u32, largest: f32, multiple: f32) -> Result<Amount> {
    if largest > 0.0 {
        return Ok(Amount::Max { multiple, largest });
    }
    Err(Error::Argument(format!(
        "feature {feature} is not active anywhere in the reference texts, so it has no largest \
         activation to multiply; use other texts or another unit"
    )))
}
