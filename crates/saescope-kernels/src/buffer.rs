//! Memory for f32 that starts on a cache line, and memory that is used again.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// f32 in a cache line.
const LINE: usize = 16;

/// Values from which on a dropped buffer of unspecified values is kept for the next one: the
/// system's allocator gives blocks of this size back at once, and clearing the pages of new ones
/// costs a fifteenth of a bf16 forward pass that ends in the logits of a thousand tokens.
const LARGE: usize = (32 << 20) / size_of::<f32>();

/// The last large buffer that was dropped. One at most, and given back as soon as a large one is
/// asked for that it does not fit, so that it adds little to the largest memory in use.
static SPARE: Mutex<Option<Buffer>> = Mutex::new(None);

fn take_spare() -> Option<Buffer> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(spare) = &mut spare {
        spare.reusable = false;
    }
    spare
}

/// A buffer of f32 that starts on a cache line. It never gives memory back before it is dropped,
/// so that one that is used over and over settles at its largest size.
#[derive(Default)]
pub(crate) struct Buffer {
    /// Longer than what it holds by what it takes to start on a cache line.
    values: Vec<f32>,
    start: usize,
    len: usize,
    /// Whether the values were never promised to be anything, so that the memory may serve again.
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
            // Whoever needs this much should not find memory taken that nobody uses.
            drop(take_spare());
        }
        // Zeroed f32, unlike zeroed structs, come from the allocator as they are: whole pages cost
        // nothing until they are touched, and then the thread that touches them pays.
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
        // SAFETY: u16 has no invalid bits and a smaller alignment, and the length is in bytes the
        // same.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), 2 * values.len()) }
    }

    /// The same memory as bf16, two to an f32.
    pub(crate) fn as_bf16_mut(&mut self) -> &mut [u16] {
        let values = self.as_mut_slice();
        // SAFETY: as for `as_bf16`, and every bit pattern is an f32 too.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), 2 * values.len()) }
    }

    /// Takes a length; the values are unspecified.
    pub(crate) fn renew(&mut self, len: usize) {
        if len > self.capacity() {
            // The old memory first: both at once would be the peak.
            self.reusable = false;
            *self = Buffer::default();
            let spare = if len >= LARGE { take_spare() } else { None };
            // Much larger, it would be held for little, and missed by the next that needs it.
            let fitting = |spare: &Buffer| (len..=2 * len).contains(&spare.capacity());
            let fitting = spare.filter(fitting);
            *self = fitting.unwrap_or_else(|| Buffer::zeros(len));
            self.reusable = true;
        }
        self.len = len;
    }

    pub(crate) fn capacity(&self) -> usize {
        self.values.len() - self.start
    }

    pub(crate) fn extend(&mut self, len: usize) {
        if len > self.capacity() {
            // Twice the size, so that rows appended one by one are not copied every time.
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
            // Freed here, for good, when nothing is locked any more.
            if let Some(mut older) = older {
                older.reusable = false;
            }
        }
    }
}

thread_local! {
    static KEPT: Cell<Buffer> = Cell::default();
}

/// A buffer for the time of a task, of unspecified values, which its thread keeps for the next.
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

/// Asks for large pages where the system leaves the choice to the program: one page fault instead
/// of 512, and streams that the processor's prefetchers follow further.
fn huge_pages(values: &mut [f32]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let range = values.as_mut_ptr_range();
        let first = (range.start as usize).next_multiple_of(HUGE);
        let end = range.end as usize / HUGE * HUGE;
        if first < end {
            // SAFETY: whole pages within memory that this program holds. The advice changes no
            // value, and where it is refused nothing is lost.
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
    fn zeros_are_zeros_whatever_was_kept() {
        let mut buffer = Buffer::default();
        buffer.renew(LARGE);
        buffer.as_mut_slice().fill(7.0);
        drop(buffer);
        let buffer = Buffer::zeros(LARGE);
        assert!(buffer.as_slice().iter().all(|&x| x == 0.0));
    }

    #[test]
    fn scratch_within_scratch_is_other_memory() {
        let mut outer = Scratch::new(5);
        outer.as_mut_slice().fill(1.0);
        Scratch::new(5).as_mut_slice().fill(2.0);
        assert_eq!(outer.as_slice(), [1.0; 5]);
        drop(outer);
        assert_eq!(Scratch::new(9).as_slice().len(), 9);
    }
}
