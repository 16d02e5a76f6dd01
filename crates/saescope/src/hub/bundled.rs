//! Bundled files by name: `demo/NAME` is a file beside the bundled model.

use std::path::{Path, PathBuf};

use super::{DEMO, HubOptions, demo, refused};
use crate::error::{Error, Result};

/// The bundled file or folder that `path` names as `demo/NAME`, unpacked if need be; `None` for any
/// other path.
///
/// # Errors
/// When no bundled file has that name, or the bundle cannot be unpacked.
pub fn bundled(path: &Path, options: &HubOptions) -> Result<Option<PathBuf>> {
    let Ok(name) = path.strip_prefix(DEMO) else {
        return Ok(None);
    };
    let folder = demo::unpacked(options)?;
    let file = folder.join(name);
    if file.exists() {
        return Ok(Some(file));
    }
    // A name with a slip in it most likely means a file of the same folder.
    let siblings = file.parent().filter(|parent| parent.is_dir());
    let names = names(siblings.unwrap_or(&folder))?.join(", ");
    let reason = format!("no bundled file has that name; the bundle has {names}");
    Err(refused(path.display(), &reason))
}

/// Names of the entries of a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundled_file_is_found_by_name_and_a_wrong_name_lists_the_others() {
        let cache = tempfile::tempdir().unwrap();
        let options = HubOptions::new(cache.path().join("hub"));
        let named = |path: &str| bundled(Path::new(path), &options);
        let stories = named("demo/stories.txt").unwrap().unwrap();
        assert!(stories.is_file() && stories.starts_with(cache.path()));
        assert_eq!(named("stories.txt").unwrap(), None);
        for (path, sibling) in [
            ("demo/story.txt", "stories.txt"),
            ("demo/model/none.bin", "stories260K.bin"),
            ("demo/none/none.txt", "stories.txt"),
        ] {
            let refused = named(path);
            assert!(
                matches!(&refused, Err(Error::Hub { reason, .. }) if reason.contains(sibling)),
                "{path}: {refused:?}"
            );
        }
    }
}
