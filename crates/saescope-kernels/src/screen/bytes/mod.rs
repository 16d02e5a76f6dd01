//! A screen of bytes, for processors that multiply four pairs of bytes at once.
//!
//! Its bounds are wider than those of 16-bit integers and let more features pass. The value of such
//! a feature is therefore computed at once, while its row of the encoder is in the cache: the
//! thresholds are then those of exact values.

mod guess;
mod rounded;
mod scan;

pub(crate) use guess::ThresholdGuess;
pub(crate) use rounded::{ByteRows, ByteScreen};
pub(crate) use scan::ExactEncoder;
