//! The bundled model with its autoencoder, texts and presets. `build.rs` packs `assets/demo` into the
//! library; this module unpacks it, once, to the folder for files that do not come from the Hub.

use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;

use super::{HubOptions, Kind};
use crate::error::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/demo.rs"));

/// The folder of the model, or of the autoencoder, or the file of stories.
///
/// # Errors
/// When the bundle cannot be unpacked.
pub(super) fn folder(kind: Kind, options: &HubOptions) -> Result<PathBuf> {
    let part = match kind {
        Kind::Model => "model",
        Kind::Autoencoder => "sae",
        Kind::Dataset => "stories.txt",
    };
    Ok(unpacked(options)?.join(part))
}

/// The folder that holds everything bundled: `model`, `sae`, `stories.txt`, `phrases`, `presets`. The
/// folder is complete whenever it exists, and named after its content.
///
/// # Errors
/// When the folder cannot be written.
pub fn unpacked(options: &HubOptions) -> Result<PathBuf> {
    let parent = &options.storage_cache;
    let folder = parent.join(format!("demo-{DIGEST}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |e| Error::io(parent, e);
    std::fs::create_dir_all(parent).map_err(failed)?;
    let beside = tempfile::tempdir_in(parent).map_err(failed)?;
    for (name, packed) in FILES {
        unpack(&beside.path().join(name), packed)?;
    }
    match std::fs::rename(beside.path(), &folder) {
        // Another process was faster, with the same files.
        Err(_) if folder.is_dir() => {}
        renamed => renamed.map_err(failed)?,
    }
    Ok(folder)
}

fn unpack(path: &Path, packed: &[u8]) -> Result<()> {
    let failed = |e| Error::io(path, e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::File::create(path).map_err(failed)?;
    std::io::copy(&mut ZlibDecoder::new(packed), &mut file).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_has_the_files_of_the_repository_and_is_unpacked_once() {
        let cache = tempfile::tempdir().unwrap();
        let options = HubOptions::new(cache.path().join("hub"));
        let folder = unpacked(&options).unwrap();
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo");
        for (name, _) in FILES {
            let (kept, bundled) = (assets.join(name), folder.join(name));
            assert!(
                std::fs::read(kept).unwrap() == std::fs::read(bundled).unwrap(),
                "{name}"
            );
        }
        std::fs::write(folder.join("stories.txt"), "kept").unwrap();
        assert_eq!(unpacked(&options).unwrap(), folder);
        assert_eq!(std::fs::read(folder.join("stories.txt")).unwrap(), b"kept");
        // Nothing but the folder is left.
        assert_eq!(
            std::fs::read_dir(&options.storage_cache).unwrap().count(),
            1
        );
    }

    #[test]
    fn the_demo_has_a_model_an_autoencoder_and_stories() {
        let cache = tempfile::tempdir().unwrap();
        let options = HubOptions::new(cache.path().join("hub"));
        let at = |kind, name: &str| folder(kind, &options).unwrap().join(name);
        assert!(at(Kind::Model, "stories260K.bin").is_file());
        assert!(at(Kind::Autoencoder, "cfg.json").is_file());
        assert!(folder(Kind::Dataset, &options).unwrap().is_file());
    }
}
