//! Ctrl-C: the first asks a job to end, the second ends it at once.

use std::sync::Arc;

use anyhow::Context as _;
use saescope::jobs::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// A request to end that Ctrl-C raises from now on.
pub(crate) fn listen() -> anyhow::Result<Cancel> {
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and raises it.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&cancel.0))
            .and_then(|_| flag::register(signal, Arc::clone(&cancel.0)))
            .context("cannot listen to Ctrl-C")?;
    }
    Ok(cancel)
}
