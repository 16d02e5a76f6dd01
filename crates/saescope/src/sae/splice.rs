//! Puts an autoencoder into a forward pass and changes features there.

use saescope_kernels::{Matrix, SparseRows, scatter_rows};

use super::{Encoded, Sae};
use crate::edit::{FeatureOp, Span};
use crate::error::{Error, Result};
use crate::hook::{Hook, Rows};
use crate::site::Site;

/// A change to the activation of one feature.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureChange {
    /// Id of the feature.
    pub feature: u32,
    /// The tokens at which it is changed.
    pub span: Span,
    /// The change to its activation.
    pub op: FeatureOp,
}

/// A hook that puts an autoencoder in the place of an activation.
///
/// [`Splice::edit`] keeps the error term: it adds only the difference that the changed features make, so
/// that a token on which nothing changes keeps its bits. [`Splice::replace`] puts the reconstruction,
/// changes included, in the activation's place.
pub struct Splice<'a> {
    sae: &'a Sae,
    site: Site,
    out_site: Site,
    span: Span,
    changes: Vec<FeatureChange>,
    keep_error: bool,
    /// The features that were read and not yet written; a transcoder writes at a later site.
    read: Option<Encoded>,
}

/// The rows of a batch that a splice may change.
struct TouchedRows {
    /// Their numbers in the batch.
    rows: Vec<usize>,
    /// Their positions in their texts, one for each row.
    positions: Vec<usize>,
}

impl<'a> Splice<'a> {
    /// Changes features and keeps the error term.
    ///
    /// # Errors
    /// When a feature does not exist, a number is not finite, or the autoencoder's site is unknown.
    pub fn edit(sae: &'a Sae, changes: Vec<FeatureChange>) -> Result<Splice<'a>> {
        for change in &changes {
            sae.direction(change.feature)?;
            if !change.op.is_finite() {
                let what = format!("the change of feature {}", change.feature);
                return Err(Error::NotANumber { what });
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

    /// Puts the reconstruction, with these features changed, in the activation's place.
    ///
    /// # Errors
    /// As [`Splice::edit`].
    pub fn replace(sae: &'a Sae, changes: Vec<FeatureChange>) -> Result<Splice<'a>> {
        Ok(Splice {
            keep_error: false,
            ..Splice::edit(sae, changes)?
        })
    }

    /// Restricts the splice to the tokens in `span`.
    #[must_use]
    pub fn within(self, span: Span) -> Splice<'a> {
        Splice { span, ..self }
    }

    /// Moves the splice to `site`: the one that a transcoder writes, and others read and write.
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

    /// The features of a row at `position` whose activations change, with their new activations, in
    /// ascending order of ids.
    fn changed(&self, position: usize, encoded: &Encoded, row: usize) -> Vec<(u32, f32)> {
        let mut changed: Vec<(u32, f32)> = Vec::new();
        let here = |change: &&FeatureChange| change.span.contains(position);
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

    /// True if the token at `position` may change.
    fn touches(&self, position: usize) -> bool {
        let wanted = |change: &FeatureChange| change.span.contains(position);
        self.span.contains(position) && (!self.keep_error || self.changes.iter().any(wanted))
    }

    /// The rows of a batch that may change.
    fn touched(&self, rows: &Rows) -> TouchedRows {
        let (rows, positions) = rows
            .positions()
            .enumerate()
            .filter(|(_, position)| self.touches(*position))
            .unzip();
        TouchedRows { rows, positions }
    }

    /// Writes the touched rows of `x`; `encoded` holds the features of those rows alone.
    fn write(&self, touched: &TouchedRows, encoded: &Encoded, x: &mut Matrix) {
        if self.keep_error {
            let mut differences = SparseRows::default();
            for (at, &position) in touched.positions.iter().enumerate() {
                differences.push(self.differences(position, encoded, at));
            }
            differences.add_product_to_rows(&self.sae.w_dec, x, &touched.rows);
            return;
        }
        let mut features = SparseRows::default();
        for (at, &position) in touched.positions.iter().enumerate() {
            let changed = self.changed(position, encoded, at);
            let kept = encoded.features.entries(at);
            let kept = kept.filter(|(f, _)| changed.binary_search_by_key(f, |c| c.0).is_err());
            let new = changed.iter().copied().filter(|&(_, value)| value != 0.0);
            let mut all: Vec<(u32, f32)> = kept.chain(new).collect();
            all.sort_unstable_by_key(|(feature, _)| *feature);
            features.push(all);
        }
        let decoded = self.sae.decode(&encoded.with(features));
        scatter_rows(&decoded, x, &touched.rows);
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
        if touched.rows.is_empty() {
            return Ok(x);
        }
        if site == self.site {
            self.read = Some(self.sae.encode(&x.select_rows(&touched.rows))?);
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
        let encoded = self.read.take().filter(|e| e.rows() == touched.rows.len());
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
