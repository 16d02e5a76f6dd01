//! Checkpoint files of every format as named tensors; knows no model.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Result;

/// An opened checkpoint: one file, or the shards of one.
pub struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    /// Opens a checkpoint: a file of any format, or a folder that holds one.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        Ok(Checkpoint {
            path: path.to_path_buf(),
        })
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`](crate::Error::MissingTensor) when there is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        Err(crate::Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }
}

/// A tensor as its file stores it, row-major.
pub struct Tensor<'a> {
    shape: &'a [usize],
}

impl Tensor<'_> {
    /// Its dimensions, outermost first (GGUF's order is reversed when read).
    pub fn shape(&self) -> &[usize] {
        self.shape
    }

    /// Converts a range of its elements, in row-major order, to f32.
    /// For quantised types the range starts and ends on block boundaries.
    pub fn read(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let _ = (range, out);
        Ok(())
    }

    /// All elements as f32, for small tensors.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }

    /// Tells the system that the tensor's pages are no longer needed in memory; reading it again
    /// brings them back.
    pub fn evict(&self) {}
}
