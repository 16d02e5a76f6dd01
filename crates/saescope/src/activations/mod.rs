//! Activations of many texts, batch by batch: from a model that runs meanwhile, or from shards on disk.
//!
//! Owns the order of the tokens and how they are mixed. Knows nothing of what the batches are for.

mod batch;
pub mod shards;
mod stream;

pub use batch::{Batch, Batches, Clocks};
pub use shards::Shards;
pub use stream::{Stream, StreamConfig};
