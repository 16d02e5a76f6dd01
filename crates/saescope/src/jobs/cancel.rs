//! A request to end a job early.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that any thread, or a signal, may raise.
#[derive(Clone, Debug, Default)]
pub struct Cancel(pub Arc<AtomicBool>);

impl Cancel {
    /// Asks the job to end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once the job is asked to end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The decision to end after a step, the same for all runs that share the stream of steps.
pub(super) struct StepStop<'a> {
    cancel: &'a Cancel,
    /// The last step that was asked about, and whether the job ends after it.
    decided: Cell<(u64, bool)>,
}

impl<'a> StepStop<'a> {
    pub(super) fn new(cancel: &'a Cancel) -> StepStop<'a> {
        StepStop {
            cancel,
            decided: Cell::new((0, false)),
        }
    }

    /// True if the job ends after this step. All runs get the answer that the first got, so that they
    /// can continue together later.
    pub(super) fn after(&self, step: u64) -> bool {
        let (at, stops) = self.decided.get();
        if at == step {
            return stops;
        }
        let stops = self.cancel.is_raised();
        self.decided.set((step, stops));
        stops
    }

    /// The step after which the job ended because it was asked to.
    pub(super) fn stopped_after(&self) -> Option<u64> {
        let (step, stops) = self.decided.get();
        stops.then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_step_stop_together() {
        let cancel = Cancel::default();
        let stop = StepStop::new(&cancel);
        assert!(!stop.after(1));
        cancel.raise();
        assert!(!stop.after(1));
        assert!(stop.after(2) && stop.after(2));
        assert_eq!(stop.stopped_after(), Some(2));
    }
}
