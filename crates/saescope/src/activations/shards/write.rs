//! Writes a folder of shards: rows are scattered over random buckets, then every bucket is shuffled.
//!
//! A bucket is drawn in proportion to the places left in it, so that every bucket is a random sample of
//! all rows. With a random order within each, all orders of the whole are equally likely. Memory holds
//! one bucket twice, and 64 KB for each bucket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use saescope_kernels::Matrix;
use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, MANIFEST, Manifest, Shard, ShardDtype, ShardsOrigin};
use crate::activations::batch::Batch;
use crate::checkpoint::{Elements, NewTensor, save_safetensors, save_whole};
use crate::digest;
use crate::error::{Error, Result};
use crate::shuffle;

/// Largest number of shards, all of which are written at once; more tokens make longer shards.
const MAX_SHARDS: u64 = 256;
const WRITE_BUFFER: usize = 64 << 10;

/// The configuration of a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardsConfig {
    /// The number format.
    pub dtype: ShardDtype,
    /// Number of rows.
    pub tokens: u64,
    /// Approximate size of a shard in bytes; larger if there would be more than 256 shards.
    pub shard_bytes: u64,
    /// Seed of the order.
    pub seed: u64,
}

impl ShardsConfig {
    /// `tokens` rows as bf16 in shards of 128 MiB.
    pub fn new(tokens: u64) -> ShardsConfig {
        ShardsConfig {
            dtype: ShardDtype::Bf16,
            tokens,
            shard_bytes: 128 << 20,
            seed: 0,
        }
    }

    /// Bytes of all rows on disk; `width` is the numbers of a row, targets included.
    pub fn predicted_bytes(&self, width: usize) -> u64 {
        self.tokens
            .saturating_mul((width * self.dtype.bytes()) as u64)
    }

    /// Bytes of disk at the most: all rows, and one shard while it is put in order.
    pub fn peak_bytes(&self, width: usize) -> u64 {
        let all = self.predicted_bytes(width);
        all.saturating_add(all / self.shards(width))
    }

    /// Bytes of memory that writing takes, without the model.
    pub fn predicted_memory(&self, width: usize) -> u64 {
        let shards = self.shards(width);
        self.predicted_bytes(width).saturating_mul(2) / shards + shards * WRITE_BUFFER as u64
    }

    fn shards(&self, width: usize) -> u64 {
        let shards = self
            .predicted_bytes(width)
            .div_ceil(self.shard_bytes.max(1));
        shards.clamp(1, MAX_SHARDS.min(self.tokens.max(1)))
    }
}

/// The progress of writing shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteProgress {
    /// Rows that are in a bucket.
    pub scattered: u64,
    /// Rows that are in a shard.
    pub shuffled: u64,
    /// Rows in all.
    pub tokens: u64,
}

/// Writes the first rows of `batches` as shards into `folder`, which must be missing or empty. The shards
/// are written beside it, into `.NAME.partial`, which replaces `folder` when it is complete. Remains of
/// an interrupted attempt are overwritten.
///
/// Where `on_progress` breaks off, nothing is left of them, and the result is none.
///
/// # Errors
/// When `folder` is not empty, a batch fails, there are too few rows, or a file cannot be written.
pub fn write(
    folder: &Path,
    config: &ShardsConfig,
    origin: ShardsOrigin,
    batches: &mut dyn Iterator<Item = Result<Batch>>,
    on_progress: &mut dyn FnMut(WriteProgress) -> ControlFlow<()>,
) -> Result<Option<Manifest>> {
    check_target(folder)?;
    let partial = PartialFolder::new(folder)?;
    let mut progress = WriteProgress {
        scattered: 0,
        shuffled: 0,
        tokens: config.tokens,
    };
    let buckets = scatter_all(&partial.path, config, batches, &mut |rows| {
        progress.scattered += rows;
        on_progress(progress)
    })?;
    let Some(buckets) = buckets else {
        return Ok(None);
    };
    let mut manifest = Manifest {
        format: FORMAT.to_owned(),
        origin,
        dtype: config.dtype,
        d_in: buckets.d_in,
        d_out: buckets.d_out,
        tokens: config.tokens,
        seed: config.seed,
        shards: Vec::new(),
    };
    let shuffled = buckets.shuffle(&mut |shard| {
        progress.shuffled += shard.tokens;
        manifest.shards.push(shard);
        on_progress(progress)
    })?;
    if shuffled.is_break() {
        return Ok(None);
    }
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|e| Error::format(folder.join(MANIFEST), e.to_string()))?;
    save_whole(&partial.path.join(MANIFEST), |file| file.write_all(&json))?;
    partial.put_in_place(folder)?;
    Ok(Some(manifest))
}

