//! Finds the files of an autoencoder: its weights, and the configurations beside them.
//!
//! `foreign` reads their content.

use std::path::{Path, PathBuf};

use super::Sae;
use super::files::{AutoencoderFiles, ConfigObject};
use super::foreign;
use super::foreign::end_of;
use super::record::SourceFile;
use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::error::{Error, Result};
use crate::run_folder;

const SAELENS: &str = "sae_weights.safetensors";
const SPARSIFY: &str = "sae.safetensors";

/// File names of weights in the order in which a folder is searched, each with its configuration's.
const NAMES: [(&str, &str); 5] = [
    (SAELENS, "cfg.json"),
    (SPARSIFY, "cfg.json"),
    ("ae.pt", "config.json"),
    ("params.npz", "config.json"),
    ("params.safetensors", "config.json"),
];

pub(super) fn open(path: &Path) -> Result<Sae> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let file = if kind.is_dir() {
        find(path)?
    } else if path.extension().is_some_and(|e| e == "json") {
        find(path.parent().unwrap_or(Path::new("")))?
    } else {
        path.to_path_buf()
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let weights = Checkpoint::open(&file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = NAMES.iter().find(|(weights, _)| *weights == name);
    // A checkpoint that dictionary_learning writes in training lies one folder below its configuration.
    let config = match beside {
        Some((_, config)) => ConfigObject::open(&folder.join(config))?,
        None => match ConfigObject::open(&folder.join("config.json"))? {
            None => ConfigObject::open(&folder.join("../config.json"))?,
            found => found,
        },
    };
    let scaler = if name == SAELENS {
        ConfigObject::open(&folder.join("activation_scaler.json"))?
    } else {
        None
    };
    let run = if name == SPARSIFY {
        ConfigObject::open(&folder.join("../config.json"))?
    } else {
        None
    };
    foreign::read(&AutoencoderFiles {
        weights,
        config: config.unwrap_or_else(|| ConfigObject::none(&file)),
        scaler,
        run,
    })
}

/// Fills in the hash of each of `files` that is found at `path`, from which an autoencoder was opened:
/// the file itself, files in the folder or beside the file, and the configuration one folder above.
pub(super) fn hash_files(files: &mut [SourceFile], path: &Path) -> Result<()> {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    for file in files {
        let name = file.name.rsplit('/').next().unwrap_or_default();
        let mut places = [folder.join(name), folder.join("..").join(name)].into_iter();
        let is_it = |place: &PathBuf| {
            end_of(place) == file.name
                && std::fs::metadata(place).is_ok_and(|kind| kind.len() == file.bytes)
        };
        if let Some(place) = places.find(is_it) {
            let (hash, _) = digest::of_file(&place)?;
            file.sha256 = Some(digest::hex(&hash));
        }
    }
    Ok(())
}

pub(super) fn is_at(path: &Path) -> bool {
    let named = |name: &str| NAMES.iter().any(|(weights, _)| *weights == name);
    if path.is_dir() {
        return in_folder(path).is_some();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Models are not kept in these; a `.bin` or `.safetensors` may hold either.
    let own = path.extension().is_some_and(|e| e == "pt" || e == "npz");
    named(&name) || own || name == "cfg.json"
}

pub(super) fn from_bytes(path: &Path, weights: Vec<u8>, config: Option<&[u8]>) -> Result<Sae> {
    let config = config
        .map(|config| ConfigObject::parse(path, config))
        .transpose()?;
    foreign::read(&AutoencoderFiles {
        weights: Checkpoint::from_bytes(path, weights)?,
        config: config.unwrap_or_else(|| ConfigObject::none(path)),
        scaler: None,
        run: None,
    })
}

/// The path of the weights in a folder.
fn find(folder: &Path) -> Result<PathBuf> {
    in_folder(folder).ok_or_else(|| {
        if run_folder::autoencoder(folder).is_some() {
            let reason = "the folder holds a training run that has not finished, and no autoencoder yet; \
                          resume the training";
            return Error::format(folder, reason);
        }
        let names: Vec<&str> = NAMES.iter().map(|(weights, _)| *weights).collect();
        let names = names.join(", ");
        let reason = format!(
            "the folder holds no autoencoder: none of {names}; name the file, or a folder in this one"
        );
        Error::format(folder, reason)
    })
}

/// The path of the weights in a folder, or in the autoencoder's folder of a training run.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let within = |folder: &Path| {
        let mut known = NAMES.iter().map(|(weights, _)| folder.join(weights));
        known.find(|path| path.is_file())
    };
    within(folder).or_else(|| within(&run_folder::autoencoder(folder)?))
}
