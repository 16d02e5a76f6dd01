//! Screens rule out most features of an encoder by products of integers with a proven bound.
//!
//! Rows of activations and of the encoder are rounded to integers, each row with a unit of its own,
//! so that a dot product is an exact sum of integers: the same bits on every processor. Its
//! distance from the product of the rows themselves is bounded by the norms of the rounding errors
//! (Cauchy-Schwarz), so no active feature is ever lost. A screen computes bounds; `encode` knows
//! the gate and decides by exact values.

#[cfg(target_arch = "x86_64")]
pub(crate) mod bytes;
mod columns;
mod rounding;
#[cfg(target_arch = "x86_64")]
mod selection;
mod words;

#[cfg(target_arch = "x86_64")]
pub(crate) use selection::Selection;
pub(crate) use words::{Candidates, WordScreen};
