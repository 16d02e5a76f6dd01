//! The files of a repository that a model needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stand_in;
use crate::tokenizer::{SENTENCE_PIECE, TOOL_TEMPLATE};

/// Small files, taken where there are any.
const CONFIGURATION: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    TOOL_TEMPLATE,
    "tokenizer.json",
];
/// Pairs that stand in for `tokenizer.json`, the most preferred first.
const VOCABULARIES: [[&str; 2]; 2] = [["vocab.json", "merges.txt"], ["encoder.json", "vocab.bpe"]];
/// Names of weights, the most preferred first. An index names further files.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The files to take from a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Files of one folder; the last one holds the weights, or is the index of those that do.
    Folder(Vec<String>),
    /// The one file that is the model.
    File(String),
}

/// Chooses from the `names` of a repository's files.
pub(super) fn needed(names: &BTreeSet<String>) -> Result<Needed, String> {
    let has = |name: &str| names.contains(name);
    let Some(weights) = WEIGHTS.into_iter().find(|name| has(name)) else {
        let ggufs: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| name.ends_with(".gguf"))
            .collect();
        let parts: Vec<PathBuf> = ggufs.iter().map(PathBuf::from).collect();
        if let Some(reason) = stand_in::folder::gguf_parts(&parts) {
            let reason = reason.replacen("the folder", "the repository", 1);
            return Err(format!("{reason}; download the parts first"));
        }
        if ggufs.is_empty() && has("adapter_config.json") {
            return Err(
                "the repository holds an adapter, not a model; merge it into the model that its \
                 adapter_config.json names (`merge_and_unload` of peft), save the result and name that"
                    .to_owned(),
            );
        }
        return match ggufs[..] {
            [only] => Ok(Needed::File(only.to_owned())),
            [] => Err(format!(
                "the repository has no weights: neither {} nor a GGUF",
                WEIGHTS.join(" nor ")
            )),
            [..] => Err(format!(
                "the repository has several GGUF files; name one, as in org/name/FILE: {}",
                ggufs.join(", ")
            )),
        };
    };
    let mut files: Vec<&str> = CONFIGURATION.into_iter().filter(|name| has(name)).collect();
    if !has("tokenizer.json") {
        let pair = VOCABULARIES
            .into_iter()
            .find(|pair| pair.iter().all(|name| has(name)));
        match pair {
            Some(pair) => files.extend(pair),
            None => files.extend(SENTENCE_PIECE.into_iter().find(|name| has(name))),
        }
    }
    files.push(weights);
    Ok(Needed::Folder(
        files.into_iter().map(str::to_owned).collect(),
    ))
}

/// The files that an index names.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let bytes = std::fs::read(index).map_err(|error| error.to_string())?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let map = json["weight_map"]
        .as_object()
        .ok_or("it has no `weight_map`")?;
    let mut shards = BTreeSet::new();
    for file in map.values() {
        match file.as_str() {
            Some(file) if is_plain(file) => shards.insert(file.to_owned()),
            _ => {
                return Err(format!(
                    "its `weight_map` names {file}, which is not a file name"
                ));
            }
        };
    }
    Ok(shards)
}

/// True if a weights file is an index of others.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

/// Path of `file`, or of the model, in a `folder` of the cache, if no file of it is missing.
pub(super) fn complete(folder: &Path, file: Option<&str>) -> Option<PathBuf> {
    // A broken link into the blobs is not a file.
    let has = |name: &str| folder.join(name).is_file();
    if let Some(file) = file {
        return has(file).then(|| folder.join(file));
    }
    let names = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| has(name))
        .collect();
    match needed(&names).ok()? {
        Needed::File(file) => Some(folder.join(file)),
        Needed::Folder(files) => {
            let weights = files.last()?;
            // Other programs may have downloaded the weights alone, or everything else.
            let tokenizer = has("tokenizer.json")
                || SENTENCE_PIECE.into_iter().any(has)
                || VOCABULARIES.iter().any(|p| has(p[1]));
            let whole = !is_index(weights)
                || shards(&folder.join(weights)).is_ok_and(|all| all.iter().all(|s| has(s)));
            (whole && tokenizer && has("config.json")).then(|| folder.to_path_buf())
        }
    }
}

/// True if a name, from a server or a person, stays within the folder it is joined to.
pub(super) fn is_plain(name: &str) -> bool {
    let fits = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(fits) && !name.contains(['\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str]) -> Result<Needed, String> {
        needed(&names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn only_needed_files_are_chosen() {
        let chosen = choose(&[
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "merges.txt",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "vocab.json",
        ]);
        let files = ["config.json", "tokenizer.json", "model.safetensors"];
        assert_eq!(chosen, Ok(Needed::Folder(files.map(str::to_owned).into())));

        let chosen = choose(&["merges.txt", "vocab.json", "pytorch_model.bin"]);
        let files = ["vocab.json", "merges.txt", "pytorch_model.bin"];
        assert_eq!(chosen, Ok(Needed::Folder(files.map(str::to_owned).into())));
    }

    #[test]
    fn one_of_several_ggufs_has_to_be_named() {
        assert_eq!(choose(&["a.gguf"]), Ok(Needed::File("a.gguf".to_owned())));
        assert!(
            choose(&["a.gguf", "b.gguf"])
                .unwrap_err()
                .contains("b.gguf")
        );
        assert!(choose(&["README.md"]).is_err());
        let split = choose(&["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]).unwrap_err();
        assert!(split.contains("repository holds 2 parts"), "{split}");
        let adapter = choose(&["adapter_config.json", "adapter_model.safetensors"]);
        assert!(adapter.unwrap_err().contains("merge"));
    }

    #[test]
    fn names_that_leave_their_folder_are_not_plain() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        assert!(is_plain("refs/pr/1"));
        for name in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "C:x",
            "a\\b",
            ".",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
