//! Finds the files of an autoencoder: its weights, and the configurations beside them.
//!
//! `foreign` reads their content.

use std::path::{Path, PathBuf};

use super::Sae;
use super::files::{self, AutoencoderFiles, ConfigObject};
use super::foreign;
use super::foreign::end_of;
use super::other;
use super::record::SourceFile;
use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::error::{Error, Result};
use crate::run_folder;

const SAELENS: &str = "sae_weights.safetensors";
const SPARSIFY: &str = "sae.safetensors";

/// File names of weights in the order in which a folder is searched, each with its configurations' in the
/// order in which they count.
const NAMES: [(&str, &[&str]); 7] = [
    (SAELENS, &["cfg.json", "config.json", "hyperparams.json"]),
    (SPARSIFY, &["cfg.json"]),
    ("ae.pt", &["config.json"]),
    ("params.npz", &["config.json"]),
    ("params.safetensors", &["config.json"]),
    ("checkpoints/pruned.safetensors", PLACES),
    ("checkpoints/final.safetensors", PLACES),
];

/// Where the configuration of weights of any other name is. A checkpoint of a training lies one folder
/// below it.
const PLACES: &[&str] = &[
    "cfg.json",
    "hyperparams.json",
    "config.json",
    "config.yaml",
    "../hyperparams.json",
    "../config.json",
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
    let config = configuration(&file, folder, &name)?;
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
        prefix: files::prefix(&weights),
        weights,
        config: config.unwrap_or_else(|| ConfigObject::none(&file)),
        scaler,
        run,
    })
}

/// The configuration of the weights `name` in `folder`, if there is one.
fn configuration(file: &Path, folder: &Path, name: &str) -> Result<Option<ConfigObject>> {
    let known = NAMES.iter().find(|(weights, _)| *weights == name);
    let places = known.map_or(PLACES, |(_, places)| places);
    // One of its own counts before one of the folder.
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let own = format!("{stem}_cfg.json");
    for place in [own.as_str()].into_iter().chain(places.iter().copied()) {
        if let Some(config) = ConfigObject::open(&folder.join(place))? {
            return Ok(Some(config));
        }
    }
    Ok(None)
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
        let mut places = ["", "..", "checkpoints", "checkpoints/.."]
            .map(|inner| folder.join(inner).join(name))
            .into_iter();
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
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let own = matches!(extension, "pt" | "npz")
        || extension == "pth" && !name.starts_with("consolidated");
    named(&name) || own || name == "cfg.json" || extension == "safetensors" && holds(path)
}

/// True if a safetensors file holds the tensors of an autoencoder: an encoder and a decoder at its root.
fn holds(path: &Path) -> bool {
    const PAIRS: [[&str; 2]; 5] = [
        ["W_enc", "W_dec"],
        ["w_enc", "w_dec"],
        ["W_E", "W_D"],
        ["encoder.weight", "W_dec"],
        ["encoder.weight", "decoder.weight"],
    ];
    Checkpoint::open(path).is_ok_and(|file| {
        let prefix = files::prefix(&file);
        let has = |name: &&str| file.tensor(&format!("{prefix}{name}")).is_ok();
        PAIRS.iter().any(|pair| pair.iter().all(has))
    })
}

pub(super) fn members(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if in_folder(folder).is_some() {
        return found;
    }
    let mut seen = 0;
    collect(folder, folder, 0, &mut seen, &mut found);
    found.sort();
    found
}

/// Adds the autoencoders below `folder`, relative to `root`: folders of one, and files of their own.
fn collect(root: &Path, folder: &Path, depth: usize, seen: &mut usize, found: &mut Vec<PathBuf>) {
    const DEPTH: usize = 4;
    const MOST: usize = 4096;
    let Ok(listing) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        *seen += 1;
        if *seen > MOST {
            return;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let relative = || path.strip_prefix(root).unwrap_or(&path).to_path_buf();
        if path.is_dir() && !name.starts_with('.') {
            if in_folder(&path).is_some() {
                found.push(relative());
            } else if depth < DEPTH {
                collect(root, &path, depth + 1, seen, found);
            }
        } else if path.is_file() && name != "cfg.json" && is_at(&path) {
            found.push(relative());
        }
    }
}

pub(super) fn from_bytes(path: &Path, weights: Vec<u8>, config: Option<&[u8]>) -> Result<Sae> {
    let config = config
        .map(|config| ConfigObject::parse(path, config))
        .transpose()?;
    let weights = Checkpoint::from_bytes(path, weights)?;
    foreign::read(&AutoencoderFiles {
        prefix: files::prefix(&weights),
        weights,
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
        if let Some(reason) = several(&members(folder)) {
            return Error::format(folder, reason);
        }
        if let Err(error) = other::check_folder(folder) {
            return error;
        }
        let names: Vec<&str> = NAMES.iter().map(|(weights, _)| *weights).collect();
        let names = names.join(", ");
        let reason = format!(
            "the folder holds no autoencoder: none of {names}; name the file, or a folder in this one"
        );
        Error::format(folder, reason)
    })
}

/// The reason for a folder that holds autoencoders within.
fn several(members: &[PathBuf]) -> Option<String> {
    const SHOWN: usize = 8;
    let first = members.first()?;
    let names: Vec<String> = members
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect();
    let more = match members.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (many, them) = match members.len() {
        1 => ("an autoencoder".to_owned(), "it"),
        many => (format!("{many} autoencoders"), "one"),
    };
    Some(format!(
        "the folder holds {many} within: {}{more}; name {them}, as in FOLDER/{}",
        names.join(", "),
        first.display()
    ))
}

/// The path of the weights in a folder, or in the autoencoder's folder of a training run.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let within = |folder: &Path| {
        let mut known = NAMES.iter().map(|(weights, _)| folder.join(weights));
        known.find(|path| path.is_file())
    };
    // Weights of any name belong to a cfg.json that describes an autoencoder, if no others are there.
    let only = |folder: &Path| {
        let config = ConfigObject::open(&folder.join("cfg.json")).ok()??;
        let known = ["d_sae", "architecture", "num_latents"];
        known.iter().find(|key| config.get(key).is_some())?;
        let listing = std::fs::read_dir(folder).ok()?;
        let files = listing.filter_map(|entry| Some(entry.ok()?.path()));
        let mut weights = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
        weights
            .next()
            .filter(|path| weights.next().is_none() && holds(path))
    };
    within(folder)
        .or_else(|| only(folder))
        .or_else(|| within(&run_folder::autoencoder(folder)?))
}
