//! Folders of training runs: written, read, judged and shown as pages. Owns their layout on disk.
//!
//! ```text
//! RUN/config.json                     the configuration of the run, written before the first step
//! RUN/metrics.jsonl                   one line for each log step
//! RUN/checkpoints/step-N.safetensors  states to resume from; the last two are kept
//! RUN/sae/                            the autoencoder, as SAELens 6 lays it out
//! RUN/eval.json                       evaluation on held-out texts
//! RUN/report.html                     report for people
//! ```
//!
//! Every file but the metrics, which only grow, is written to a temporary file and renamed, so that an
//! interrupted run loses only the steps since its last checkpoint. A sweep is a folder of such folders.

mod advice;
mod begin;
mod config;
mod folder;
mod held_out;
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
pub use held_out::{HeldOutNumbers, HeldOutQuality};
pub use line::MetricsLine;
pub use predict::ResourceEstimate;
pub use report::{ComparisonRow, write_comparison};
pub use saved::SavedRun;
pub use state::{load_state, save_state};
pub use verdict::{Finding, Level, Verdict, verdict};
pub use writer::{Existing, Writer, common_step};

#[cfg(test)]
mod tests;
