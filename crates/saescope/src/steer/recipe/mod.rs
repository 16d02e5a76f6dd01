//! Steering as data: features, directions and scales, expanded into lists of edits.
//!
//! A [`SteeringRecipe`] is what a person asks for, and says nothing of a model but sites and numbers of
//! features. [`SteeringRecipe::activations`] looks up the activations that its unit and slot multiply;
//! [`SteeringRecipe::settings`] expands it without running a model. Files, flags and texts written under the
//! edits are the business of others.

mod choice;
mod names;

use serde::{Deserialize, Serialize};

pub use self::choice::{FeatureSteering, ScaleUnit, Slot, WeightedFeature};
pub use self::names::setting_names;

use super::feature::{Amount, REFERENCE_TEXTS, feature_edit, largest_times, peaks};
use super::span::RelativeSpan;
use crate::edit::{DirectionOp, Edit, FeatureOp, Op, Unit};
use crate::error::{Error, Result};
use crate::features::CutTexts;
use crate::model::Model;
use crate::sae::Sae;
use crate::site::Site;
use crate::tokenizer::{Bos, Tokenizer};

/// Largest number of features of which every combination is tried: 63 settings.
const MAX_COMBINED: usize = 6;

/// Features and directions to turn up, and how far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SteeringRecipe {
    /// Reference of the autoencoder; edits that set activations name it.
    pub sae: Option<String>,
    /// Features of that autoencoder, each at most once.
    pub features: Vec<WeightedFeature>,
    /// Directions that belong to no feature.
    pub directions: Vec<Direction>,
    /// Edits that come first in every setting, with scales and spans of their own.
    pub edits: Vec<Edit>,
    /// Multipliers, one setting each; without any, there is one setting of scale 1.
    pub scales: Vec<f32>,
    /// Unit of the scales; by default `raw`, or `activation` where features are set.
    pub unit: Option<ScaleUnit>,
    /// Change made to a feature.
    pub change: FeatureSteering,
    /// Factor of a feature besides scale and weight; [`Slot::Actual`] makes settings of both kinds.
    pub slot: Slot,
    /// Text whose largest activations [`Slot::Actual`] uses.
    pub reference_prompt: Option<String>,
    /// Texts whose largest activations [`ScaleUnit::Max`] multiplies; by default [`REFERENCE_TEXTS`].
    pub reference: Option<ReferenceTexts>,
    /// Positions at which features and directions are changed.
    pub span: RelativeSpan,
    /// True for one group of settings per subset of the features, false for all of them together.
    pub combinations: bool,
}

/// A direction at a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// The site.
    pub site: Site,
    /// `[d]`
    pub direction: Vec<f32>,
    /// Label of its edits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Texts on which activations are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceTexts {
    /// Name under which results mention them.
    pub name: String,
    /// The texts.
    pub texts: Vec<String>,
}

/// A list of edits under which texts are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The choices of the recipe that made it.
    pub name: SettingName,
    /// The edits, in order.
    pub edits: Vec<Edit>,
}

/// The choices that tell a setting from the others of its recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingName {
    /// Features that are changed.
    pub features: Vec<u32>,
    /// The scale; `None` where the recipe has none.
    pub scale: Option<f32>,
    /// Its unit.
    pub unit: ScaleUnit,
    /// The slot.
    pub slot: Slot,
}

/// Largest activations that the settings of a recipe multiply, one per feature and kind of text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferenceActivations {
    /// On the reference texts; empty unless the unit is [`ScaleUnit::Max`].
    pub texts: Vec<LargestActivation>,
    /// On the reference prompt; empty unless the slot is [`Slot::Actual`].
    pub prompt: Vec<LargestActivation>,
}

/// Largest activation of a feature, and its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LargestActivation {
    /// Number of the feature.
    pub feature: u32,
    /// The activation; 0 if it is never active.
    pub activation: f32,
    /// The token where it is largest.
    pub token: String,
    /// Name of the texts.
    pub text: String,
}

impl SteeringRecipe {
    /// Unit of the scales.
    pub fn unit(&self) -> ScaleUnit {
        self.unit.unwrap_or(match self.change {
            FeatureSteering::Set => ScaleUnit::Activation,
            FeatureSteering::Add | FeatureSteering::Ablate => ScaleUnit::Raw,
        })
    }

