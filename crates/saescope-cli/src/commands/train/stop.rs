//! Ctrl-C: the first lets the step end, the second ends at once.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// Whether training is to stop, the same for all runs of a step.
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    /// The last step that began, and whether it is the last of all.
    decided: Cell<(u64, bool)>,
}

impl Stop {
    /// Listens from now on.
    pub(crate) fn listen() -> anyhow::Result<Stop> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down, and puts it up.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("Ctrl-C cannot be listened to")?;
        }
        Ok(Stop {
            asked,
            decided: Cell::new((0, false)),
        })
    }

    /// Whether training ends behind this step. Asked by several runs at one step, it answers all of
    /// them as it did the first, so that they go on together later.
    pub(crate) fn behind(&self, step: u64) -> bool {
        let (at, stops) = self.decided.get();
        if at == step {
            return stops;
        }
        let stops = self.asked.load(Ordering::Relaxed);
        self.decided.set((step, stops));
        stops
    }

    /// The step behind which training ended because it was asked to.
    pub(crate) fn stopped_behind(&self) -> Option<u64> {
        let (step, stops) = self.decided.get();
        stops.then_some(step)
    }

    /// From now on Ctrl-C ends at once.
    pub(crate) fn end(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_step_stop_together() {
        let stop = Stop {
            asked: Arc::new(AtomicBool::new(false)),
            decided: Cell::new((0, false)),
        };
        assert!(!stop.behind(1));
        stop.asked.store(true, Ordering::Relaxed);
        assert!(!stop.behind(1));
        assert!(stop.behind(2) && stop.behind(2));
    }
}
