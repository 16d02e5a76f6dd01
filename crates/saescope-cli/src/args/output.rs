//! Files that a command is to write.

use std::path::Path;

use anyhow::bail;

/// Says before the work what would otherwise be said after it.
pub(crate) fn check_output(path: &Path) -> anyhow::Result<()> {
    // Renaming a finished file over a device or a pipe would put the file in its place.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        bail!(
            "{}: not a regular file; name a file to write",
            path.display()
        );
    }
    let folder = path.parent().unwrap_or(path);
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        bail!(
            "{}: the folder does not exist; create it first",
            folder.display()
        );
    }
    Ok(())
}
