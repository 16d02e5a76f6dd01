//! Loading: from a file or folder to a configuration and weights.
//!
//! The only module that knows the names of tensors in checkpoints. Formats of files are the business of
//! [`checkpoint`](crate::checkpoint).

mod names;
mod rows;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use saescope_kernels::Precision;
use serde::Serialize;

use super::block::Weights;
use super::config::{Config, Parsed, TensorSettings, from_gguf, from_hf, from_llama2c};
use crate::checkpoint::{Checkpoint, gguf};
use crate::error::{Error, Result};
use crate::stand_in;
use names::{Convention, names};
use weights::Reader;

/// The checkpoint that a model came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Format of the checkpoint: `safetensors`, `pytorch`, `gguf` or `llama2c`.
    pub format: String,
    /// The files that hold its weights.
    pub files: Vec<PathBuf>,
    /// True if the unembedding is the embedding.
    pub tied: bool,
    /// Bytes that the weights take in the files.
    pub bytes: u64,
    /// The licence that the makers state, if any.
    pub licence: Option<String>,
}

/// Loads the model in a file, or in a folder with a `config.json` beside the weights.
pub(crate) fn load(path: &Path, precision: Precision) -> Result<(Config, Weights, Source)> {
    let checkpoint = Checkpoint::open(path)?;
    check_model(path, &checkpoint)?;
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    let (convention, parsed, licence) = if let Some(metadata) = checkpoint.gguf() {
        let licence = metadata.str("general.license")?.map(str::to_owned);
        (
            Convention::Gguf,
            parse_gguf(&checkpoint, metadata)?,
            licence,
        )
    } else if let Some(header) = checkpoint.llama2c() {
        (Convention::Llama2c, from_llama2c(path, header)?, None)
    } else {
        let parsed = from_hf(&folder.join("config.json"))?;
        (
            Convention::HuggingFace,
            parsed,
            licence_in(&folder.join("README.md")),
        )
    };
    let names = names(convention, parsed.config.family);
    let reader = Reader::new(&checkpoint, &parsed, names, precision)?;
    let weights = reader.weights()?;

    let read = reader.read();
    let files: BTreeSet<&Path> = read.iter().map(|tensor| tensor.path()).collect();
    let stored = |len: usize, block_len: usize, bytes: usize| (len / block_len * bytes) as u64;
    let source = Source {
        format: format_of(convention, &files).to_owned(),
        files: files.into_iter().map(Path::to_path_buf).collect(),
        tied: weights.unembed.is_none(),
        bytes: read
            .iter()
            .map(|tensor| (tensor.len(), tensor.dtype()))
            .map(|(len, dtype)| stored(len, dtype.block_len(), dtype.block_bytes()))
            .sum(),
        licence,
    };
    Ok((parsed.config, weights, source))
}

/// Refuses what only changes a model, or goes with one: adapters, image encoders, steering vectors.
fn check_model(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let is_adapter = |name: &str| {
        [".lora_A", ".lora_B", ".lora_a", ".lora_b"]
            .iter()
            .any(|mark| name.contains(mark))
    };
    if checkpoint.names().any(is_adapter) {
        let beside = path.parent().and_then(stand_in::folder::adapter);
        let reason = beside.unwrap_or_else(|| {
            "these are the matrices of a LoRA adapter, not a model; merge them into their model first \
             (`merge_and_unload` of peft, `llama-export-lora` of llama.cpp) and name the result"
                .to_owned()
        });
        return Err(Error::format(path, reason));
    }
    let Some(metadata) = checkpoint.gguf() else {
        return Ok(());
    };
    let kind = metadata.str("general.type")?.unwrap_or("model");
    let architecture = metadata.str("general.architecture")?.unwrap_or_default();
    let reason = match (kind, architecture) {
        ("adapter", _) => {
            "an adapter, not a model; merge it with `llama-export-lora` and name the result"
        }
        ("mmproj", _) | (_, "clip") => {
            "the image encoder of a model; name the GGUF of its language model, which lies beside it"
        }
        ("imatrix", _) => "an importance matrix for quantisation, not a model; name the model",
        (_, "controlvector") => "a steering vector, not a model; give it as a vector for a model",
        _ => return Ok(()),
    };
    Err(Error::format(path, reason))
}

fn parse_gguf(checkpoint: &Checkpoint, metadata: &gguf::Metadata) -> Result<Parsed> {
    let embed = checkpoint.tensor("token_embd.weight")?;
    let &[d_vocab, _] = embed.shape() else {
        return Err(embed.error("it is not a matrix"));
    };
    let rope_factors = match checkpoint.tensor("rope_freqs.weight") {
        Ok(factors) => Some(factors.to_vec()?),
        Err(Error::MissingTensor { .. }) => None,
        Err(error) => return Err(error),
    };
    let stored = TensorSettings {
        d_vocab,
        rope_factors,
    };
    from_gguf(checkpoint.path(), metadata, stored)
}

fn format_of(convention: Convention, files: &BTreeSet<&Path>) -> &'static str {
    let pickled = |path: &&Path| path.extension().is_some_and(|e| e != "safetensors");
    match convention {
        Convention::Gguf => "gguf",
        Convention::Llama2c => "llama2c",
        Convention::HuggingFace if files.iter().any(pickled) => "pytorch",
        Convention::HuggingFace => "safetensors",
    }
}

/// The `license` in the front matter of a model card; none if there is no card or it states none.
fn licence_in(card: &Path) -> Option<String> {
    let text = std::fs::read_to_string(card).ok()?;
    let front_matter = text.strip_prefix("---")?.split("\n---").next()?;
    let mut lines = front_matter.lines();
    let licence = lines.find_map(|line| line.strip_prefix("license:"))?;
    let licence = licence.trim().trim_matches(['"', '\'']);
    (!licence.is_empty()).then(|| licence.to_owned())
}
