//! The two names in the folder of a training run that tell it from others and lead to its autoencoder.
//!
//! `runs` owns the rest of the layout; `sae` opens a run's autoencoder by the run's folder.

use std::path::{Path, PathBuf};

/// The file of metrics, by which a folder is known to be that of a run.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The folder of the autoencoder that a run ends with.
pub(crate) const AUTOENCODER: &str = "sae";

/// The folder of the autoencoder, if `folder` is that of a run; an unfinished run has none there yet.
pub(crate) fn autoencoder(folder: &Path) -> Option<PathBuf> {
    let is_run = folder.join(METRICS).is_file();
    is_run.then(|| folder.join(AUTOENCODER))
}
