//! The choices of a recipe that have names or a notation of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, by_name};

/// A feature and a factor of its own, which the scale multiplies. Written as `N` or `N=WEIGHT`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedFeature {
    /// Number of the feature.
    pub feature: u32,
    /// The factor.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// Unit of a scale. For features, see [`Amount`](crate::steer::Amount); a direction has the units `raw` and `norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleUnit {
    /// Multiples of the decoder row, or of the direction.
    #[default]
    Raw,
    /// The feature's activation: its decoder row with the autoencoder's norm undone.
    Activation,
    /// Multiples of the feature's largest activation on reference texts.
    Max,
    /// Fractions of the token's norm.
    Norm,
}

/// Change made to a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureSteering {
    /// The feature's direction is added.
    #[default]
    Add,
    /// The feature's activation is set.
    Set,
    /// The feature's activation is set to 0.
    Ablate,
}

/// Factor of a feature besides scale and weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// 1
    #[default]
    One,
    /// Its largest activation on the reference prompt.
    Actual,
}

impl FromStr for WeightedFeature {
    type Err = Error;

    fn from_str(text: &str) -> Result<WeightedFeature> {
        let (feature, weight) = text.split_once('=').unwrap_or((text, "1"));
        let feature = feature.parse().ok();
        let weight = weight.parse().ok().filter(|w: &f32| w.is_finite());
        match (feature, weight) {
            (Some(feature), Some(weight)) => Ok(WeightedFeature { feature, weight }),
            _ => Err(Error::Argument(
                "expected a feature's number, such as 12 or 12=1.5".to_owned(),
            )),
        }
    }
}

impl ScaleUnit {
    /// Every unit.
    pub const ALL: [ScaleUnit; 4] = [
        ScaleUnit::Raw,
        ScaleUnit::Activation,
        ScaleUnit::Max,
        ScaleUnit::Norm,
    ];

    /// Its name in files, JSON and arguments.
    pub fn name(self) -> &'static str {
        match self {
            ScaleUnit::Raw => "raw",
            ScaleUnit::Activation => "activation",
            ScaleUnit::Max => "max",
            ScaleUnit::Norm => "norm",
        }
    }
}

impl fmt::Display for ScaleUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ScaleUnit {
    type Err = Error;

    fn from_str(text: &str) -> Result<ScaleUnit> {
        by_name("unit", text, &ScaleUnit::ALL, ScaleUnit::name)
    }
}

impl Slot {
    /// Every slot.
    pub const ALL: [Slot; 2] = [Slot::One, Slot::Actual];

    /// Its name in files, JSON and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Slot::One => "one",
            Slot::Actual => "actual",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Slot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Slot> {
        by_name("slot", text, &Slot::ALL, Slot::name)
    }
}
