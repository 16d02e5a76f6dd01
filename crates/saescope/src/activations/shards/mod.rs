//! Activations on the disk, in an order by chance.
//!
//! A folder of shards is a folder: `shards.json` says what made it and lists its shards, safetensors files with a
//! tensor `x`, `[tokens, d_in]`, and a tensor `target`, `[tokens, d_out]`, where a transcoder is to be
//! trained. Rows stand in an order in which every row may be anywhere in the shards.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use read::Reading;
pub use write::{Progress, ShardsConfig, write};

use crate::checkpoint::Dtype;
use crate::error::{Error, Result};
use crate::site::Site;

/// What `shards.json` says in `format`.
const FORMAT: &str = "saescope-activations-1";
/// The file that makes a folder a folder of shards; it is written last.
const MANIFEST: &str = "shards.json";
/// Bytes of the longest `shards.json`: that of a folder of shards of 100,000 shards.
const MAX_MANIFEST: u64 = 16 << 20;

/// How the numbers of a folder of shards are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardDtype {
    /// Exactly.
    F32,
    /// 11 bits of precision, numbers up to 65,504.
    F16,
    /// 8 bits of precision, all numbers.
    #[default]
    Bf16,
}

impl ShardDtype {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        self.dtype().block_bytes()
    }

    fn dtype(self) -> Dtype {
        match self {
            ShardDtype::F32 => Dtype::F32,
            ShardDtype::F16 => Dtype::F16,
            ShardDtype::Bf16 => Dtype::Bf16,
        }
    }
}

/// Where the activations of a folder of shards come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The model as it was called.
    pub model: String,
    /// Where activations were taken.
    pub site: Site,
    /// Where a transcoder's targets were taken.
    pub out_site: Option<Site>,
    /// [`Corpus::digest`](crate::corpus::Corpus::digest) of the texts.
    pub corpus: String,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// Whether the first token of every sequence was left out.
    pub skip_first: bool,
    /// Whether sequences began with the beginning-of-sequence token; unknown of a folder of shards of an earlier
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepend_bos: Option<bool>,
}

/// What `shards.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    /// Where the activations come from.
    pub made: Made,
    /// How numbers are kept.
    pub dtype: ShardDtype,
    /// Width of what is read.
    pub d_in: usize,
    /// Width of a transcoder's targets.
    pub d_out: Option<usize>,
    /// Number of rows.
    pub tokens: u64,
    /// Seed of their order.
    pub seed: u64,
    /// The files that hold them, in order.
    pub shards: Vec<Shard>,
}

/// A file of a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its name in the folder.
    pub file: String,
    /// Number of its rows.
    pub tokens: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Bytes of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }
}

/// An opened shards.
pub struct Shards {
    folder: PathBuf,
    manifest: Manifest,
    /// The rows that are read, numbered through all shards: all, or a part of them.
    rows: Range<u64>,
}

impl Shards {
    /// Opens the shards in `folder`. The sizes of its files are checked now, their checksums when they
    /// are first read.
    ///
    /// # Errors
    /// When the folder is no finished shards, or a file is missing or has another size.
    pub fn open(folder: &Path) -> Result<Shards> {
        let path = folder.join(MANIFEST);
        let len = std::fs::metadata(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::format(
                folder,
                "there is no shards here: it has no shards.json; `saescope capture --shards` makes one",
            ),
            _ => Error::io(&path, e),
        })?;
        if len.len() > MAX_MANIFEST {
            return Err(Error::format(
                &path,
                "it is too long for a folder of shards.json",
            ));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| Error::format(&path, e.to_string()))?;
        let shards = Shards {
            folder: folder.to_path_buf(),
            rows: 0..manifest.tokens,
            manifest,
        };
        shards
            .check()
            .map_err(|reason| Error::format(&path, reason))?;
        shards.check_files()?;
        Ok(shards)
    }

    /// What its `shards.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of rows that are read.
    pub fn tokens(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// Holds the last `tokens` rows out: the rest, and these. Since rows are in an order by chance, they
    /// are a sample of the same texts: other tokens, not other texts.
    ///
    /// # Errors
    /// When either part would have no row.
    pub fn split_held_out(&self, tokens: u64) -> Result<(Shards, Shards)> {
        if tokens == 0 || tokens >= self.tokens() {
            let (folder, there) = (self.folder.display(), self.tokens());
            return Err(Error::Argument(format!(
                "{folder}: of {there} rows, {tokens} cannot be held out with some on either side"
            )));
        }
        let border = self.rows.end - tokens;
        let part = |rows| Shards {
            folder: self.folder.clone(),
            manifest: self.manifest.clone(),
            rows,
        };
        Ok((part(self.rows.start..border), part(border..self.rows.end)))
    }

    /// Of every shard the rows that are read, numbered within it.
    fn parts(&self) -> Vec<Range<u64>> {
        let mut before = 0;
        let part = |shard: &Shard| {
            let place = |row: u64| row.clamp(before, before + shard.tokens) - before;
            let part = place(self.rows.start)..place(self.rows.end);
            before += shard.tokens;
            part
        };
        self.manifest.shards.iter().map(part).collect()
    }

    fn check(&self) -> Result<(), String> {
        let manifest = &self.manifest;
        if manifest.format != FORMAT {
            let format = &manifest.format;
            return Err(format!("its format is `{format}`; `{FORMAT}` is read"));
        }
        if manifest.d_in == 0 || manifest.d_out == Some(0) {
            return Err("activations have no width".to_owned());
        }
        let mut tokens: u64 = 0;
        for Shard {
            file, tokens: rows, ..
        } in &manifest.shards
        {
            if Path::new(file).file_name() != Some(file.as_ref()) {
                return Err(format!("a shard is called {file:?}, which is no file name"));
            }
            tokens = tokens.saturating_add(*rows);
        }
        if tokens != manifest.tokens || tokens == 0 {
            let stated = manifest.tokens;
            return Err(format!("it says {stated} tokens, its shards have {tokens}"));
        }
        Ok(())
    }

    fn check_files(&self) -> Result<()> {
        for shard in &self.manifest.shards {
            let path = self.folder.join(&shard.file);
            let found = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
            if found.len() != shard.bytes {
                let (found, stated) = (found.len(), shard.bytes);
                let reason = format!("it has {found} bytes, and shards.json says {stated}");
                return Err(Error::format(&path, reason));
            }
        }
        Ok(())
    }
}
