//! A file that is mapped or held: its path and its bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mmap::Map;
use crate::error::Result;

/// An opened file, or bytes in memory that take its place.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    content: Content,
}

enum Content {
    Mapped(Map),
    Held(Vec<u8>),
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<File> {
        Ok(File {
            path: path.to_path_buf(),
            content: Content::Mapped(Map::open(path)?),
        })
    }

    pub(crate) fn held(path: &Path, bytes: Vec<u8>) -> File {
        File {
            path: path.to_path_buf(),
            content: Content::Held(bytes),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Held(bytes) => bytes,
        }
    }

    pub(super) fn evict(&self, range: Range<usize>) {
        if let Content::Mapped(map) = &self.content {
            map.evict(range);
        }
    }
}