/// Scatters the rows of batches over buckets until there are enough; none where `on_rows` breaks off.
fn scatter_all(
    folder: &Path,
    config: &ShardsConfig,
    batches: &mut dyn Iterator<Item = Result<Batch>>,
    on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<Buckets>> {
    let wanted = config.tokens;
    let mut rest = wanted;
    let mut buckets: Option<Buckets> = None;
    while rest > 0 {
        let batch = batches.next().ok_or_else(|| {
            let found = wanted - rest;
            Error::Argument(format!(
                "there are only {found} of the {wanted} tokens that the shards are to hold"
            ))
        })??;
        let buckets = match &mut buckets {
            Some(buckets) => buckets,
            None => buckets.insert(Buckets::new(folder, config, &batch)?),
        };
        let rows = rest.min(batch.x.rows() as u64);
        buckets.scatter(&batch, rows as usize)?;
        rest -= rows;
        if on_rows(rows).is_break() {
            return Ok(None);
        }
    }
    let none = || Error::Argument("a folder of shards needs at least one token".to_owned());
    buckets.ok_or_else(none).map(Some)
}

/// Checks before the work that `folder` is missing or empty.
///
/// # Errors
/// When it holds anything, or cannot be read.
pub(crate) fn check_target(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::format(
                folder,
                "the folder exists and is not empty; name a new folder",
            )),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(folder, e)),
    }
}

/// The folder in which shards are written; it is removed unless it replaces the target.
struct PartialFolder {
    path: PathBuf,
}

