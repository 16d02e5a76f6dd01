//! Finds the files of a checkpoint, and opens each with the reader of its format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::file::File;
use super::tensor::Entry;
use super::{Checkpoint, FileContent, Metadata, gguf, llama2c, npz, safetensors, torch, zip};
use crate::error::{Error, Result};
use crate::stand_in;

/// Names of checkpoints in a folder, the most preferred first.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Most bytes of an index, a list of names; those of the largest models are under 1 MB.
const MAX_INDEX: u64 = 64 << 20;

pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let file = if kind.is_dir() {
        find(path)?
    } else {
        path.to_path_buf()
    };
    let opened = if file.to_string_lossy().ends_with(".index.json") {
        sharded(&file)?
    } else {
        single(&file, File::open(&file)?)?
    };
    Ok(Checkpoint {
        path: path.to_path_buf(),
        ..opened
    })
}

/// A checkpoint of one file.
pub(super) fn single(path: &Path, file: File) -> Result<Checkpoint> {
    let (file, parsed) = match npz::rewrite(path, file.bytes())? {
        Some(npz::Rewritten { bytes, content }) => (File::held(path, bytes), content),
        None => {
            let parsed = parse(path, file.bytes())?;
            (file, parsed)
        }
    };
    let mut tensors = BTreeMap::new();
    for (name, entry) in parsed.tensors {
        insert(path, &mut tensors, name, (0, entry))?;
    }
    Ok(Checkpoint {
        path: path.to_path_buf(),
        files: vec![file],
        tensors,
        metadata: parsed.metadata,
    })
}

/// The file in `folder` that is, or lists, a checkpoint.
fn find(folder: &Path) -> Result<PathBuf> {
    for name in NAMES {
        let path = folder.join(name);
        if path.is_file() {
            // transformers would load the model that the adapter names, and change it.
            return match stand_in::folder::adapter(folder) {
                Some(reason) => Err(Error::format(
                    folder,
                    format!("{reason}; or name {name}, to have it without the adapter"),
                )),
                None => Ok(path),
            };
        }
    }
    let mut found = ending(folder, ".gguf")?;
    let is_bin = found.is_empty();
    if is_bin {
        found = ending(folder, ".bin")?;
    }
    if let Some(reason) = stand_in::folder::gguf_parts(&found) {
        return Err(Error::format(folder, reason));
    }
    let models: Vec<PathBuf> = found
        .iter()
        .filter(|path| !is_no_model(&name_of(path)))
        .cloned()
        .collect();
    // The name of a GGUF only decides between several: models are called after what made them, too.
    if is_bin || !models.is_empty() {
        found = models;
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let none = || {
                let names = NAMES.join(", ");
                format!("the folder holds no checkpoint: none of {names}, *.gguf, *.bin")
            };
            let reason = stand_in::folder::reason(folder).unwrap_or_else(none);
            Err(Error::format(folder, reason))
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| name_of(path)).collect();
            let names = names.join(", ");
            Err(Error::format(
                folder,
                format!("the folder holds several checkpoints; name one of {names}"),
            ))
        }
    }
}

