//! One line of `metrics.jsonl`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder;
use crate::error::{Error, Result};
use crate::train::Metrics;

/// One line of `metrics.jsonl`: what training said, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// What training said.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Memory held, in MB, where the system tells.
    #[serde(default)]
    pub memory_mb: Option<f64>,
    /// Seconds that the steps left will take at this pace.
    #[serde(default)]
    pub seconds_left: f64,
}

impl MetricsLine {
    /// A line with what only training knows.
    pub fn new(metrics: &Metrics) -> MetricsLine {
        MetricsLine {
            metrics: metrics.clone(),
            ..MetricsLine::default()
        }
    }
}

/// The lines in a file. The last one may be cut off, where its writer was killed, and is left out then.
pub(super) fn read(path: &Path) -> Result<Vec<MetricsLine>> {
    let bytes = folder::read_metrics(path)?.unwrap_or_default();
    let parsed = whole(&bytes)
        .enumerate()
        .map(|(at, line)| parse(path, at, line));
    parsed.collect()
}

/// The bytes of a file's lines that are not of later steps than `step`.
pub(super) fn until(path: &Path, step: u64) -> Result<Vec<u8>> {
    let bytes = folder::read_metrics(path)?.unwrap_or_default();
    let mut kept = Vec::new();
    for (at, line) in whole(&bytes).enumerate() {
        if parse(path, at, line)?.metrics.step <= step {
            kept.extend_from_slice(line);
        }
    }
    Ok(kept)
}

/// Lines with their ends.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

fn parse(path: &Path, at: usize, line: &[u8]) -> Result<MetricsLine> {
    serde_json::from_slice(line).map_err(|e| Error::format(path, format!("line {}: {e}", at + 1)))
}

/// A line as it stands in the file.
pub(super) fn text(path: &Path, line: &MetricsLine) -> Result<String> {
    let text = serde_json::to_string(line)
        .map_err(|e| Error::format(path, format!("a line cannot be written: {e}")))?;
    Ok(text + "\n")
}
