//! Long work as functions: what it will take, how far it is, how it is cancelled, what comes of it.
//!
//! A job is prepared first, which opens and checks everything and predicts memory and disk. It then runs
//! on the calling thread, reports events to a closure and ends early when a [`Cancel`] asks for it; what
//! it has written by then is whole and can be resumed. Nothing here prints or handles a signal.

mod cancel;
pub mod train;

pub use cancel::Cancel;
