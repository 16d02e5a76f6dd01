//! A file that is mapped or held: its path and its bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::mmap::Map;
use crate::error::Result;

/// A file that was opened, or bytes that stand for one.
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

/// The SHA-256 of a file's content, in hexadecimal digits.
///
/// # Errors
/// When the file cannot be opened.
pub fn sha256(path: &Path) -> Result<String> {
    let hash = digest(&SHA256, File::open(path)?.bytes());
    Ok(hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 180-2, appendix B.1.
    #[test]
    fn the_hash_of_a_file_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
        assert!(sha256(&folder.path().join("none")).is_err());
    }
}