    /// Checks everything that needs neither a model nor an autoencoder.
    ///
    /// # Errors
    /// When a feature or a scale is repeated, features have no autoencoder, fields contradict each
    /// other, or there are too many combinations.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Argument(message));
        let features = &self.features;
        let number = |at: usize| features[at].feature;
        if let Some(at) = repeated(features.len(), |a, b| number(a) == number(b)) {
            return refuse(format!("features: {} is repeated", number(at)));
        }
        let scales = &self.scales;
        if let Some(at) = repeated(scales.len(), |a, b| scales[a] == scales[b]) {
            return refuse(format!("scales: {} is repeated", scales[at]));
        }
        if !features.is_empty() && self.sae.is_none() {
            return refuse("features need an autoencoder; name it in `sae`".to_owned());
        }
        if self.combinations && features.len() > MAX_COMBINED {
            let n = features.len();
            let settings = (1_u128 << n.min(100)) - 1;
            return refuse(format!(
                "combinations of {n} features are {settings} settings; use at most {MAX_COMBINED} features"
            ));
        }
        let unit = self.unit();
        if !self.directions.is_empty() {
            direction_unit(unit)?;
        }
        if self.change == FeatureSteering::Set && matches!(unit, ScaleUnit::Raw | ScaleUnit::Norm) {
            return refuse(format!(
                "unit: a feature is set to an activation, so its unit is activation or max, not {unit}"
            ));
        }
        if self.change == FeatureSteering::Ablate && features.iter().any(|f| f.weight != 1.0) {
            return refuse(
                "an ablated feature has activation 0 whatever its weight; omit the weights"
                    .to_owned(),
            );
        }
        if self.slot == Slot::Actual && self.reference_prompt.is_none() {
            return refuse("slot `actual` needs a `reference_prompt`".to_owned());
        }
        Ok(())
    }

    /// Looks up the activations that the unit and the slot multiply. Texts are cut to the context of the
    /// model and of the autoencoder.
    ///
    /// # Errors
    /// When a feature does not exist, or the site of the autoencoder is not known.
    pub fn activations(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        sae: &Sae,
        bos: Bos,
    ) -> Result<ReferenceActivations> {
        let features: Vec<u32> = self.features.iter().map(|f| f.feature).collect();
        let look_up = |texts: &ReferenceTexts| {
            let encoded = CutTexts::encode(model, tokenizer, sae, &texts.texts, bos)?.ids;
            let peaks = peaks(model, sae, &encoded, &features)?;
            let largest = peaks.iter().map(|peak| {
                let tokens = encoded.get(peak.text);
                let token = tokens.and_then(|tokens| tokens.get(peak.position));
                let piece = token.map(|&id| String::from_utf8_lossy(tokenizer.piece(id)));
                LargestActivation {
                    feature: peak.feature,
                    activation: peak.activation,
                    token: piece.unwrap_or_default().into_owned(),
                    text: texts.name.clone(),
                }
            });
            Ok::<_, Error>(largest.collect())
        };
        let mut found = ReferenceActivations::default();
        if self.unit() == ScaleUnit::Max {
            found.texts = match &self.reference {
                Some(texts) => look_up(texts)?,
                None => look_up(&ReferenceTexts::built_in())?,
            };
        }
        if let (Slot::Actual, Some(prompt)) = (self.slot, &self.reference_prompt) {
            found.prompt = look_up(&ReferenceTexts {
                name: "the reference prompt".to_owned(),
                texts: vec![prompt.clone()],
            })?;
        }
        Ok(found)
    }

    /// One setting for every subset of features, slot and scale, in this order, for a prompt of
    /// `prompt` tokens. `activations` are those of [`SteeringRecipe::activations`].
    ///
    /// # Errors
    /// Those of [`SteeringRecipe::check`]; when there is no such feature, the site of the autoencoder is not
    /// known, or an activation is missing or 0.
    pub fn settings(
        &self,
        sae: Option<&Sae>,
        activations: &ReferenceActivations,
        prompt: usize,
    ) -> Result<Vec<Setting>> {
        self.check()?;
        let scales: Vec<Option<f32>> = if self.scales.is_empty() {
            vec![None]
        } else {
            self.scales.iter().copied().map(Some).collect()
        };
        let slots: &[Slot] = match self.slot {
            Slot::One => &[Slot::One],
            Slot::Actual => &[Slot::One, Slot::Actual],
        };
        let span = self.span.of(prompt);
        let mut settings = Vec::new();
        for features in self.subsets() {
            for &slot in slots {
                for &scale in &scales {
                    let mut edits = self.edits.clone();
                    for &feature in &features {
                        let factor = FeatureFactor {
                            feature,
                            scale,
                            slot,
                        };
                        edits.push(self.feature_edit(sae, factor, activations)?);
                    }
                    for direction in &self.directions {
                        edits.push(direction.edit(scale.unwrap_or(1.0), self.unit())?);
                    }
                    for edit in &mut edits[self.edits.len()..] {
                        edit.span = span.clone();
                    }
                    let name = SettingName {
                        features: features.iter().map(|f| f.feature).collect(),
                        scale,
                        unit: self.unit(),
                        slot,
                    };
                    settings.push(Setting { name, edits });
                }
            }
        }
        Ok(settings)
    }

    /// All features together, or each non-empty subset of them, smaller subsets first.
    fn subsets(&self) -> Vec<Vec<WeightedFeature>> {
        if !self.combinations {
            return vec![self.features.clone()];
        }
        let mut masks: Vec<u32> = (1..1 << self.features.len()).collect();
        // Among subsets of one size, those of the features given first come first.
        masks.sort_by_key(|mask| (mask.count_ones(), std::cmp::Reverse(mask.reverse_bits())));
        let subset = |mask: u32| {
            let all = self.features.iter().enumerate();
            let chosen = all.filter(|(at, _)| mask >> at & 1 == 1);
            chosen.map(|(_, feature)| *feature).collect()
        };
        masks.into_iter().map(subset).collect()
    }

    fn feature_edit(
        &self,
        sae: Option<&Sae>,
        factor: FeatureFactor,
        activations: &ReferenceActivations,
    ) -> Result<Edit> {
        let (Some(sae), Some(name)) = (sae, &self.sae) else {
            let message = "features need an autoencoder, and none is open";
            return Err(Error::Argument(message.to_owned()));
        };
        let WeightedFeature { feature, weight } = factor.feature;
        let slot = match factor.slot {
            Slot::One => 1.0,
            Slot::Actual => activation_of(&activations.prompt, feature)?,
        };
        let scale = factor.scale.unwrap_or(1.0) * weight * slot;
        let amount = match self.unit() {
            ScaleUnit::Raw => Amount::Raw(scale),
            ScaleUnit::Activation => Amount::Activation(scale),
            ScaleUnit::Norm => Amount::Norm(scale),
            ScaleUnit::Max => {
                let largest = activation_of(&activations.texts, feature)?;
                largest_times(feature, largest, scale)?
            }
        };
        let activation = match (self.change, amount) {
            (FeatureSteering::Add, _) => return feature_edit(sae, feature, amount),
            (FeatureSteering::Ablate, _) => 0.0,
            (FeatureSteering::Set, Amount::Max { multiple, largest }) => multiple * largest,
            (FeatureSteering::Set, Amount::Activation(activation)) => activation,
            (FeatureSteering::Set, Amount::Raw(_) | Amount::Norm(_)) => {
                let message = format!("unit: a feature cannot be set in {}", self.unit());
                return Err(Error::Argument(message));
            }
        };
        sae.direction(feature)?;
        let op = Op::Feature {
            sae: name.clone(),
            feature,
            op: FeatureOp::Set(activation),
        };
        Ok(Edit {
            label: Some(format!("feature {feature}")),
            ..Edit::new(sae.out_site()?, op)
        })
    }
}

