//! Where the bundled model and its autoencoder lie once they are unpacked.

use std::path::PathBuf;

use super::{DEMO, HubOptions, Kind, refused};
use crate::error::Result;

/// The folder of the model, or of the autoencoder.
///
/// # Errors
/// This build bundles neither.
pub(super) fn folder(kind: Kind, _options: &HubOptions) -> Result<PathBuf> {
    let (what, other) = match kind {
        Kind::Model => ("model", "a model, such as a folder or `org/name`"),
        Kind::Autoencoder => (
            "autoencoder",
            "an autoencoder, such as a folder or `org/name/folder`",
        ),
        Kind::Dataset => ("texts", "a file, or a data set such as `org/name`"),
    };
    let reason = format!("this build bundles no {what}; name {other}");
    Err(refused(DEMO, &reason))
}
