//! Steering: edits as a hook, recipes that make edits, and their effect on a text.
//!
//! [`Steer`] applies edits to a forward pass. A [`SteeringRecipe`] of features, directions and scales expands
//! into lists of edits, one per [`Setting`]; [`feature_edit`] makes a single one. [`steer`] writes a text
//! without edits and under each list, and measures the difference. Files of edits and of vectors are
//! read elsewhere.

mod compare;
mod feature;
mod first;
mod measure;
mod recipe;
mod span;

pub use compare::{Comparison, Effect, Request, Shift, Steered, Text, steer};
pub use feature::{Amount, Peak, REFERENCE_TEXTS, feature_edit, peaks};
pub use first::{LongFirstPosition, long_first_positions};
pub use measure::{Divergence, divergence, losses, perplexity, repetition};
pub use recipe::{
    Direction, FeatureSteering, LargestActivation, ReferenceActivations, ReferenceTexts, ScaleUnit,
    Setting, SettingName, Slot, SteeringRecipe, WeightedFeature, setting_names,
};
pub use span::RelativeSpan;

use saescope_kernels::Matrix;

use crate::edit::{DirectionEdit, Edit, Op};
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::sae::{FeatureChange, NamedSae, Splice};
use crate::site::Site;

/// A hook that applies edits in order, each at its site and span.
///
/// Successive changes to features of one autoencoder share one encoding.
pub struct Steer<'a> {
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Edit(DirectionEdit),
    Features(Splice<'a>),
}

impl<'a> Steer<'a> {
    /// A hook that applies `edits`; `saes` holds the autoencoders that they name.
    ///
    /// # Errors
    /// When an autoencoder is missing or lacks a feature, or a number is not finite.
    pub fn new(edits: &[Edit], saes: &[&'a NamedSae]) -> Result<Steer<'a>> {
        let mut steps = Vec::new();
        let alike =
            |a: &Edit, b: &Edit| a.sae().is_some() && (a.sae(), a.site) == (b.sae(), b.site);
        for group in edits.chunk_by(alike) {
            let first = &group[0];
            let Some(name) = first.sae() else {
                steps.push(Step::Edit(DirectionEdit::new(first)?));
                continue;
            };
            let sae = NamedSae::find(saes, name).ok_or_else(|| {
                let site = first.site;
                Error::Argument(format!(
                    "an edit at {site} needs the autoencoder {name}, which is not open"
                ))
            })?;
            let changes = group.iter().filter_map(change).collect();
            let splice = Splice::edit(sae, changes)?.placed(first.site);
            steps.push(Step::Features(splice));
        }
        Ok(Steer { steps })
    }
}

/// The change that an edit makes to a feature, if it changes one.
fn change(edit: &Edit) -> Option<FeatureChange> {
    match edit.op {
        Op::Feature { feature, op, .. } => Some(FeatureChange {
            feature,
            span: edit.span.clone(),
            op,
        }),
        Op::Direction(_) => None,
    }
}

impl Step<'_> {
    fn wants(&self, site: Site) -> bool {
        match self {
            Step::Edit(edit) => edit.site() == site,
            Step::Features(splice) => splice.wants(site),
        }
    }
}

impl Hook for Steer<'_> {
    fn wants(&self, site: Site) -> bool {
        self.steps.iter().any(|step| step.wants(site))
    }

    fn at(&mut self, site: Site, rows: &Rows, mut x: Matrix) -> Result<Matrix> {
        let original = x.clone();
        for step in self.steps.iter_mut().filter(|step| step.wants(site)) {
            match step {
                Step::Edit(edit) => edit.apply(rows, &original, &mut x)?,
                Step::Features(splice) => x = splice.at(site, rows, x)?,
            }
        }
        Ok(x)
    }
}
