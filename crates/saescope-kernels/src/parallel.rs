//! Tasks shared out over threads: always by outputs, never by the terms of a sum, so that the
//! number of threads cannot change a result.

use rayon::prelude::*;

/// A pointer that several tasks write through, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: code that dereferences the pointer promises that tasks touch disjoint parts.
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

/// Runs `task` for `0..n`, on all threads if `work`, a number of multiply-adds, is worth it.
pub(crate) fn for_each(n: usize, work: usize, task: impl Fn(usize) + Sync) {
    // Waking a sleeping thread takes some microseconds, in which a core does about this much work.
    const WORTH_SHARING: usize = 1 << 17;
    if n < 2 || work < WORTH_SHARING {
        (0..n).for_each(task);
    } else {
        (0..n).into_par_iter().with_max_len(1).for_each(&task);
    }
}

/// Runs `task` for every row, in chunks of rows that are worth a thread.
pub(crate) fn by_rows(rows: usize, work_per_row: usize, task: impl Fn(usize) + Sync) {
    const ROWS: usize = 16;
    for_each(rows.div_ceil(ROWS), rows * work_per_row, |chunk| {
        (chunk * ROWS..((chunk + 1) * ROWS).min(rows)).for_each(&task);
    });
}
