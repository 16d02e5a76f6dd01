//! One line of `metrics.jsonl`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder;
use crate::error::{Error, Result};
use crate::train::Metrics;

/// One line of `metrics.jsonl`: the metrics of training, memory and time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// The metrics of training.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Memory of the process in MB, if the system reports it.
    #[serde(default)]
    pub memory_mb: Option<f64>,
    /// Seconds that the remaining steps will take at the speed so far.
    #[serde(default)]
    pub seconds_left: f64,
}

impl MetricsLine {
    /// A line of metrics alone.
    pub fn new(metrics: &Metrics) -> MetricsLine {
        MetricsLine {
            metrics: metrics.clone(),
            ..MetricsLine::default()
        }
    }
}

/// Reads the lines of a file, without a last line that was cut off.
pub(super) fn read(path: &Path) -> Result<Vec<MetricsLine>> {
    let bytes = folder::read_metrics(path)?.unwrap_or_default();
    let parsed = whole(&bytes)
        .enumerate()
        .map(|(at, line)| parse(path, at, line));
    parsed.collect()
}

/// The bytes of the lines of a file up to and including `step`.
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

/// The complete lines, with their line ends.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

fn parse(path: &Path, at: usize, line: &[u8]) -> Result<MetricsLine> {
    serde_json::from_slice(line).map_err(|e| Error::format(path, format!("line {}: {e}", at + 1)))
}

/// The text of a line in the file.
pub(super) fn text(path: &Path, line: &MetricsLine) -> Result<String> {
    let text = serde_json::to_string(line)
        .map_err(|e| Error::format(path, format!("a line cannot be written: {e}")))?;
    Ok(text + "\n")
}
