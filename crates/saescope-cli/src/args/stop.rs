//! Requests to end a job: Ctrl-C, the SIGTERM of another program, the SIGHUP of a terminal that closes.
//!
//! The first asks the job to end, so that it leaves something to continue from. Only a person ends it at
//! once, by Ctrl-C again: `timeout` and other programs send their signal twice within a millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use saescope::jobs::Cancel;
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Time after the first request in which Ctrl-C counts as the same request.
const SAME_REQUEST: Duration = Duration::from_secs(1);
/// Time between two looks at the first request.
const LOOK: Duration = Duration::from_millis(100);

/// The signals that are listened to from now on.
pub(crate) struct Signals {
    /// Raised by the first of them.
    pub(crate) cancel: Cancel,
    /// True once Ctrl-C ends the process at once.
    interrupt_ends: Arc<AtomicBool>,
    /// True once every signal does.
    all_end: Arc<AtomicBool>,
}

/// Listens to requests to end.
pub(crate) fn listen() -> anyhow::Result<Signals> {
    let signals = Signals {
        cancel: Cancel::default(),
        interrupt_ends: Arc::default(),
        all_end: Arc::default(),
    };
    signals.register(SIGINT, &signals.interrupt_ends)?;
    signals.register(SIGTERM, &signals.all_end)?;
    #[cfg(unix)]
    if !outlives_terminal() {
        signals.register(SIGHUP, &signals.all_end)?;
    }
    signals.watch()?;
    Ok(signals)
}

impl Signals {
    /// From now on the first signal ends the process at once: there is nothing left to save.
    pub(crate) fn end_at_once(&self) {
        self.interrupt_ends.store(true, Ordering::Relaxed);
        self.all_end.store(true, Ordering::Relaxed);
    }

    /// Lets `signal` end the process if `ends`, and raise the request otherwise.
    fn register(&self, signal: i32, ends: &Arc<AtomicBool>) -> anyhow::Result<()> {
        // The exit code of shells for a process that a signal ended.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(ends))
            .and_then(|_| flag::register(signal, Arc::clone(&self.cancel.0)))
            .context("cannot listen to Ctrl-C")?;
        Ok(())
    }

    /// Lets Ctrl-C end the process once the first request is old enough.
    fn watch(&self) -> anyhow::Result<()> {
        let (cancel, ends) = (self.cancel.clone(), Arc::clone(&self.interrupt_ends));
        let watch = move || {
            while !cancel.is_raised() {
                thread::sleep(LOOK);
            }
            thread::sleep(SAME_REQUEST);
            ends.store(true, Ordering::Relaxed);
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(watch).context("cannot listen to Ctrl-C")?;
        Ok(())
    }
}

/// True if the process was started to ignore the end of its terminal, as `nohup` does.
#[cfg(unix)]
fn outlives_terminal() -> bool {
    use std::io::IsTerminal as _;
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        // `nohup` redirects the output, and nothing else tells.
        return !std::io::stderr().is_terminal();
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}
