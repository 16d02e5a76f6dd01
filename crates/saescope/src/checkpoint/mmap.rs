//! The one place that maps files into memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A whole file, mapped read-only.
pub(super) struct Map(Mmap);

impl Map {
    /// Maps the regular file at `path`.
    pub(super) fn open(path: &Path) -> Result<Map> {
        // Checked before opening: opening a pipe would wait for a writer.
        let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !kind.is_file() {
            return Err(Error::format(path, "not a regular file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the map is read-only and lives as long as the bytes borrowed from it. Bytes that
        // another process rewrites meanwhile can make numbers wrong but no reference invalid: they
        // are only ever read as `u8`, and everything parsed is checked on a value already copied.
        // A file that is cut short while mapped raises SIGBUS; writers replace files by renaming.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Ok(Map(map))
    }

    /// Releases the pages of `range`; the next read brings them back from the file.
    pub(super) fn evict(&self, range: Range<usize>) {
        #[cfg(unix)]
        if range.start < range.end && range.end <= self.0.len() {
            // SAFETY: the map is shared, read-only and backed by a file, so dropping its pages loses
            // nothing: a later read faults the same bytes in again. memmap2 aligns the start down.
            let advised = unsafe {
                self.0.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
            // A refusal costs memory and never correctness.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
