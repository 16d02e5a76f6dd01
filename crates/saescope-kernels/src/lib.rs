//! The CPU kernels of saescope: matrices and the operations on them. All SIMD code and nearly all
//! unsafe code stands here; models and autoencoders are not known.
//!
//! The instruction set is chosen when the program runs ([`Isa`]), so that one binary serves every
//! x86-64 and aarch64 processor. Results depend neither on the number of threads nor on the rows
//! that are computed together.

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

mod rows;

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
pub use attention::{Attention, KeysValues, Sequence, attend, attend_with_pattern, pattern};
pub use columns::Columns;
pub use elementwise::{accumulate_rows, dot, norm, weighted_sum_of_rows};
pub use encode::{Encoder, Gate};
pub use gradient::{Gradient, RowNorm, Term};
pub use isa::Isa;
pub use matrix::Matrix;
pub use norm::{Norm, rms_norm_heads};
pub use optimiser::{AdamState, AdamStep, adam_rows, adam_slice, squared_norm};
pub use peak::peak_gflops;
pub use rotary::Rotation;
pub use rows::{
    PositiveRows, RowSet, add_direction, add_gathered_rows, affine_rows, centre_and_scale,
    centre_rows, centre_rows_in_f32, copy_rows, divide_rows_by_rms, gather_rows, positive_rows,
    project_out, relu_backward, row_dots, row_norms, row_stds, scale_columns, scale_rows,
    scale_rows_to_norm, scatter_rows, squared_error, squared_row_distances, squared_row_norms,
    standardise_rows, subtract_row,
};
pub use sparse::{SparseError, SparseRows};
pub use transpose::transpose;
pub use weight::{Epilogue, Operand, Precision, Weight};
