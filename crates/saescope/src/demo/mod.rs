//! The demo as data: steps on the bundled model, each with the calls of the command that show it.
//!
//! A call is the list of arguments that a person types, so that every front end can show or run it; this
//! module runs nothing. The features that the steps turn are chosen by [`Choice`] from the result of the
//! call [`contrast`]. The bundled files belong to [`hub`](crate::hub).

mod choice;
mod steps;

pub use choice::{Choice, MAX_TURNED, TurnedFeature};
pub use steps::{Call, STEPS, Step, contrast, steps};
