//! The CPU kernels of saescope: everything that is unsafe or SIMD, and nothing that knows a model.
//!
//! The instruction set is chosen when the program runs ([`Isa`]), so that one binary serves any
//! x86-64 and aarch64. Results do not depend on the number of threads, nor on which rows are
//! computed together.

// A library prints nothing and reads no environment variable; tests may do both.
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod buffer;
mod isa;
mod matrix;
mod parallel;
mod peak;
mod simd;

mod activation;
mod elementwise;
mod norm;
mod rotary;

mod transpose;

mod tile;

mod weight;

mod attention;

mod sparse;

mod columns;

mod screen;

mod encode;

mod gradient;

mod optimiser;

#[cfg(test)]
mod tests;

pub use activation::{Activation, gated, softcap};
pub use attention::{Attention, KeysValues, Sequence, attend, attend_by, pattern};
pub use columns::Columns;
pub use elementwise::{dot, weighted_sum_of_rows};
pub use encode::{Encoder, Gate};
pub use gradient::{Gradient, RowNorm, Term};
pub use isa::Isa;
pub use matrix::Matrix;
pub use norm::{Norm, rms_norm_heads};
pub use optimiser::{AdamStep, Optimised, adam_rows, adam_slice, squared_norm};
pub use peak::peak_gflops;
pub use rotary::Rotation;
pub use sparse::SparseRows;
pub use transpose::transpose;
pub use weight::{Epilogue, Operand, Precision, Weight};
