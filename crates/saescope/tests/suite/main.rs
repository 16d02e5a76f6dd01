//! The library as its users meet it: one binary, a module per subject.

mod forward;
mod generation;
mod golden;
mod tiny;