/// The files of a folder whose names end with `suffix`, sorted.
fn ending(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if name_of(&path).ends_with(suffix) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// True for the first bytes of a file of tensors, of any format that has such.
pub(crate) fn holds_tensors(bytes: &[u8]) -> bool {
    let magics = [gguf::MAGIC, npz::MAGIC, zip::MAGIC];
    magics.iter().any(|magic| bytes.starts_with(magic))
        || safetensors::begins(bytes)
        || torch::begins_old(bytes)
}

/// Reads one file by its first bytes, or else by the end of its name.
fn parse(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    // The length of a header may look like the first bytes of something else.
    if !safetensors::begins(bytes) {
        stand_in::check(path, bytes)?;
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    // A pickle begins with 0x80 and its protocol, or in the oldest protocols with anything. The size
    // 640 of a llama2.c file begins like one, and a zero follows, which is not an opcode.
    let pickle = matches!(extension, "pt" | "pth" | "pkl")
        || name.starts_with("pytorch_model")
        || matches!(bytes, [0x80, 2..=5, 1..=255, ..]);
    if bytes.starts_with(gguf::MAGIC) {
        gguf::parse(path, bytes)
    } else if bytes.starts_with(npz::MAGIC) {
        npz::parse_one(path, bytes)
    } else if bytes.starts_with(zip::MAGIC) {
        let archive = zip::Archive::read(path, bytes)?;
        if npz::is_npz(&archive) {
            npz::parse(path, bytes, &archive)
        } else {
            torch::parse_zip(path, bytes, &archive)
        }
    } else if torch::begins_old(bytes) {
        torch::parse_old(path, bytes)
    } else if extension == "safetensors" || safetensors::begins(bytes) {
        safetensors::parse(path, bytes)
    } else if extension == "gguf" {
        Err(Error::format(path, "not a GGUF file, by its first bytes"))
    } else if pickle {
        Err(torch::refuse(path, bytes))
    } else if extension == "bin" {
        llama2c::parse(path, bytes)
    } else {
        // Other programs write llama2.c's format under any name.
        llama2c::parse(path, bytes).map_err(|_| {
            let known = "safetensors, a pickle of PyTorch, GGUF or llama2.c's";
            Error::format(path, format!("not a checkpoint of a known format: {known}"))
        })
    }
}

/// The part of an index file that names the file of each tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A checkpoint in several files of one folder, listed by `index`.
fn sharded(index: &Path) -> Result<Checkpoint> {
    let size = std::fs::metadata(index)
        .map_err(|e| Error::io(index, e))?
        .len();
    if size > MAX_INDEX {
        return Err(Error::format(index, format!("an index of {size} bytes")));
    }
    let text = std::fs::read(index).map_err(|e| Error::io(index, e))?;
    stand_in::check_text(index, &text)?;
    let listed: Index = serde_json::from_slice(&text)
        .map_err(|e| Error::format(index, format!("not an index of shards: {e}")))?;
    let folder = index.parent().unwrap_or(Path::new(""));

    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in &listed.weight_map {
        by_file.entry(file).or_default().push(tensor);
    }
    check_shards(index, folder, by_file.keys().copied())?;
    let mut files = Vec::with_capacity(by_file.len());
    let mut tensors = BTreeMap::new();
    let mut metadata = None;
    for (name, wanted) in by_file {
        let path = folder.join(name);
        let file = File::open(&path)?;
        let parsed = parse(&path, file.bytes())?;
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, entry) in parsed.tensors {
            insert(&path, &mut found, name, entry)?;
        }
        for tensor in wanted {
            let Some(entry) = found.remove(tensor) else {
                return Err(Error::MissingTensor {
                    path,
                    tensor: tensor.to_owned(),
                });
            };
            tensors.insert(tensor.to_owned(), (files.len(), entry));
        }
        metadata.get_or_insert(parsed.metadata);
        files.push(file);
    }
    Ok(Checkpoint {
        path: index.to_path_buf(),
        files,
        tensors,
        metadata: metadata.unwrap_or(Metadata::Safetensors(BTreeMap::new())),
    })
}

/// Refuses shards that lead outside the folder, or are not there, all of them by name.
fn check_shards<'a>(
    index: &Path,
    folder: &Path,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<()> {
    let count = names.len();
    let mut missing = Vec::new();
    for name in names {
        if !stays_inside(name) {
            return Err(Error::format(
                index,
                format!("shard `{name}` leads outside the folder"),
            ));
        }
        if !folder.join(name).is_file() {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let lost = missing.len();
    let listed = stand_in::folder::listed(&missing);
    let reason = format!(
        "{lost} of the {count} shards that it lists are not there: {listed}; download them"
    );
    Err(Error::format(index, reason))
}

/// True for files beside a model that are none by themselves: tokenizers, states of a training, shards,
/// adapters, image encoders, importance matrices.
fn is_no_model(name: &str) -> bool {
    // llama2.c has no fixed name for its models; its tokenizers are `tokenizer.bin` and the like.
    const BEGINNINGS: [&str; 7] = [
        "tok",
        "pytorch_model-",
        "adapter_model",
        "training_args",
        "optimizer",
        "scheduler",
        "rng_state",
    ];
    let named = BEGINNINGS.iter().any(|start| name.starts_with(start));
    (named && name.ends_with(".bin")) || name.contains("mmproj") || name.contains("imatrix")
}

/// True if a name from an index stays in the index's folder. Links may lead out of it: the Hub's cache
/// is made of links, and they are the user's own.
fn stays_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn insert<T>(path: &Path, into: &mut BTreeMap<String, T>, name: String, found: T) -> Result<()> {
    if into.contains_key(&name) {
        return Err(Error::tensor(path, &name, "the file has two of this name"));
    }
    into.insert(name, found);
    Ok(())
}
