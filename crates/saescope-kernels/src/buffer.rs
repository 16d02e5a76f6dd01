//! Memory for f32 that starts on a cache line, and its reuse.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// f32 in a cache line.
const LINE: usize = 16;

/// Number of values from which a dropped buffer of unspecified values is kept for the next one: the
/// allocator returns blocks of this size to the system at once, and clearing the pages of new ones
/// costs a fifteenth of a bf16 forward pass that ends in the logits of a thousand tokens.
const LARGE: usize = (32 << 20) / size_of::<f32>();

/// The last large buffer that was dropped. There is at most one, and it is freed as soon as a
/// request does not fit it, so that it adds little to the peak of memory.
static SPARE: Mutex<Option<Buffer>> = Mutex::new(None);

fn take_spare() -> Option<Buffer> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(spare) = &mut spare {
        spare.reusable = false;
    }
    spare
}

/// A buffer of f32 that starts on a cache line. It does not shrink before it is dropped, so that
/// one that is used again and again settles at its largest size.
#[derive(Default)]
pub(crate) struct Buffer {
    /// Longer than the contents by the values before the first cache line.
    values: Vec<f32>,
    start: usize,
    len: usize,
    /// True if the values were unspecified from the start, so that the memory can be reused.
    reusable: bool,
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::zeros(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Buffer {
    pub(crate) fn zeros(len: usize) -> Buffer {
        if len >= LARGE {
            // Memory that nobody uses should not stand in the way of a large request.
            drop(take_spare());
        }
        // `vec!` takes zeroed f32, unlike zeroed structs, straight from the allocator: whole pages
        // cost nothing until a thread touches them.
        let mut values = vec![0.0; len + LINE];
        huge_pages(&mut values);
        let start = values
            .as_ptr()
            .align_offset(LINE * size_of::<f32>())
            .min(LINE);
        Buffer {
            values,
            start,
            len,
            reusable: false,
        }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }

    /// The same memory as bf16, two to an f32.
    pub(crate) fn as_bf16(&self) -> &[u16] {
        let values = self.as_slice();
        // SAFETY: u16 has no invalid bits and a smaller alignment, and the length in bytes is the
        // same.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), 2 * values.len()) }
    }

    /// The same memory as bf16, two to an f32.
    pub(crate) fn as_bf16_mut(&mut self) -> &mut [u16] {
        let values = self.as_mut_slice();
        // SAFETY: as for `as_bf16`, and every bit pattern is an f32 too.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), 2 * values.len()) }
    }

    /// Takes a length, with unspecified values.
    pub(crate) fn renew(&mut self, len: usize) {
        if len > self.capacity() {
            // The old memory is freed first: both together would be the peak.
            self.reusable = false;
            *self = Buffer::default();
            let spare = if len >= LARGE { take_spare() } else { None };
            // A much larger spare would be wasted here and missing for a request of its size.
            let fitting = |spare: &Buffer| (len..=2 * len).contains(&spare.capacity());
            let fitting = spare.filter(fitting);
            *self = fitting.unwrap_or_else(|| Buffer::zeros(len));
            self.reusable = true;
        }
        self.len = len;
    }

    /// Values that fit without a new allocation.
    pub(crate) fn capacity(&self) -> usize {
        self.values.len() - self.start
    }

    /// Takes a length, keeping the values; those past the old length are unspecified.
    pub(crate) fn extend(&mut self, len: usize) {
        if len > self.capacity() {
            // At least twice the size, so that rows appended one by one are not copied every time.
            let mut larger = Buffer::zeros(len.max(2 * self.len));
            larger.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
            *self = larger;
        }
        self.len = len;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.reusable && self.capacity() >= LARGE {
            let kept = std::mem::take(self);
            let older = SPARE
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(kept);
            // Freed here, after the lock is released.
            if let Some(mut older) = older {
                older.reusable = false;
            }
        }
    }
}

thread_local! {
    /// The scratch buffer of a thread.
    static KEPT: Cell<Buffer> = Cell::default();
}

/// A buffer of unspecified values for the time of a task; its thread keeps the memory for the next.
pub(crate) struct Scratch(Buffer);

impl Scratch {
    pub(crate) fn new(len: usize) -> Scratch {
        let mut buffer = KEPT.take();
        buffer.renew(len);
        Scratch(buffer)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.0));
    }
}

impl Deref for Scratch {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.0
    }
}

/// Asks for large pages if the system leaves the choice to the program: one page fault instead of
/// 512, and streams that the processor's prefetchers follow further.
fn huge_pages(values: &mut [f32]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let range = values.as_mut_ptr_range();
        let first = (range.start as usize).next_multiple_of(HUGE);
        let end = range.end as usize / HUGE * HUGE;
        if first < end {
            // SAFETY: the pages lie within memory that this program holds. The advice changes no
            // value, and may be refused.
            unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_buffer_is_zero_after_memory_was_reused() {
        let mut buffer = Buffer::default();
        buffer.renew(LARGE);
        buffer.as_mut_slice().fill(7.0);
        drop(buffer);
        let buffer = Buffer::zeros(LARGE);
        assert!(buffer.as_slice().iter().all(|&x| x == 0.0));
    }

    #[test]
    fn nested_scratch_buffers_do_not_share_memory() {
        let mut outer = Scratch::new(5);
        outer.as_mut_slice().fill(1.0);
        Scratch::new(5).as_mut_slice().fill(2.0);
        assert_eq!(outer.as_slice(), [1.0; 5]);
        drop(outer);
        assert_eq!(Scratch::new(9).as_slice().len(), 9);
    }
}
