//! The forward pass.
pub mod block;
pub mod config;
pub mod load;
