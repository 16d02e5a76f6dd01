//! Steering: edits as a hook, edits made of features, and what they do to a text.
//!
//! [`Steer`] applies edits to a forward pass; [`feature_edit`] says what turning a feature up means in
//! each unit; [`steer`] writes a text with and without edits and measures the difference.

mod compare;
mod feature;
mod measure;

pub use compare::{Comparison, Request, Shift, Steered, Text, steer};
pub use feature::{Amount, Peak, REFERENCE_TEXTS, feature_edit, peaks};
pub use measure::{Divergence, divergence, losses, perplexity, repetition};

use saescope_kernels::Matrix;

use crate::edit::{DirectionEdit, Edit, Op};
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::sae::{FeatureChange, Sae, Splice};
use crate::site::Site;

/// Autoencoders by the references with which edits name them.
pub type Saes<'a> = [(&'a str, &'a Sae)];

/// Applies edits, in order, wherever they say.
///
/// Changes to features of the same autoencoder that follow each other are made on one encoding.
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
    pub fn new(edits: &[Edit], saes: &[(&str, &'a Sae)]) -> Result<Steer<'a>> {
        let mut steps = Vec::new();
        let alike =
            |a: &Edit, b: &Edit| a.sae().is_some() && (a.sae(), a.site) == (b.sae(), b.site);
        for group in edits.chunk_by(alike) {
            let first = &group[0];
            let Some(name) = first.sae() else {
                steps.push(Step::Edit(DirectionEdit::new(first)?));
                continue;
            };
            let found = saes.iter().find(|(known, _)| *known == name);
            let (_, sae) = found.ok_or_else(|| {
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

/// What an edit does to a feature, if it does that.
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
