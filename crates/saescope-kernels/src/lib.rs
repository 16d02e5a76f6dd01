//! The CPU kernels of saescope: everything that is unsafe or SIMD, and nothing that knows a model.

mod activation;
mod matrix;
mod weight;

pub use activation::Activation;
pub use matrix::Matrix;
pub use weight::{Storage, Weight};
