//! Tests of the public library: one binary, a module per subject.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod activations;
mod eval;
mod features;
mod forward;
mod generation;
mod golden;
mod lens;
mod sae;
mod steer;
mod steer_texts;
mod text;
mod tiny;
mod vector;
