//! The arguments of `steer` as a recipe.

use std::path::Path;

use anyhow::Context as _;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use saescope::edit::Edit;
use saescope::site::Site;
use saescope::steer::{
    Direction, FeatureSteering, ReferenceTexts, ScaleUnit, Slot, SteeringRecipe,
};
use saescope::vector::Vector;

use super::Args;
use crate::args::sae::lines;
use crate::usage::usage;

/// Parses the name of a unit.
pub(super) fn unit() -> impl TypedValueParser<Value = ScaleUnit> {
    let values = [
        ("raw", "Multiples of the decoder row, or of the vector"),
        (
            "activation",
            "Activations of the feature: its decoder row with the autoencoder's norm undone",
        ),
        (
            "max",
            "Multiples of the feature's largest activation on the reference texts",
        ),
        ("norm", "Fractions of the token's norm"),
    ];
    named(values).try_map(|name| name.parse())
}

/// Parses the name of a slot.
pub(super) fn slot() -> impl TypedValueParser<Value = Slot> {
    let values = [
        ("one", "1"),
        (
            "actual",
            "Both 1 and the largest activation of the feature on the reference prompt",
        ),
    ];
    named(values).try_map(|name| name.parse())
}

fn named<const N: usize>(values: [(&'static str, &'static str); N]) -> PossibleValuesParser {
    PossibleValuesParser::new(values.map(|(name, help)| PossibleValue::new(name).help(help)))
}

impl Args {
    /// The recipe, without the directions of vectors, with `edits` before those that it makes.
    pub(super) fn recipe(&self, edits: Vec<Edit>) -> anyhow::Result<SteeringRecipe> {
        let reference = match &self.reference {
            Some(path) if self.unit != Some(ScaleUnit::Max) => {
                let path = path.display();
                usage!("--reference {path}: only --unit max looks up activations there")
            }
            Some(path) => Some(ReferenceTexts {
                name: path.display().to_string(),
                texts: lines("--reference", path)?,
            }),
            None => None,
        };
        if self.reference_prompt.is_some() && self.slot != Slot::Actual {
            usage!("--reference-prompt: only --slot actual looks up activations there");
        }
        let change = if self.ablate {
            FeatureSteering::Ablate
        } else if self.clamp {
            FeatureSteering::Set
        } else {
            FeatureSteering::Add
        };
        let recipe = SteeringRecipe {
            sae: Some(self.sae.reference().to_owned()),
            features: self.feature.clone(),
            directions: Vec::new(),
            edits,
            scales: self
                .scale
                .map_or_else(|| self.sweep.clone(), |scale| vec![scale]),
            unit: self.unit,
            change,
            slot: self.slot,
            reference_prompt: self.reference_prompt.clone(),
            reference,
            span: self.span.clone(),
            combinations: self.combinations,
        };
        recipe.check()?;
        Ok(recipe)
    }

    /// The directions of the vector files, of a file with several only that at --site. One without a
    /// site is at --site, or else at `recorded`.
    pub(super) fn directions(
        &self,
        recorded: Option<Site>,
        n_layers: usize,
    ) -> anyhow::Result<Vec<Direction>> {
        let mut directions = Vec::new();
        for path in &self.vector {
            let vector = read_vector(path, self.sae.site, recorded, n_layers)?;
            directions.extend(vector.directions.into_iter().map(|(site, direction)| {
                let label = Some(format!("vector {}", path.display()));
                Direction {
                    site,
                    direction,
                    label,
                }
            }));
        }
        Ok(directions)
    }
}

fn read_vector(
    path: &Path,
    wanted: Option<Site>,
    recorded: Option<Site>,
    n_layers: usize,
) -> anyhow::Result<Vector> {
    let site = wanted.or(recorded);
    let mut vector = Vector::open_at(path, site, Some(n_layers))?;
    vector
        .retain(wanted.as_slice())
        .with_context(|| path.display().to_string())?;
    Ok(vector)
}
