//! The one way to look at, or change, a forward pass.
//!
//! A [`Hook`] is an argument of the call, so nothing is registered and nothing can be forgotten.
//! Hooks compose as tuples, the left one first: `(steer, capture)` captures steered values.

use std::collections::HashMap;
use std::ops::Range;

use saescope_kernels::Matrix;

use crate::error::{Error, Result};
use crate::site::Site;

/// Where the rows of an activation come from: one entry per row.
///
/// A batch is ragged, never padded: the rows of its sequences follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// For each sequence its number of rows and the absolute position of the first of them.
    spans: Vec<RowSpan>,
}

/// The rows that one sequence has in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSpan {
    /// Absolute position, in the sequence, of the first row; above 0 when a cache holds the rest.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
}

impl Rows {
    /// Rows of sequences laid one after another.
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

    /// Number of rows in all.
    pub fn len(&self) -> usize {
        self.spans.iter().map(|span| span.len).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The positions of a text of so many tokens that speak for it when they are pooled: all but the first.
///
/// Whatever the text says, BOS or not, attention rests on the first token and its activation is of
/// another size (Xiao et al. 2023, Sun et al. 2024). A text of one token has only that to show.
pub fn pooled_positions(tokens: usize) -> Range<usize> {
    usize::from(tokens > 1)..tokens
}

/// Looks at activations, or changes them, as a forward pass computes them.
pub trait Hook: Send {
    /// Whether [`Hook::at`] is to be called for `site`. A pass that returns no logits stops at the
    /// last site wanted, and an activation that nobody wants may never be formed.
    fn wants(&self, site: Site) -> bool;

    /// Receives the activation at `site`, one row per token, and returns what flows on in its place.
    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> Result<Matrix>;
}

/// Wants nothing and changes nothing.
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

/// Keeps a copy of the activations at some sites.
pub struct Capture {
    wanted: Vec<Site>,
    taken: HashMap<Site, Matrix>,
}

impl Capture {
    /// A hook that copies the activations at `sites`.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Capture {
        Capture {
            wanted: sites.into_iter().collect(),
            taken: HashMap::new(),
        }
    }

    /// Hands out what was captured at `site`, the rows of successive passes one after another.
    ///
    /// # Errors
    /// When nothing was captured there; the message lists the sites that were.
    pub fn take(&mut self, site: Site) -> Result<Matrix> {
        self.taken.remove(&site).ok_or_else(|| {
            let mut held: Vec<Site> = self.taken.keys().copied().collect();
            held.sort();
            let held: Vec<String> = held.iter().map(Site::to_string).collect();
            let reason = if held.is_empty() {
                "nothing was captured".to_owned()
            } else {
                format!("not captured; captured are {}", held.join(", "))
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
                        what: format!("rows captured at {site} in successive passes"),
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
