//! Batches from a folder of shards.

use std::ops::Range;
use std::time::Instant;

use saescope_kernels::Matrix;

use super::folder::Shards;
use crate::activations::batch::{Batch, Batches, Clocks};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::shuffle;

/// Batches of a folder of shards without end. Every epoch after the first reads the shards in another
/// random order. A batch may begin in one shard and end in the next.
pub struct ShardReader<'a> {
    shards: &'a Shards,
    /// The rows of every shard that are read.
    parts: Vec<Range<u64>>,
    batch_tokens: usize,
    /// Number of the next batch.
    next: u64,
    /// True for shards whose checksum was verified.
    verified: Vec<bool>,
    open: Option<OpenShard>,
    /// The order of the shards in the epoch last read.
    order: (u64, Vec<u32>),
    seconds: f64,
}

struct OpenShard {
    number: usize,
    file: Checkpoint,
}

/// Successive rows of a shard.
struct Rows {
    first: usize,
    count: usize,
}

impl Shards {
    /// The activations in batches of `batch_tokens` rows.
    ///
    /// # Errors
    /// When `batch_tokens` is 0.
    pub fn batches(&self, batch_tokens: usize) -> Result<ShardReader<'_>> {
        if batch_tokens == 0 {
            return Err(Error::Argument(
                "a batch needs at least one token".to_owned(),
            ));
        }
        let shards = self.manifest().shards.len();
        Ok(ShardReader {
            shards: self,
            parts: self.parts(),
            batch_tokens,
            next: 0,
            verified: vec![false; shards],
            open: None,
            order: (0, (0..shards as u32).collect()),
            seconds: 0.0,
        })
    }
}

impl ShardReader<'_> {
    /// The shards that are read.
    pub fn shards(&self) -> &Shards {
        self.shards
    }

    /// Number of epochs that were handed out, as a fraction.
    pub fn epochs(&self) -> f64 {
        self.next as f64 * self.batch_tokens as f64 / self.shards.tokens() as f64
    }

    fn batch(&mut self) -> Result<Batch> {
        let manifest = self.shards.manifest();
        let mut batch = Batch {
            x: Matrix::zeros(self.batch_tokens, manifest.d_in),
            target: manifest
                .d_out
                .map(|d_out| Matrix::zeros(self.batch_tokens, d_out)),
        };
        let first = u128::from(self.next) * self.batch_tokens as u128;
        let all = u128::from(self.shards.tokens());
        let mut epoch = (first / all) as u64;
        let mut before = (first % all) as u64;
        let mut filled = 0;
        while filled < self.batch_tokens {
            self.order_of(epoch);
            for place in 0..self.order.1.len() {
                let number = self.order.1[place] as usize;
                let part = self.parts[number].clone();
                let tokens = part.end - part.start;
                if before >= tokens {
                    before -= tokens;
                    continue;
                }
                let rows = Rows {
                    first: (part.start + before) as usize,
                    count: (tokens - before).min((self.batch_tokens - filled) as u64) as usize,
                };
                self.copy(number, &rows, filled, &mut batch)?;
                filled += rows.count;
                before = 0;
                if filled == self.batch_tokens {
                    break;
                }
            }
            epoch += 1;
        }
        Ok(batch)
    }

    /// Computes the order of the shards in an epoch.
    fn order_of(&mut self, epoch: u64) {
        if self.order.0 != epoch {
            let manifest = self.shards.manifest();
            let mut order: Vec<u32> = (0..manifest.shards.len() as u32).collect();
            if epoch > 0 {
                shuffle::shuffle(&mut order, &mut shuffle::random(manifest.seed, epoch));
            }
            self.order = (epoch, order);
        }
    }

    /// Copies rows of a shard into the batch, after the `filled` rows that it has.
    fn copy(&mut self, shard: usize, rows: &Rows, filled: usize, batch: &mut Batch) -> Result<()> {
        let file = self.shard(shard)?;
        let read = |name: &str, to: &mut Matrix| {
            let width = to.cols();
            let out = &mut to.data_mut()[filled * width..(filled + rows.count) * width];
            let tensor = file.tensor(name)?;
            tensor.read(rows.first * width..(rows.first + rows.count) * width, out)
        };
        read("x", &mut batch.x)?;
        batch
            .target
            .as_mut()
            .map_or(Ok(()), |target| read("target", target))
    }

    /// Opens a shard, unless it is the open one.
    fn shard(&mut self, number: usize) -> Result<&Checkpoint> {
        let opened = match self.open.take() {
            Some(opened) if opened.number == number => opened,
            _ => {
                let file = self.shards.open_shard(number, !self.verified[number])?;
                self.verified[number] = true;
                OpenShard { number, file }
            }
        };
        Ok(&self.open.insert(opened).file)
    }
}

impl Batches for ShardReader<'_> {
    fn seek(&mut self, batches_done: u64) {
        self.next = batches_done;
    }

    fn clocks(&self) -> Clocks {
        Clocks {
            seconds_model: 0.0,
            seconds_buffer: self.seconds,
        }
    }

    /// Bytes of a batch; shards are mapped.
    fn predicted_bytes(&self) -> u64 {
        let manifest = self.shards.manifest();
        let width = manifest.d_in + manifest.d_out.unwrap_or(0);
        4 * (self.batch_tokens * width) as u64
    }
}

impl Iterator for ShardReader<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let start = Instant::now();
        let batch = self.batch();
        self.seconds += start.elapsed().as_secs_f64();
        self.next += u64::from(batch.is_ok());
        Some(batch)
    }
}
