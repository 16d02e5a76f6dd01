//! Run folders: what a training leaves on the disk. Nothing else knows their layout.
//!
//! ```text
//! RUN/config.json                     everything that made it, written before the first step
//! RUN/metrics.jsonl                   one line for each log step
//! RUN/checkpoints/step-N.safetensors  where it can go on; the last two are kept
//! RUN/sae/                            the autoencoder, as SAELens 6 lays it out
//! RUN/eval.json                       how it does on texts it has not seen
//! RUN/report.html                     all of it for people
//! ```
//!
//! Every file is written beside its place and renamed, but for the metrics, which only grow: whatever
//! kills a run, it loses what came after its last checkpoint and nothing else. A sweep is a folder of
//! such folders.

mod advice;
mod begin;
mod config;
mod folder;
mod line;
mod predict;
mod report;
mod saved;
mod state;
mod verdict;
mod writer;

pub use advice::{Advice, FieldChange};
pub use begin::{PlannedRun, ReadyRun, begin};
pub use config::{Difference, Machine, ModelOrigin, RunConfig};
pub use line::MetricsLine;
pub use predict::Predicted;
pub use report::{ComparisonRow, write_comparison};
pub use saved::SavedRun;
pub use state::{load_state, save_state};
pub use verdict::{Finding, Level, Verdict, verdict};
pub use writer::{Existing, Writer, common_step};

#[cfg(test)]
mod tests;
