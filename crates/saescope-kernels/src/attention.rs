//! Causal attention over cached keys and values.
//!
//! The cache keeps keys and values as panels (see `tile`): keys as columns, so that scores are a
//! product, and values depth-major, so that their weighted sum is one too. The tiles compute each
//! row in an order that does not depend on the rows beside it: a token attends to the same bits
//! whether its sequence is run whole or one token at a time. Positions in a batch and layers are
//! not known here.

use rayon::prelude::*;

use crate::activation::softcap_row_with;
use crate::buffer::{Buffer, Scratch};
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::parallel::{self, Shared};
use crate::simd::{Simd, each, exp, kernel, load, store};
use crate::tile::{Panel, Tile, Tiles};
use crate::transpose::transpose_words;
use crate::weight::panel_width;

/// The hyperparameters of a layer's attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; query head `h` reads key head `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor of the scores; positive.
    pub scale: f32,
    /// Cap of the scores: `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Number of tokens that a token attends to, itself included.
    pub window: Option<usize>,
}

/// The keys and values of one sequence in one layer.
pub struct KeysValues {
    isa: Isa,
    n_kv_heads: usize,
    d_head: usize,
    /// Number of positions that fit; whole panels.
    capacity: usize,
    len: usize,
    /// `[n_kv_heads][capacity / NR][d_head][NR]`
    keys: Buffer,
    /// `[n_kv_heads][ceil(d_head / NR)][capacity][NR]`
    values: Buffer,
}

impl KeysValues {
    /// An empty cache for `capacity` positions.
    pub fn new(n_kv_heads: usize, d_head: usize, capacity: usize) -> KeysValues {
        KeysValues::new_on(Isa::current(), n_kv_heads, d_head, capacity)
    }

    pub(crate) fn new_on(
        isa: Isa,
        n_kv_heads: usize,
        d_head: usize,
        capacity: usize,
    ) -> KeysValues {
        let width = panel_width(isa);
        let capacity = capacity.next_multiple_of(width);
        let keys = Buffer::zeros(n_kv_heads * capacity * d_head);
        let values = Buffer::zeros(n_kv_heads * d_head.next_multiple_of(width) * capacity);
        KeysValues {
            isa,
            n_kv_heads,
            d_head,
            capacity,
            len: 0,
            keys,
            values,
        }
    }

    /// Number of positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops every position from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `n` positions from rows `first..first + n` of `qkv`, whose key heads start at column
    /// `keys_at` and whose value heads follow them.
    ///
    /// # Panics
    /// When the positions do not fit, or `qkv` lacks such rows or heads.
    pub fn append(&mut self, qkv: &Matrix, first: usize, n: usize, keys_at: usize) {
        assert!(
            self.len + n <= self.capacity,
            "room in a cache of {}",
            self.capacity
        );
        assert!(
            first + n <= qkv.rows() && keys_at + 2 * self.n_kv_heads * self.d_head <= qkv.cols(),
            "rows and heads to append"
        );
        let (width, d, capacity) = (panel_width(self.isa), self.d_head, self.capacity);
        let values_at = keys_at + self.n_kv_heads * d;
        let values_per_head = d.next_multiple_of(width) * capacity;
        let (isa, start, end) = (self.isa, self.len, self.len + n);
        let keys = self
            .keys
            .as_mut_slice()
            .par_chunks_mut((capacity * d).max(1));
        let values = self
            .values
            .as_mut_slice()
            .par_chunks_mut(values_per_head.max(1));
        let heads = keys.zip(values).enumerate();
        // One token is too little work to share out.
        let heads = heads.with_min_len(if n > 1 { 1 } else { self.n_kv_heads });
        heads.for_each(|(head, (keys, values))| {
            let mut position = start;
            while position < end {
                let panel_end = (position / width + 1) * width;
                let rows = panel_end.min(end) - position;
                let row = first + position - start;
                let from = &qkv.data()[row * qkv.cols() + keys_at + head * d..];
                let to = &mut keys[position / width * width * d + position % width..];
                // SAFETY: as many rows of `qkv` follow, and the panel has as many columns left.
                unsafe {
                    let (from, to) = (from.as_ptr().cast(), to.as_mut_ptr().cast());
                    transpose_words(isa, rows, d, from, qkv.cols(), to, width);
                }
                position += rows;
            }
            for (row, position) in (first..first + n).zip(start..) {
                let value = &qkv.row(row)[values_at + head * d..][..d];
                for (panel, value) in value.chunks(width).enumerate() {
                    let at = (panel * capacity + position) * width;
                    values[at..at + value.len()].copy_from_slice(value);
                }
            }
        });
        self.len += n;
    }
}

