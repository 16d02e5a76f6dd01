//! Open a language model up: see its activations, change them, and watch the output change.
//!
//! Modules stand in the order in which data flows; each imports only what stands before it.

pub mod error;

pub mod checkpoint;
pub mod tokenizer;

pub mod chat;

pub mod hub;

pub mod site;

pub mod hook;

pub mod edit;

pub mod model;

pub mod sae;

pub mod direction;

pub mod activations;

pub mod train;

pub mod generate;

pub mod complete;
pub mod lens;

pub mod features;

pub mod steer;

pub mod vector;

pub use saescope_kernels::{
    Activation, Encoder, Gate, Isa, Matrix, SparseRows, Storage, peak_gflops,
};

pub use error::{Error, Result};
