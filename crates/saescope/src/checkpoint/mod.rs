//! Checkpoint files of every format as named tensors.
//!
//! Files are mapped into memory and read by code that cannot run them: every length is checked against
//! the file before anything is allocated, and every refusal names the file and the tensor. The names and
//! shapes that a model needs are known to [`model`](crate::model) alone.

mod cursor;
mod dtype;
mod file;
pub mod gguf;
pub mod llama2c;
mod mmap;
mod npz;
mod open;
mod pickle;
mod quant;
mod safetensors;
mod tensor;
pub mod torch;
mod write;
mod write_gguf;
mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use dtype::Dtype;
pub use tensor::Tensor;
pub use write::{Elements, NewTensor, save_safetensors, save_whole};
pub use write_gguf::{NewValue, save_gguf};

use crate::error::{Error, Result};
pub(crate) use file::File;
pub(crate) use open::holds_tensors;
use tensor::Entry;

/// An opened checkpoint: one file, or the shards of one.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<File>,
    /// By name: the index of the file, and the place in it.
    tensors: BTreeMap<String, (usize, Entry)>,
    metadata: Metadata,
}

/// Metadata of a file, in the form of its format.
enum Metadata {
    Safetensors(BTreeMap<String, String>),
    Gguf(gguf::Metadata),
    Llama2c(llama2c::Header),
    Torch(torch::Value),
    Npz,
}

/// The tensors and the metadata of one file.
struct FileContent {
    tensors: Vec<(String, Entry)>,
    metadata: Metadata,
}

impl Checkpoint {
    /// Opens a checkpoint: a file of any format, or a folder that holds one.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        open::open(path)
    }

    /// Reads a checkpoint of one file from memory; errors name it `path`.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint> {
        open::single(path, File::held(path, bytes))
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Its tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors
            .iter()
            .map(|(name, found)| self.view(name, found))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] when there is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        match self.tensors.get_key_value(name) {
            Some((name, found)) => Ok(self.view(name, found)),
            None => Err(Error::MissingTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
            }),
        }
    }

    /// Bytes of the stored tensors.
    pub fn stored_bytes(&self) -> u64 {
        let spans = self.tensors.values().map(|(_, entry)| entry.span as u64);
        spans.sum()
    }

    /// The `__metadata__` of a safetensors file.
    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        match &self.metadata {
            Metadata::Safetensors(metadata) => Some(metadata),
            _ => None,
        }
    }

    /// The key-value pairs of a GGUF file.
    pub fn gguf(&self) -> Option<&gguf::Metadata> {
        match &self.metadata {
            Metadata::Gguf(metadata) => Some(metadata),
            _ => None,
        }
    }

    /// The sizes in a llama2.c file.
    pub fn llama2c(&self) -> Option<&llama2c::Header> {
        match &self.metadata {
            Metadata::Llama2c(header) => Some(header),
            _ => None,
        }
    }

    /// The content of a file of `torch.save`, with tensors by name.
    pub fn torch(&self) -> Option<&torch::Value> {
        match &self.metadata {
            Metadata::Torch(value) => Some(value),
            _ => None,
        }
    }

    /// True if the file is one of `numpy.savez` or `numpy.save`, which have no metadata.
    pub fn is_npz(&self) -> bool {
        matches!(self.metadata, Metadata::Npz)
    }

    fn view<'a>(&'a self, name: &'a str, (file, entry): &'a (usize, Entry)) -> Tensor<'a> {
        Tensor {
            name,
            file: &self.files[*file],
            entry,
        }
    }
}

#[cfg(test)]
mod tests;