/// A feature with the choices of one setting.
#[derive(Clone, Copy)]
struct FeatureFactor {
    feature: WeightedFeature,
    scale: Option<f32>,
    slot: Slot,
}

impl Direction {
    /// An edit that adds the direction at every token.
    fn edit(&self, scale: f32, unit: ScaleUnit) -> Result<Edit> {
        let op = DirectionOp::Add {
            direction: self.direction.clone(),
            scale,
            unit: direction_unit(unit)?,
        };
        Ok(Edit {
            label: self.label.clone(),
            ..Edit::new(self.site, op)
        })
    }
}

/// The unit in which a direction without a feature is added.
fn direction_unit(unit: ScaleUnit) -> Result<Unit> {
    match unit {
        ScaleUnit::Raw => Ok(Unit::Raw),
        ScaleUnit::Norm => Ok(Unit::Norm),
        ScaleUnit::Activation | ScaleUnit::Max => Err(Error::Argument(format!(
            "unit: a direction has no activation, so its unit is raw or norm, not {unit}"
        ))),
    }
}

fn activation_of(found: &[LargestActivation], feature: u32) -> Result<f32> {
    let found = found.iter().find(|largest| largest.feature == feature);
    found.map(|largest| largest.activation).ok_or_else(|| {
        let message = format!("the largest activation of feature {feature} was not looked up");
        Error::Argument(message)
    })
}

/// The first index below `count` that equals an earlier one.
fn repeated(count: usize, equal: impl Fn(usize, usize) -> bool) -> Option<usize> {
    (0..count).find(|&at| (0..at).any(|earlier| equal(earlier, at)))
}

impl ReferenceTexts {
    /// Texts of many kinds.
    pub fn built_in() -> ReferenceTexts {
        ReferenceTexts {
            name: "the built-in text".to_owned(),
            texts: REFERENCE_TEXTS.lines().map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