/// The rows of one sequence in a batch; its cache ends with them.
#[derive(Clone, Copy)]
pub struct Sequence<'a> {
    /// Keys and values up to and including these rows.
    pub cache: &'a KeysValues,
    /// Number of rows.
    pub rows: usize,
}

/// Attention of every sequence to itself. `qkv` holds the rotated query heads in its first columns;
/// `z` takes the shape `[rows, n_heads * d_head]`.
///
/// # Panics
/// When rows, heads and caches do not fit together.
pub fn attend(attention: &Attention, qkv: &Matrix, sequences: &[Sequence], z: &mut Matrix) {
    check_queries(attention, qkv, sequences);
    z.reshape(qkv.rows(), attention.n_heads * attention.d_head);
    let z_cols = z.cols();
    let shared = Shared::new(z.data_mut());
    each_block(attention, sequences, |block| {
        // SAFETY: blocks are disjoint and lie within `qkv` and `z`.
        unsafe {
            let z = shared
                .get()
                .add(block.row * z_cols + block.head * attention.d_head);
            attend_block(block.cache.isa, attention, qkv, block, z, z_cols);
        }
    });
}

/// The attention pattern, `[rows, n_heads * n_keys]`: probabilities, head-major within a row, where
/// `n_keys` is the number of keys of the longest sequence.
///
/// # Panics
/// When rows, heads and caches do not fit together.
pub fn pattern(attention: &Attention, qkv: &Matrix, sequences: &[Sequence]) -> Matrix {
    check_queries(attention, qkv, sequences);
    let n_keys = longest(sequences);
    let mut pattern = Matrix::zeros(qkv.rows(), attention.n_heads * n_keys);
    let cols = pattern.cols();
    let shared = Shared::new(pattern.data_mut());
    each_block(attention, sequences, |block| {
        // SAFETY: blocks are disjoint and lie within `qkv` and the pattern.
        unsafe {
            let out = shared.get().add(block.row * cols + block.head * n_keys);
            pattern_block(block.cache.isa, attention, qkv, block, out, cols);
        }
    });
    pattern
}

/// [`attend`] with a given pattern in place of its own.
///
/// # Panics
/// When the pattern has another shape than that of [`pattern`], or heads and caches do not fit
/// together.
pub fn attend_with_pattern(
    attention: &Attention,
    pattern: &Matrix,
    sequences: &[Sequence],
    z: &mut Matrix,
) {
    check(attention, pattern.rows(), sequences);
    let n_keys = longest(sequences);
    assert_eq!(
        pattern.cols(),
        attention.n_heads * n_keys,
        "columns of an attention pattern"
    );
    z.reshape(pattern.rows(), attention.n_heads * attention.d_head);
    let z_cols = z.cols();
    let shared = Shared::new(z.data_mut());
    each_block(attention, sequences, |block| {
        // SAFETY: blocks are disjoint and lie within the pattern and `z`.
        unsafe {
            let weights = &pattern.row(block.row)[block.head * n_keys..];
            let weights = Weights {
                first: weights.as_ptr(),
                stride: pattern.cols(),
                keys: 0..block.cache.len,
            };
            let z = shared
                .get()
                .add(block.row * z_cols + block.head * attention.d_head);
            weigh_block(block.cache.isa, attention, block, &weights, z, z_cols);
        }
    });
}

/// # Panics
/// When `qkv` lacks query heads, and as for [`check`].
fn check_queries(attention: &Attention, qkv: &Matrix, sequences: &[Sequence]) {
    check(attention, qkv.rows(), sequences);
    assert!(
        attention.n_heads * attention.d_head <= qkv.cols(),
        "query heads of a row"
    );
}

/// Keys of the longest sequence.
fn longest(sequences: &[Sequence]) -> usize {
    let lengths = sequences.iter().map(|sequence| sequence.cache.len);
    lengths.max().unwrap_or(0)
}

/// # Panics
/// When the rows of a batch, its heads and its caches do not fit together.
fn check(attention: &Attention, rows: usize, sequences: &[Sequence]) {
    let of_sequences: usize = sequences.iter().map(|sequence| sequence.rows).sum();
    assert_eq!(of_sequences, rows, "rows of all sequences");
    let groups = attention.n_heads.checked_rem(attention.n_kv_heads);
    assert_eq!(groups, Some(0), "query heads for each key head");
    for Sequence { cache, rows } in sequences {
        assert!(*rows <= cache.len, "cached positions of a sequence");
        let heads = (cache.n_kv_heads, cache.d_head);
        assert_eq!(
            heads,
            (attention.n_kv_heads, attention.d_head),
            "heads of a cache"
        );
    }
}

