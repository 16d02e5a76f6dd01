//! A screen in bytes, for processors that multiply four pairs of them at once.
//!
//! Its bounds are wider than those of 16-bit integers and let more features pass, so each of them is
//! computed at once, while its row of the encoder is near: the thresholds are then those of exact
//! values.

mod walk;

use rayon::prelude::*;

use super::best::Best;
use super::rounding::{Bounds, Range, round};
use super::{Columns, Rounder};
use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::Avx512;
use crate::tile::Tiles;
use crate::transpose::words;

use walk::Job;

const MR: usize = Avx512::MR;
const NR: usize = Avx512::NR;

/// Most rows of a task. The more, the less often the encoder is read.
const ROWS_PER_TASK: usize = 1024;

/// Encoder rows as bytes.
pub(crate) struct Bytes {
    d_in: usize,
    n_features: usize,
    /// `[panels][d_in / 4][NR][4]`, unsigned: 128 more than the integers.
    panels: Buffer,
    columns: Columns,
    /// Mean of what rounding cuts off a row, as a share of its length.
    cut: f32,
}

/// Rows of activations as bytes.
pub(crate) struct ByteRows {
    /// `[rows, stride]`
    values: Vec<i8>,
    stride: usize,
    bounds: Vec<Bounds>,
    /// What the panels' 128 too many add to a sum, negative.
    excess: Vec<i32>,
}

/// What an activation is computed from.
pub(crate) struct Exact<'a> {
    /// `[features, d_in]`
    pub(crate) weight: &'a Matrix,
    pub(crate) bias: &'a [f32],
    /// What values have to exceed besides 0.
    pub(crate) above: Option<&'a [f32]>,
}

impl Bytes {
    pub(crate) fn empty() -> Bytes {
        Bytes {
            d_in: 0,
            n_features: 0,
            panels: Buffer::default(),
            columns: Columns::default(),
            cut: 0.0,
        }
    }

    /// Rounds `weight` `[features, d_in]`; `offset` `[features]` is added to products.
    pub(crate) fn renew(&mut self, weight: &Matrix, offset: &[f32]) {
        (self.n_features, self.d_in) = (weight.rows(), weight.cols());
        let n_panels = self.n_features.div_ceil(NR);
        let quads = self.d_in.div_ceil(4);
        self.panels.renew(n_panels * NR * quads);
        let columns = self.columns.each(n_panels * NR);
        let [unit, added, length, cut] = columns.map(|values| values.par_chunks_mut(NR));
        let panels = self
            .panels
            .as_mut_slice()
            .par_chunks_mut((NR * quads).max(1));
        let panels = panels.zip(unit.zip(added)).zip(length.zip(cut)).enumerate();
        let rounder = Rounder {
            isa: Isa::Avx512Bf16,
            range: Range::Bytes,
            weight,
            offset,
        };
        let scratch = || (vec![0_i16; 4 * quads], vec![0_u8; NR * 4 * quads]);
        panels.for_each_init(
            scratch,
            |(row, bytes), (panel, ((out, (unit, added)), (length, cut)))| {
                for (column, bytes) in bytes.chunks_exact_mut((4 * quads).max(1)).enumerate() {
                    let values = rounder.column(panel * NR + column, row);
                    [unit[column], added[column], length[column], cut[column]] = values;
                    for (byte, &value) in bytes.iter_mut().zip(&*row) {
                        *byte = (value + 128) as u8;
                    }
                }
                // SAFETY: there are `NR` rows of quads of bytes, a word each, and as many columns.
                unsafe {
                    let (rows, out) = (bytes.as_ptr().cast(), out.as_mut_ptr().cast());
                    words(rounder.isa, (NR, quads), (rows, quads), (out, NR));
                }
            },
        );
        self.cut = mean_share(self.columns.cut.iter().zip(&self.columns.length));
    }

    /// Whether so few features pass that are not active that the screen pays.
    pub(crate) fn pays(&self, rows: &ByteRows) -> bool {
        /// How far a bound may be from a product, in standard deviations of the products of random
        /// rows, of which one in some hundred is active.
        const LOOSEST: f32 = 0.75;
        let bounds = rows.bounds.iter();
        let cut = self.cut + mean_share(bounds.map(|bounds| (&bounds.cut, &bounds.length)));
        // Sums of this many bytes' products stay within 32 bits.
        self.d_in <= 1 << 15 && cut * (self.d_in as f32).sqrt() < LOOSEST
    }

    /// Gathers the active features of every row of `x`, `[rows, d_in]`.
    pub(crate) fn walk(&self, x: &Matrix, rows: &ByteRows, exact: &Exact, sinks: &mut [Best]) {
        let chunk = x.rows().div_ceil(2 * rayon::current_num_threads());
        let chunk = chunk.next_multiple_of(MR).clamp(MR, ROWS_PER_TASK);
        let tasks = sinks.par_chunks_mut(chunk).enumerate().with_max_len(1);
        tasks.for_each(|(index, sinks)| {
            let job = Job {
                screen: self,
                x,
                rows,
                exact,
                first: index * chunk,
            };
            // SAFETY: the sinks stand for rows of `x` from `first` on, and whoever makes such a
            // screen has checked the processor.
            unsafe { walk::walk(&job, sinks) };
        });
    }
}

/// Mean of what is cut off as a share of lengths.
fn mean_share<'a>(shares: impl ExactSizeIterator<Item = (&'a f32, &'a f32)>) -> f32 {
    let n = shares.len().max(1) as f32;
    let shares = shares.filter(|(_, length)| **length > 0.0);
    shares.map(|(cut, length)| cut / length).sum::<f32>() / n
}

impl ByteRows {
    /// Length of a row, or a little more.
    pub(crate) fn length(&self, row: usize) -> f32 {
        self.bounds[row].length
    }

    pub(crate) fn new(x: &Matrix) -> ByteRows {
        let stride = x.cols().next_multiple_of(4);
        let mut values = vec![0_i8; x.rows() * stride];
        let rows = values.par_chunks_exact_mut(stride.max(1)).enumerate();
        let (bounds, excess) = rows
            .with_min_len(16)
            .map_init(
                || vec![0_i16; stride],
                |integers, (row, out)| {
                    let bounds = round(Isa::Avx512Bf16, Range::Bytes, x.row(row), integers);
                    for (out, &value) in out.iter_mut().zip(&*integers) {
                        *out = value as i8;
                    }
                    let sum: i32 = integers.iter().map(|&value| i32::from(value)).sum();
                    (bounds, -128 * sum)
                },
            )
            .unzip();
        ByteRows {
            values,
            stride,
            bounds,
            excess,
        }
    }
}
