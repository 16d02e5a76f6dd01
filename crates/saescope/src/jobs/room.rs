//! Checks that the machine has room for a job.

use std::path::Path;

use crate::error::{Error, Result};
use crate::resources;
use crate::session::{Job, Warning};

/// Memory and disk that a job will take, in bytes, besides what is in memory already.
pub(super) struct Needs {
    pub(super) job: Job,
    pub(super) memory: u64,
    pub(super) disk: u64,
}

impl Needs {
    /// Warns where memory may not be enough: how much of it other programs will give back is not known.
    ///
    /// # Errors
    /// When the disk of `folder` has too little room.
    pub(super) fn check(&self, folder: &Path) -> Result<Option<Warning>> {
        self.check_against(folder, resources::free_disk(folder), free_memory())
    }

    fn check_against(
        &self,
        folder: &Path,
        disk: Option<u64>,
        memory: Option<u64>,
    ) -> Result<Option<Warning>> {
        if let Some(free) = disk.filter(|&free| free < self.disk) {
            return Err(Error::DiskFull {
                folder: folder.to_path_buf(),
                free,
                needed: self.disk,
            });
        }
        let free = memory.filter(|&free| free < self.memory);
        Ok(free.map(|free| Warning::LittleMemory {
            job: self.job,
            free,
            needed: self.memory,
        }))
    }
}

fn free_memory() -> Option<u64> {
    resources::free_mb().map(|mb| (mb * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_refused_and_little_memory_warned_of() {
        let needs = Needs {
            job: Job::Capture,
            memory: 10,
            disk: 20,
        };
        let check = |disk, memory| needs.check_against(Path::new("x"), disk, memory);
        assert!(matches!(
            check(Some(19), None),
            Err(Error::DiskFull {
                free: 19,
                needed: 20,
                ..
            })
        ));
        assert!(matches!(
            check(Some(20), Some(9)),
            Ok(Some(Warning::LittleMemory {
                free: 9,
                needed: 10,
                ..
            }))
        ));
        assert!(matches!(check(None, None), Ok(None)));
    }
}
