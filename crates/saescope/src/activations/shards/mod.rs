//! Activations on disk, in random order.
//!
//! A folder of shards holds `shards.json`, which describes their origin and lists them, and the shards:
//! safetensors files with a tensor `x`, `[tokens, d_in]`, and, for training transcoders, a tensor
//! `target`, `[tokens, d_out]`. All orders of the rows are equally likely, across shards too.

mod folder;
mod manifest;
mod read;
mod write;

pub use folder::Shards;
pub use manifest::{Manifest, Shard, ShardDtype, ShardsOrigin};
pub use read::ShardReader;
pub(crate) use write::check_target;
pub use write::{ShardsConfig, WriteProgress, write};

#[cfg(test)]
mod tests;
