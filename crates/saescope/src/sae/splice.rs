//! Putting an autoencoder into a forward pass, and changing features on the way.

use saescope_kernels::{Matrix, SparseRows, scatter_rows};
use serde::{Deserialize, Serialize};

use super::{Encoded, Sae};
use crate::edit::Span;
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::site::Site;

/// A change to the activation of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which.
    pub feature: u32,
    /// At which tokens.
    #[serde(default)]
    pub span: Span,
    /// What becomes of its activation.
    pub op: FeatureOp,
}

/// What becomes of a feature's activation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureOp {
    /// It is this, active before or not; 0 ablates the feature.
    Set(f32),
    /// It is multiplied; where the feature is not active, nothing changes.
    Scale(f32),
}

impl FeatureOp {
    fn apply(self, activation: f32) -> f32 {
        match self {
            FeatureOp::Set(value) => value,
            FeatureOp::Scale(factor) => factor * activation,
        }
    }
}

/// A hook that puts an autoencoder in the place of an activation.
///
/// [`Splice::edit`] keeps what the autoencoder does not reconstruct: only the difference that changed
/// features make is added, so that a token on which nothing changes keeps its bits.
/// [`Splice::replace`] puts the reconstruction, changes included, in the activation's place.
pub struct Splice<'a> {
    sae: &'a Sae,
    site: Site,
    out_site: Site,
    span: Span,
    changes: Vec<Change>,
    keep_error: bool,
    /// What a transcoder has read and not yet written.
    read: Option<Encoded>,
}

impl<'a> Splice<'a> {
    /// Changes features and keeps the error term.
    ///
    /// # Errors
    /// When a feature does not exist, a value is not finite, or the autoencoder's site is not known.
    pub fn edit(sae: &'a Sae, changes: Vec<Change>) -> Result<Splice<'a>> {
        for change in &changes {
            sae.direction(change.feature)?;
            let (FeatureOp::Set(value) | FeatureOp::Scale(value)) = change.op;
            if !value.is_finite() {
                let feature = change.feature;
                let message = format!("feature {feature}: {value} is no activation");
                return Err(Error::Argument(message));
            }
        }
        Ok(Splice {
            sae,
            site: sae.site()?,
            out_site: sae.out_site()?,
            span: Span::All,
            changes,
            keep_error: true,
            read: None,
        })
    }

    /// Puts the reconstruction, with these features changed, in the place of the activation.
    ///
    /// # Errors
    /// As [`Splice::edit`].
    pub fn replace(sae: &'a Sae, changes: Vec<Change>) -> Result<Splice<'a>> {
        Ok(Splice {
            keep_error: false,
            ..Splice::edit(sae, changes)?
        })
    }

    /// Leaves tokens outside of `span` as they are.
    #[must_use]
    pub fn within(self, span: Span) -> Splice<'a> {
        Splice { span, ..self }
    }

    /// Reads, or a transcoder writes, at `site` instead of where the record says.
    #[must_use]
    pub fn placed(self, site: Site) -> Splice<'a> {
        let reads = if self.sae.is_transcoder() {
            self.site
        } else {
            site
        };
        Splice {
            site: reads,
            out_site: site,
            ..self
        }
    }

    /// The new activations of the features of a row that is at `position`, where they differ, in
    /// ascending order of features.
    fn changed(&self, position: usize, encoded: &Encoded, row: usize) -> Vec<(u32, f32)> {
        let mut changed: Vec<(u32, f32)> = Vec::new();
        let here = |change: &&Change| change.span.contains(position);
        for change in self.changes.iter().filter(here) {
            let feature = change.feature;
            match changed.binary_search_by_key(&feature, |c| c.0) {
                Ok(at) => changed[at].1 = change.op.apply(changed[at].1),
                Err(at) => {
                    let value = encoded.features.value(row, feature);
                    changed.insert(at, (feature, change.op.apply(value)));
                }
            }
        }
        changed.retain(|&(feature, value)| value != encoded.features.value(row, feature));
        changed
    }

    /// Whether anything is done to the token at `position`.
    fn touches(&self, position: usize) -> bool {
        let wanted = |change: &Change| change.span.contains(position);
        self.span.contains(position) && (!self.keep_error || self.changes.iter().any(wanted))
    }

    /// Rows of a batch that are touched, with their positions.
    fn touched(&self, rows: &Rows) -> (Vec<usize>, Vec<usize>) {
        let touched = rows.positions().enumerate();
        touched
            .filter(|(_, position)| self.touches(*position))
            .unzip()
    }

    /// Writes to the touched rows of `x` what `encoded`, of those rows, becomes.
    fn write(&self, touched: &(Vec<usize>, Vec<usize>), encoded: &Encoded, x: &mut Matrix) {
        if self.keep_error {
            let mut differences = SparseRows::default();
            for (at, &position) in touched.1.iter().enumerate() {
                differences.push(self.differences(position, encoded, at));
            }
            differences.add_product_to_rows(&self.sae.w_dec, x, &touched.0);
            return;
        }
        let mut features = SparseRows::default();
        for (at, &position) in touched.1.iter().enumerate() {
            let changed = self.changed(position, encoded, at);
            let kept = encoded.features.entries(at);
            let kept = kept.filter(|(f, _)| changed.binary_search_by_key(f, |c| c.0).is_err());
            let new = changed.iter().copied().filter(|&(_, value)| value != 0.0);
            let mut all: Vec<(u32, f32)> = kept.chain(new).collect();
            all.sort_unstable_by_key(|(feature, _)| *feature);
            features.push(all);
        }
        let decoded = self.sae.decode(&encoded.with(features));
        scatter_rows(&decoded, x, &touched.0);
    }

    /// The multiple of its direction that each changed feature adds to a row at `position`.
    fn differences(&self, position: usize, encoded: &Encoded, at: usize) -> Vec<(u32, f32)> {
        let scale = encoded.written_scale(at);
        let changed = self.changed(position, encoded, at).into_iter();
        changed
            .map(|(feature, value)| {
                let difference = (value - encoded.features.value(at, feature)) * scale;
                (feature, difference)
            })
            .collect()
    }
}

impl Hook for Splice<'_> {
    fn wants(&self, site: Site) -> bool {
        site == self.site || site == self.out_site
    }

    fn at(&mut self, site: Site, rows: &Rows, mut x: Matrix) -> Result<Matrix> {
        let touched = self.touched(rows);
        if touched.0.is_empty() {
            return Ok(x);
        }
        if site == self.site {
            self.read = Some(self.sae.encode(&x.select_rows(&touched.0))?);
        }
        if site != self.out_site {
            return Ok(x);
        }
        if x.cols() != self.sae.d_out() {
            return Err(Error::Shape {
                what: format!("width of {site} for the autoencoder that writes there"),
                expected: self.sae.d_out().to_string(),
                found: x.cols().to_string(),
            });
        }
        let encoded = self.read.take().filter(|e| e.rows() == touched.0.len());
        let encoded = encoded.ok_or_else(|| Error::Site {
            site: site.to_string(),
            reason: format!(
                "the transcoder that writes here reads at {}, which comes later",
                self.site
            ),
        })?;
        self.write(&touched, &encoded, &mut x);
        Ok(x)
    }
}
