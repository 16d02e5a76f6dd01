//! An opened folder of shards: checks of its files, and the rows of it that are read.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::manifest::{FORMAT, MANIFEST, Manifest, Shard};
use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::error::{Error, Result};

/// Largest size of `shards.json` in bytes: room for 100,000 shards.
const MAX_MANIFEST: u64 = 16 << 20;

/// An opened folder of shards, or a part of its rows.
pub struct Shards {
    folder: PathBuf,
    manifest: Manifest,
    /// The rows that are read, numbered through all shards.
    rows: Range<u64>,
}

impl Shards {
    /// Opens the shards in `folder`. The sizes of the files are checked now, their checksums when they are
    /// first read.
    ///
    /// # Errors
    /// When the folder does not hold finished shards, or a file is missing or has another size.
    pub fn open(folder: &Path) -> Result<Shards> {
        let path = folder.join(MANIFEST);
        let len = std::fs::metadata(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::format(
                folder,
                "the folder holds no shards: there is no shards.json; capture activations into it first",
            ),
            _ => Error::io(&path, e),
        })?;
        if len.len() > MAX_MANIFEST {
            return Err(Error::format(&path, "it is too long for a shards.json"));
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

    /// The contents of `shards.json`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of rows that are read.
    pub fn tokens(&self) -> u64 {
        self.rows.end - self.rows.start
    }

    /// Splits off the last `tokens` rows; returns the rest and these. Since rows are in random order, the
    /// two are samples of the same texts: other tokens, not other texts.
    ///
    /// # Errors
    /// When either part would have no row.
    pub fn split_held_out(&self, tokens: u64) -> Result<(Shards, Shards)> {
        if tokens == 0 || tokens >= self.tokens() {
            let (folder, there) = (self.folder.display(), self.tokens());
            return Err(Error::Argument(format!(
                "{folder}: {tokens} of {there} rows cannot be held out; both parts need at least one row"
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

    /// The rows of every shard that are read, numbered within the shard.
    pub(super) fn parts(&self) -> Vec<Range<u64>> {
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
                return Err(format!(
                    "a shard is called {file:?}, which is not a file name"
                ));
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

    /// Opens shard `number` and checks its shape; its checksum too if `verify` is set.
    pub(super) fn open_shard(&self, number: usize, verify: bool) -> Result<Checkpoint> {
        let manifest = &self.manifest;
        let Shard {
            file,
            tokens,
            sha256,
            ..
        } = &manifest.shards[number];
        let path = self.folder.join(file);
        if verify && digest::hex(&digest::of_file(&path)?.0) != *sha256 {
            let reason = "its checksum is not the one in shards.json; capture the shards anew";
            return Err(Error::format(&path, reason));
        }
        let opened = Checkpoint::open(&path)?;
        let widths = [("x", Some(manifest.d_in)), ("target", manifest.d_out)];
        for (name, width) in widths {
            let Some(width) = width else { continue };
            let tensor = opened.tensor(name)?;
            let expected = [*tokens as usize, width];
            if tensor.shape() != expected || tensor.dtype() != manifest.dtype.dtype() {
                let (shape, dtype) = (tensor.shape(), tensor.dtype());
                let reason = format!(
                    "it is {shape:?} of {dtype}, and shards.json says {expected:?} of {}",
                    manifest.dtype.dtype()
                );
                return Err(tensor.error(reason));
            }
        }
        Ok(opened)
    }
}