/// Consecutive queries of one head of one sequence.
struct Block<'a> {
    cache: &'a KeysValues,
    head: usize,
    /// First row in the batch.
    row: usize,
    rows: usize,
    /// Absolute position of the first row.
    position: usize,
}

impl Block<'_> {
    /// The keys that the queries of the block attend to, from the start of a panel on.
    fn keys(&self, window: Option<usize>) -> std::ops::Range<usize> {
        let first = window.map_or(0, |window| (self.position + 1).saturating_sub(window));
        let width = panel_width(self.cache.isa);
        first / width * width..self.position + self.rows
    }
}

/// Queries of a block: enough to use each panel several times, few enough that their scores stay in
/// the second cache.
const QUERIES: usize = 24;

/// Runs `task` for every block of a batch.
fn each_block(attention: &Attention, sequences: &[Sequence], task: impl Fn(&Block) + Sync) {
    let mut blocks = Vec::new();
    let mut row = 0;
    for sequence in sequences {
        let start = sequence.cache.len - sequence.rows;
        for head in 0..attention.n_heads {
            for first in (0..sequence.rows).step_by(QUERIES) {
                blocks.push(Block {
                    cache: sequence.cache,
                    head,
                    row: row + first,
                    rows: (sequence.rows - first).min(QUERIES),
                    position: start + first,
                });
            }
        }
        row += sequence.rows;
    }
    let work = |block: &Block| 2 * block.rows * (block.position + block.rows) * attention.d_head;
    let work = blocks.iter().map(work).sum();
    parallel::for_each(blocks.len(), work, |index| task(&blocks[index]));
}

/// Rows of attention probabilities.
struct Weights {
    first: *const f32,
    stride: usize,
    /// The keys of a row's entries.
    keys: std::ops::Range<usize>,
}

kernel! {
    /// Attention of a block.
    ///
    /// # Safety
    /// The block lies within `qkv`, and `z` has room for its rows, `z_stride` apart.
    fn attend_block(
        attention: &Attention, qkv: &Matrix, block: &Block, z: *mut f32, z_stride: usize
    ) = attend_block_with
}

kernel! {
    /// The attention pattern of a block.
    ///
    /// # Safety
    /// The block lies within `qkv`, and `out` has room for its rows, `stride` apart.
    fn pattern_block(
        attention: &Attention, qkv: &Matrix, block: &Block, out: *mut f32, stride: usize
    ) = pattern_block_with
}

kernel! {
    /// The weighted values of a block.
    ///
    /// # Safety
    /// The weights have the block's rows, and `z` room for them, `z_stride` apart.
    fn weigh_block(
        attention: &Attention, block: &Block, weights: &Weights, z: *mut f32, z_stride: usize
    ) = weigh_block_with
}

/// # Safety
/// As for [`attend_block`].
#[inline(always)]
unsafe fn attend_block_with<S: Tiles>(
    attention: &Attention,
    qkv: &Matrix,
    block: &Block,
    z: *mut f32,
    z_stride: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let (scores, stride) = probabilities::<S>(attention, qkv, block);
        let keys = block.keys(attention.window);
        let weights = Weights {
            first: scores.as_slice().as_ptr(),
            stride,
            keys,
        };
        weigh_block_with::<S>(attention, block, &weights, z, z_stride);
    }
}

/// # Safety
/// As for [`pattern_block`].
#[inline(always)]
unsafe fn pattern_block_with<S: Tiles>(
    attention: &Attention,
    qkv: &Matrix,
    block: &Block,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let (scores, width) = probabilities::<S>(attention, qkv, block);
        let keys = block.keys(attention.window);
        for row in 0..block.rows {
            let from = scores.as_slice().as_ptr().add(row * width);
            std::ptr::copy_nonoverlapping(from, out.add(row * stride + keys.start), keys.len());
        }
    }
}

