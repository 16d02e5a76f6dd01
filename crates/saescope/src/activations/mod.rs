//! Activations of many texts, as training and evaluation take them: batch by batch.

pub mod shards;
mod stream;

use saescope_kernels::Matrix;

pub use shards::Shards;
pub use stream::{Stream, StreamConfig};

use crate::error::Result;

/// Activations of some tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What is read: `[tokens, d_in]`.
    pub x: Matrix,
    /// What a transcoder has to reconstruct, `[tokens, d_out]`; an autoencoder reconstructs `x`.
    pub target: Option<Matrix>,
}

/// Where batches come from. They never end: behind the last token the next epoch begins.
pub enum Source<'a> {
    /// A model that runs meanwhile.
    Stream(Box<Stream<'a>>),
    /// A folder of shards on the disk.
    Shards(Box<shards::Reading<'a>>),
}

impl Source<'_> {
    /// Goes to where `batches_done` batches were handed out.
    pub fn seek(&mut self, batches_done: u64) {
        match self {
            Source::Stream(stream) => stream.seek(batches_done),
            Source::Shards(shards) => shards.seek(batches_done),
        }
    }

    /// Width of what is read.
    pub fn d_in(&self) -> usize {
        match self {
            Source::Stream(stream) => stream.d_in(),
            Source::Shards(shards) => shards.shards().manifest().d_in,
        }
    }

    /// Width of a transcoder's targets.
    pub fn d_out(&self) -> Option<usize> {
        match self {
            Source::Stream(stream) => stream.d_out(),
            Source::Shards(shards) => shards.shards().manifest().d_out,
        }
    }

    /// Tokens of an epoch.
    pub fn epoch_tokens(&self) -> u64 {
        match self {
            Source::Stream(stream) => stream.epoch_tokens(),
            Source::Shards(shards) => shards.shards().tokens(),
        }
    }

    /// How many epochs were handed out.
    pub fn epochs(&self) -> f64 {
        match self {
            Source::Stream(stream) => stream.epochs(),
            Source::Shards(shards) => shards.epochs(),
        }
    }

    /// Seconds that a model took so far.
    pub fn seconds_model(&self) -> f64 {
        match self {
            Source::Stream(stream) => stream.seconds_model(),
            Source::Shards(_) => 0.0,
        }
    }

    /// Seconds that mixing, copying and reading took so far.
    pub fn seconds_buffer(&self) -> f64 {
        match self {
            Source::Stream(stream) => stream.seconds_buffer(),
            Source::Shards(shards) => shards.seconds(),
        }
    }

    /// Bytes that it holds in memory, a model's weights not counted.
    pub fn predicted_bytes(&self) -> u64 {
        match self {
            Source::Stream(stream) => stream.predicted_bytes(),
            Source::Shards(shards) => shards.predicted_bytes(),
        }
    }
}

impl Iterator for Source<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        match self {
            Source::Stream(stream) => stream.next(),
            Source::Shards(shards) => shards.next(),
        }
    }
}
