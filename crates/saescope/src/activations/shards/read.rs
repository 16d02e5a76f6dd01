//! Batches out of a folder of shards.

use std::ops::Range;
use std::time::Instant;

use saescope_kernels::Matrix;

use super::{Shard, Shards};
use crate::activations::Batch;
use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::error::{Error, Result};
use crate::shuffle;

/// Batches of a folder of shards without end. A later epoch reads the shards in an order of its own; a batch may
/// begin in one and end in the next.
pub struct Reading<'a> {
    shards: &'a Shards,
    /// Of every shard the rows that are read.
    parts: Vec<Range<u64>>,
    batch_tokens: usize,
    /// Number of the next batch.
    next: u64,
    /// Which shards had their checksum taken.
    checked: Vec<bool>,
    open: Option<Opened>,
    /// The order of the shards in the epoch last read.
    order: (u64, Vec<u32>),
    seconds: f64,
}

struct Opened {
    shard: usize,
    file: Checkpoint,
}

impl Shards {
    /// Its activations in batches.
    ///
    /// # Errors
    /// When a batch would be empty.
    pub fn batches(&self, batch_tokens: usize) -> Result<Reading<'_>> {
        if batch_tokens == 0 {
            return Err(Error::Argument(
                "a batch needs at least one token".to_owned(),
            ));
        }
        let shards = self.manifest.shards.len();
        Ok(Reading {
            shards: self,
            parts: self.parts(),
            batch_tokens,
            next: 0,
            checked: vec![false; shards],
            open: None,
            order: (0, (0..shards as u32).collect()),
            seconds: 0.0,
        })
    }
}

impl Reading<'_> {
    /// Goes to where `batches_done` batches were handed out.
    pub fn seek(&mut self, batches_done: u64) {
        self.next = batches_done;
    }

    /// What is read.
    pub fn shards(&self) -> &Shards {
        self.shards
    }

    /// How often the shards was handed out, as a fraction.
    pub fn epochs(&self) -> f64 {
        self.next as f64 * self.batch_tokens as f64 / self.shards.tokens() as f64
    }

    /// Seconds that reading took so far.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Bytes of memory that a batch takes; shards are mapped.
    pub fn predicted_bytes(&self) -> u64 {
        let manifest = &self.shards.manifest;
        let width = manifest.d_in + manifest.d_out.unwrap_or(0);
        4 * (self.batch_tokens * width) as u64
    }

    fn batch(&mut self) -> Result<Batch> {
        let manifest = &self.shards.manifest;
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
            self.turn_to(epoch);
            for place in 0..self.order.1.len() {
                let number = self.order.1[place] as usize;
                let part = self.parts[number].clone();
                let tokens = part.end - part.start;
                if before >= tokens {
                    before -= tokens;
                    continue;
                }
                let rows = (tokens - before).min((self.batch_tokens - filled) as u64) as usize;
                let first = (part.start + before) as usize;
                self.copy((number, first), (filled, rows), &mut batch)?;
                filled += rows;
                before = 0;
                if filled == self.batch_tokens {
                    break;
                }
            }
            epoch += 1;
        }
        Ok(batch)
    }

    fn turn_to(&mut self, epoch: u64) {
        if self.order.0 != epoch {
            let manifest = &self.shards.manifest;
            let mut order: Vec<u32> = (0..manifest.shards.len() as u32).collect();
            if epoch > 0 {
                shuffle::shuffle(&mut order, &mut shuffle::random(manifest.seed, epoch));
            }
            self.order = (epoch, order);
        }
    }

    /// Copies `rows` of a shard, from `first` on, to where `filled` rows are.
    fn copy(
        &mut self,
        (shard, first): (usize, usize),
        (filled, rows): (usize, usize),
        batch: &mut Batch,
    ) -> Result<()> {
        let file = self.shard(shard)?;
        let read = |name: &str, to: &mut Matrix| {
            let width = to.cols();
            let out = &mut to.data_mut()[filled * width..(filled + rows) * width];
            let tensor = file.tensor(name)?;
            tensor.read(first * width..(first + rows) * width, out)
        };
        read("x", &mut batch.x)?;
        batch
            .target
            .as_mut()
            .map_or(Ok(()), |target| read("target", target))
    }

    /// A shard that is what `shards.json` says it is.
    fn shard(&mut self, number: usize) -> Result<&Checkpoint> {
        let opened = match self.open.take() {
            Some(opened) if opened.shard == number => opened,
            _ => {
                let file = self.shards.open_shard(number, !self.checked[number])?;
                self.checked[number] = true;
                Opened {
                    shard: number,
                    file,
                }
            }
        };
        Ok(&self.open.insert(opened).file)
    }
}

impl Shards {
    fn open_shard(&self, number: usize, check: bool) -> Result<Checkpoint> {
        let manifest = &self.manifest;
        let Shard {
            file,
            tokens,
            sha256,
            ..
        } = &manifest.shards[number];
        let path = self.folder.join(file);
        if check && digest::hex(&digest::of_file(&path)?.0) != *sha256 {
            let reason = "its checksum is not the one in shards.json; capture the shards anew";
            return Err(Error::format(&path, reason));
        }
        let opened = Checkpoint::open(&path)?;
        let widths = [("x", Some(manifest.d_in)), ("target", manifest.d_out)];
        for (name, width) in widths {
            let Some(width) = width else { continue };
            let tensor = opened.tensor(name)?;
            let expected = [*tokens as usize, width];
            if tensor.shape() != expected || tensor.dtype() != manifest.dtype.dtype() {
                let (shape, dtype) = (tensor.shape(), tensor.dtype());
                let reason = format!(
                    "it is {shape:?} of {dtype}, and shards.json says {expected:?} of {}",
                    manifest.dtype.dtype()
                );
                return Err(tensor.error(reason));
            }
        }
        Ok(opened)
    }
}

impl Iterator for Reading<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let start = Instant::now();
        let batch = self.batch();
        self.seconds += start.elapsed().as_secs_f64();
        self.next += u64::from(batch.is_ok());
        Some(batch)
    }
}