/// The probabilities of a block, `[rows, width]`, and `width`: the keys of the block and some past
/// them, whose entries are zero.
///
/// # Safety
/// The block lies within `qkv`.
#[inline(always)]
unsafe fn probabilities<S: Tiles>(
    attention: &Attention,
    qkv: &Matrix,
    block: &Block,
) -> (Scratch, usize) {
    let keys = block.keys(attention.window);
    let width = keys.len().next_multiple_of(S::NR);
    let mut scores = Scratch::new(block.rows * width);
    let cache = block.cache;
    let kv_head = block.head / (attention.n_heads / attention.n_kv_heads);
    let head_keys = kv_head * cache.capacity * attention.d_head;
    // SAFETY: panels up to `keys.end` are within the cache, tiles within the scores.
    unsafe {
        let queries = qkv
            .data()
            .as_ptr()
            .add(block.row * qkv.cols() + block.head * attention.d_head);
        let out = scores.as_mut_slice().as_mut_ptr();
        for at in (0..width).step_by(S::NR) {
            let panel = head_keys + (keys.start + at) * attention.d_head;
            let panel = Panel::F32(cache.keys.as_slice().as_ptr().add(panel));
            for row in (0..block.rows).step_by(S::MR) {
                let tile = Tile {
                    a: queries.add(row * qkv.cols()),
                    a_stride: qkv.cols(),
                    panel,
                    depth: attention.d_head,
                    out: out.add(row * width + at),
                    out_stride: width,
                    width: S::NR,
                    accumulate: false,
                    bias: std::ptr::null(),
                    residual: std::ptr::null(),
                };
                S::run((block.rows - row).min(S::MR), &tile);
            }
        }
        for row in 0..block.rows {
            let position = block.position + row;
            let first = attention
                .window
                .map_or(0, |window| (position + 1).saturating_sub(window));
            let visible = first.max(keys.start) - keys.start..position + 1 - keys.start;
            let scores = std::slice::from_raw_parts_mut(out.add(row * width), width);
            softmax::<S>(attention, scores, visible);
        }
    }
    (scores, width)
}

/// Turns scores into probabilities over the `visible` entries; the others become zero.
///
/// # Safety
/// The row is a whole number of vectors.
#[inline(always)]
unsafe fn softmax<S: Simd>(
    attention: &Attention,
    scores: &mut [f32],
    visible: std::ops::Range<usize>,
) {
    let n = scores.len();
    // SAFETY: every vector lies within the row.
    unsafe {
        let row = scores.as_mut_ptr();
        let mut scale = attention.scale;
        if let Some(cap) = attention.softcap {
            each!(S, n, row, |at, x, lanes| S::mul(
                x,
                S::splat(attention.scale)
            ));
            softcap_row_with::<S>(cap, row, n);
            scale = 1.0;
        }
        scores[..visible.start].fill(f32::NEG_INFINITY);
        scores[visible.end..].fill(f32::NEG_INFINITY);
        let mut largest = S::splat(f32::NEG_INFINITY);
        for i in (0..n).step_by(S::LANES) {
            largest = S::max(largest, S::load(row.add(i)));
        }
        let largest = S::splat(S::largest(largest) * scale);
        // One chain of additions: entries that are not visible add zero to it, so that the sum has
        // the same bits however far the row reaches on either side.
        let mut sum = S::splat(0.0);
        for i in (0..n).step_by(S::LANES) {
            let x = S::sub(S::mul(S::load(row.add(i)), S::splat(scale)), largest);
            let x = exp::<S>(x);
            sum = S::add(sum, x);
            S::store(row.add(i), x);
        }
        let inverse = S::splat(1.0 / S::sum(sum));
        each!(S, n, row, |at, x, lanes| S::mul(x, inverse));
    }
    scores[..visible.start].fill(0.0);
    scores[visible.end..].fill(0.0);
}

/// # Safety
/// As for [`weigh_block`].
#[inline(always)]
unsafe fn weigh_block_with<S: Tiles>(
    attention: &Attention,
    block: &Block,
    weights: &Weights,
    z: *mut f32,
    z_stride: usize,
) {
    let cache = block.cache;
    let kv_head = block.head / (attention.n_heads / attention.n_kv_heads);
    let head_values = kv_head * attention.d_head.next_multiple_of(S::NR) * cache.capacity;
    for at in (0..attention.d_head).step_by(S::NR) {
        // SAFETY: the keys are within the cache, the tiles within `z`.
        unsafe {
            let panel = head_values + at * cache.capacity + weights.keys.start * S::NR;
            let panel = Panel::F32(cache.values.as_slice().as_ptr().add(panel));
            for row in (0..block.rows).step_by(S::MR) {
                let tile = Tile {
                    a: weights.first.add(row * weights.stride),
                    a_stride: weights.stride,
                    panel,
                    depth: weights.keys.len(),
                    out: z.add(row * z_stride + at),
                    out_stride: z_stride,
                    width: (attention.d_head - at).min(S::NR),
                    accumulate: false,
                    bias: std::ptr::null(),
                    residual: std::ptr::null(),
                };
                S::run((block.rows - row).min(S::MR), &tile);
            }
        }
    }
}