impl PartialFolder {
    fn new(folder: &Path) -> Result<PartialFolder> {
        let name = folder
            .file_name()
            .ok_or_else(|| Error::format(folder, "it is not the name of a folder"))?;
        let path = folder.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
            _ => {}
        }
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(PartialFolder { path })
    }

    fn put_in_place(self, folder: &Path) -> Result<()> {
        // Renaming replaces an empty folder on Unix only.
        std::fs::remove_dir(folder).ok();
        std::fs::rename(&self.path, folder).map_err(|e| Error::io(folder, e))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// Files of rows, one for each future shard.
struct Buckets {
    folder: PathBuf,
    dtype: ShardDtype,
    seed: u64,
    d_in: usize,
    d_out: Option<usize>,
    buckets: Vec<Bucket>,
    /// Places left in all buckets together.
    left: u64,
    random: ChaCha8Rng,
}

struct Bucket {
    path: PathBuf,
    file: BufWriter<File>,
    tokens: u64,
    left: u64,
}

/// The random stream that draws buckets; the streams that shuffle them follow.
const DRAW_STREAM: u64 = 0;
const FIRST_SHUFFLE_STREAM: u64 = 1;

impl Buckets {
    fn new(folder: &Path, config: &ShardsConfig, batch: &Batch) -> Result<Buckets> {
        let d_in = batch.x.cols();
        let d_out = batch.target.as_ref().map(Matrix::cols);
        let shards = config.shards(d_in + d_out.unwrap_or(0));
        let buckets: Result<Vec<Bucket>> = (0..shards)
            .map(|shard| {
                let path = folder.join(format!("bucket-{shard:05}"));
                let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
                let tokens = config.tokens / shards + u64::from(shard < config.tokens % shards);
                Ok(Bucket {
                    path,
                    file: BufWriter::with_capacity(WRITE_BUFFER, file),
                    tokens,
                    left: tokens,
                })
            })
            .collect();
        Ok(Buckets {
            folder: folder.to_path_buf(),
            dtype: config.dtype,
            seed: config.seed,
            d_in,
            d_out,
            buckets: buckets?,
            left: config.tokens,
            random: shuffle::random(config.seed, DRAW_STREAM),
        })
    }

    /// Scatters the first `rows` of a batch over buckets.
    fn scatter(&mut self, batch: &Batch, rows: usize) -> Result<()> {
        let shape = (batch.x.cols(), batch.target.as_ref().map(Matrix::cols));
        if shape != (self.d_in, self.d_out) {
            return Err(Error::Shape {
                what: "a batch of activations".to_owned(),
                expected: format!("{:?}", (self.d_in, self.d_out)),
                found: format!("{shape:?}"),
            });
        }
        let mut bytes = Vec::new();
        for row in 0..rows {
            bytes.clear();
            encode(self.dtype, batch.x.row(row), &mut bytes)?;
            if let Some(target) = &batch.target {
                encode(self.dtype, target.row(row), &mut bytes)?;
            }
            let bucket = self.draw();
            let written = bucket.file.write_all(&bytes);
            written.map_err(|e| Error::io(&bucket.path, e))?;
        }
        Ok(())
    }

    /// Draws a bucket in proportion to the places left in it.
    fn draw(&mut self) -> &mut Bucket {
        let mut place = shuffle::below(&mut self.random, self.left);
        self.left -= 1;
        let mut chosen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            chosen = index;
            if place < bucket.left {
                break;
            }
            place -= bucket.left;
        }
        let bucket = &mut self.buckets[chosen];
        bucket.left -= 1;
        bucket
    }

    /// Turns every bucket into a shard, until `on_shard` breaks off.
    fn shuffle(
        mut self,
        on_shard: &mut dyn FnMut(Shard) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        for (number, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
            let Bucket {
                path, file, tokens, ..
            } = bucket;
            let file = file.into_inner();
            drop(file.map_err(|e| Error::io(&path, e.into_error()))?);
            let rows = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            let mut random = shuffle::random(self.seed, FIRST_SHUFFLE_STREAM + number as u64);
            // A bucket fits into memory, so that it has fewer than 2^32 rows.
            let order = shuffle::permutation(tokens as u32, &mut random);
            let (mut x, mut target) = (Vec::new(), Vec::new());
            let size = self.dtype.bytes();
            let (x_len, target_len) = (self.d_in * size, self.d_out.unwrap_or(0) * size);
            x.reserve_exact(order.len() * x_len);
            target.reserve_exact(order.len() * target_len);
            for row in order {
                let row = &rows[row as usize * (x_len + target_len)..];
                x.extend_from_slice(&row[..x_len]);
                target.extend_from_slice(&row[x_len..x_len + target_len]);
            }
            drop(rows);
            let shard = self.save_shard(number, tokens, &x, &target)?;
            if on_shard(shard).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn save_shard(&self, number: usize, tokens: u64, x: &[u8], target: &[u8]) -> Result<Shard> {
        let dtype = self.dtype.dtype();
        let x_shape = [tokens as usize, self.d_in];
        let target_shape = [tokens as usize, self.d_out.unwrap_or(0)];
        let mut tensors = vec![NewTensor {
            name: "x",
            shape: &x_shape,
            elements: Elements::Stored(dtype, x),
        }];
        if self.d_out.is_some() {
            tensors.push(NewTensor {
                name: "target",
                shape: &target_shape,
                elements: Elements::Stored(dtype, target),
            });
        }
        let file = format!("shard-{number:05}.safetensors");
        let path = self.folder.join(&file);
        save_safetensors(&path, &tensors, &BTreeMap::new())?;
        let (sha256, bytes) = digest::of_file(&path)?;
        Ok(Shard {
            file,
            tokens,
            bytes,
            sha256: digest::hex(&sha256),
        })
    }
}

/// Appends a row in the number format of the shards.
fn encode(dtype: ShardDtype, row: &[f32], to: &mut Vec<u8>) -> Result<()> {
    match dtype {
        ShardDtype::F32 => to.extend(row.iter().flat_map(|x| x.to_le_bytes())),
        ShardDtype::Bf16 => {
            to.extend(row.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
        }
        ShardDtype::F16 => {
            for &x in row {
                let half = f16::from_f32(x);
                if half.is_infinite() && x.is_finite() {
                    return Err(Error::OutOfRange {
                        what: "an activation".to_owned(),
                        value: x,
                        format: "f16",
                    });
                }
                to.extend(half.to_le_bytes());
            }
        }
    }
    Ok(())
}
