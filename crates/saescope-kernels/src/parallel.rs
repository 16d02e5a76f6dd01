//! Work shared out over threads: always over outputs, never over a sum, so that the number of
//! threads cannot change a result.

use rayon::prelude::*;

/// A pointer that tasks may write through, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever dereferences it promises that tasks touch disjoint parts.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Shared<T> {
        Shared(slice.as_mut_ptr())
    }

    /// The pointer. A method, so that closures capture the wrapper whole.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// Runs `task(0..n)`, on all threads when `work`, in multiply-adds or the like, is worth it.
pub(crate) fn for_each(n: usize, work: usize, task: impl Fn(usize) + Sync) {
    // Waking a sleeping thread costs some microseconds, in which a core does about this much.
    const WORTH_SHARING: usize = 1 << 17;
    if n < 2 || work < WORTH_SHARING {
        (0..n).for_each(task);
    } else {
        (0..n).into_par_iter().with_max_len(1).for_each(&task);
    }
}
