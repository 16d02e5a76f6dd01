//! Bounds on the steps, the memory and the depth of a template.

use std::cell::Cell;

use super::fault::{Fault, fault};

/// Most steps of a template; the longest real ones take some hundred for each message.
const STEPS: usize = 1_000_000;
/// Most bytes that a template may build, intermediate results included.
const BUDGET: usize = 64 << 20;
/// Deepest nesting of values; JSON schemas of tools are the deepest that templates meet.
pub(super) const DEPTH: usize = 64;
/// Deepest nesting of expressions, blocks and calls while a template runs.
const CALLS: usize = 1000;
/// Bytes of an element of a list or a map, beside its own content.
pub(super) const ELEMENT: usize = 48;
/// Bytes of text that are read in one step.
const SCAN: usize = 1024;

/// Steps, memory and depth that a template has left.
pub(super) struct Limits {
    steps: Cell<usize>,
    bytes: Cell<usize>,
    calls: Cell<usize>,
}

impl Limits {
    pub(super) fn new() -> Limits {
        Limits {
            steps: Cell::new(STEPS),
            bytes: Cell::new(BUDGET),
            calls: Cell::new(CALLS),
        }
    }

    /// Takes `count` steps.
    pub(super) fn step(&self, count: usize) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(count);
        self.steps
            .set(left.ok_or_else(|| fault("it does not come to an end"))?);
        Ok(())
    }

    /// Takes the steps of reading `bytes` of text.
    pub(super) fn scan(&self, bytes: usize) -> Result<(), Fault> {
        self.step(bytes / SCAN)
    }

    /// Takes the memory of a text of `bytes`, and the steps of writing it.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.bytes.get().checked_sub(bytes);
        let reason = || fault(format!("it builds more than {} MB", BUDGET >> 20));
        self.bytes.set(left.ok_or_else(reason)?);
        self.scan(bytes)
    }

    /// Takes the memory of `count` elements.
    pub(super) fn elements(&self, count: usize) -> Result<(), Fault> {
        self.charge(count.saturating_mul(ELEMENT))
    }

    /// Runs `inner` one level deeper.
    pub(super) fn deeper<T>(
        &self,
        inner: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some(left) = self.calls.get().checked_sub(1) else {
            return Err(fault("it calls itself without an end"));
        };
        self.calls.set(left);
        let value = inner();
        self.calls.set(left + 1);
        value
    }
}

/// The depth of a value that holds values of these depths.
pub(super) fn deepen(inner: impl Iterator<Item = usize>) -> Result<usize, Fault> {
    let depth = inner.max().unwrap_or(0) + 1;
    if depth > DEPTH {
        return Err(fault(format!("its values are nested deeper than {DEPTH}")));
    }
    Ok(depth)
}
