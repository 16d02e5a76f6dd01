//! Hooks: the only way to read or change the activations of a forward pass.
//!
//! A [`Hook`] is an argument of the call, so no hook is ever registered and none has to be removed.
//! Hooks compose as tuples, the left one first: `(steer, capture)` captures steered values. This
//! module knows sites and positions; it knows no model and no autoencoder.

use std::collections::HashMap;
use std::ops::Range;

use saescope_kernels::Matrix;

use crate::error::{Error, Result};
use crate::site::Site;

/// The sequences and positions to which the rows of an activation belong.
///
/// A batch is ragged, never padded: the rows of its sequences follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// One span per sequence, in row order.
    spans: Vec<RowSpan>,
}

/// The rows of one sequence in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSpan {
    /// Absolute position of the first row in the sequence; above 0 when a cache holds the tokens before it.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
}

impl Rows {
    /// The rows of sequences that follow each other.
    pub fn new(spans: Vec<RowSpan>) -> Rows {
        Rows { spans }
    }

    /// The sequences, in row order.
    pub fn spans(&self) -> &[RowSpan] {
        &self.spans
    }

    /// The absolute position of every row, in row order.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.spans
            .iter()
            .flat_map(|span| span.start..span.start + span.len)
    }

    /// Total number of rows.
    pub fn len(&self) -> usize {
        self.spans.iter().map(|span| span.len).sum()
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The positions to pool in a text of `tokens` tokens: all but the first, or the only one.
///
/// Attention rests on the first token of any text, BOS or not, and its activation is of another
/// magnitude than all others (Xiao et al. 2023, Sun et al. 2024).
pub fn pooled_positions(tokens: usize) -> Range<usize> {
    usize::from(tokens > 1)..tokens
}

/// Reads or changes activations while a forward pass computes them.
pub trait Hook: Send {
    /// True if the pass must call [`Hook::at`] for `site`.
    ///
    /// A pass that returns no logits stops at the last wanted site. An activation that no hook wants
    /// may be fused into the next step and never exist.
    fn wants(&self, site: Site) -> bool;

    /// Receives the activation `x` at `site`, one row per token, and returns the activation with
    /// which the pass goes on: `x` itself, or another of the same shape.
    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix>;
}

/// The hook that wants no site.
impl Hook for () {
    fn wants(&self, _: Site) -> bool {
        false
    }

    fn at(&mut self, _: Site, _: &Rows, x: Matrix) -> Result<Matrix> {
        Ok(x)
    }
}

impl<A: Hook, B: Hook> Hook for (A, B) {
    fn wants(&self, site: Site) -> bool {
        self.0.wants(site) || self.1.wants(site)
    }

    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix> {
        let x = if self.0.wants(site) {
            self.0.at(site, rows, x)?
        } else {
            x
        };
        if self.1.wants(site) {
            self.1.at(site, rows, x)
        } else {
            Ok(x)
        }
    }
}

impl<H: Hook + ?Sized> Hook for &mut H {
    fn wants(&self, site: Site) -> bool {
        (**self).wants(site)
    }

    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix> {
        (**self).at(site, rows, x)
    }
}

/// A hook that keeps a copy of the activations at some sites.
pub struct Capture {
    wanted: Vec<Site>,
    taken: HashMap<Site, Matrix>,
}

impl Capture {
    /// Captures the activations at `sites`.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Capture {
        Capture {
            wanted: sites.into_iter().collect(),
            taken: HashMap::new(),
        }
    }

    /// Removes and returns the activations captured at `site`, the rows of successive passes one after
    /// another: `[rows, width]`.
    ///
    /// # Errors
    /// When nothing was captured there; the message lists the captured sites.
    pub fn take(&mut self, site: Site) -> Result<Matrix> {
        self.taken.remove(&site).ok_or_else(|| {
            let mut captured: Vec<Site> = self.taken.keys().copied().collect();
            captured.sort();
            let names: Vec<String> = captured.iter().map(Site::to_string).collect();
            let reason = if names.is_empty() {
                "nothing was captured".to_owned()
            } else {
                format!("not captured; captured sites are {}", names.join(", "))
            };
            Error::Site {
                site: site.to_string(),
                reason,
            }
        })
    }
}

impl Hook for Capture {
    fn wants(&self, site: Site) -> bool {
        self.wanted.contains(&site)
    }

    fn at(&mut self, site: Site, _: &Rows, x: Matrix) -> Result<Matrix> {
        let joined = match self.taken.remove(&site) {
            None => x.clone(),
            Some(mut before) => {
                if before.cols() != x.cols() {
                    return Err(Error::Shape {
                        what: format!("width of the rows captured at {site} in successive passes"),
                        expected: before.cols().to_string(),
                        found: x.cols().to_string(),
                    });
                }
                before.append_rows(&x);
                before
            }
        };
        self.taken.insert(site, joined);
        Ok(x)
    }
}
