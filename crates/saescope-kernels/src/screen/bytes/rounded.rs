//! Rows of an encoder and of activations, rounded to bytes.

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::screen::columns::{ColumnBounds, ColumnRounder};
use crate::screen::rounding::{IntegerWidth, RowBounds, round};
use crate::simd::Avx512;
use crate::tile::Tiles;
use crate::transpose::transpose_words;

/// Most rows of a tile.
pub(super) const MR: usize = Avx512::MR;
/// Columns of a panel.
pub(super) const NR: usize = Avx512::NR;

/// Rows of an encoder as bytes.
pub(crate) struct ByteScreen {
    pub(super) d_in: usize,
    pub(super) n_features: usize,
    /// `[panels][d_in / 4][NR][4]`, unsigned: the integers plus 128.
    pub(super) panels: Buffer,
    pub(super) columns: ColumnBounds,
    /// Mean norm of a row's rounding error, as a fraction of the row's norm.
    mean_error: f32,
}

/// Rows of activations as bytes.
pub(crate) struct ByteRows {
    /// `[rows, stride]`
    pub(super) values: Vec<i8>,
    pub(super) stride: usize,
    pub(super) bounds: Vec<RowBounds>,
    /// Added to the sums of each row: it takes off what the 128 in the panels adds to them.
    pub(super) correction: Vec<i32>,
}

impl ByteScreen {
    /// A screen of no features.
    pub(crate) fn empty() -> ByteScreen {
        ByteScreen {
            d_in: 0,
            n_features: 0,
            panels: Buffer::default(),
            columns: ColumnBounds::default(),
            mean_error: 0.0,
        }
    }

    /// Rounds `weight` `[features, d_in]`; `offset` `[features]` is added to products.
    pub(crate) fn renew(&mut self, weight: &Matrix, offset: &[f32]) {
        (self.n_features, self.d_in) = (weight.rows(), weight.cols());
        let n_panels = self.n_features.div_ceil(NR);
        let quads = self.d_in.div_ceil(4);
        self.panels.renew(n_panels * NR * quads);
        let columns = self.columns.resize(n_panels * NR);
        let [unit, added, norm, error] = columns.map(|values| values.par_chunks_mut(NR));
        let panels = self
            .panels
            .as_mut_slice()
            .par_chunks_mut((NR * quads).max(1));
        let panels = panels.zip(unit.zip(added)).zip(norm.zip(error)).enumerate();
        let rounder = ColumnRounder {
            isa: Isa::Avx512Bf16,
            width: IntegerWidth::Byte,
            weight,
            offset,
        };
        let scratch = || (vec![0_i16; 4 * quads], vec![0_u8; NR * 4 * quads]);
        panels.for_each_init(
            scratch,
            |(row, bytes), (panel, ((out, (unit, added)), (norm, error)))| {
                for (column, bytes) in bytes.chunks_exact_mut((4 * quads).max(1)).enumerate() {
                    let bounds = rounder.column(panel * NR + column, row);
                    [unit[column], added[column], norm[column], error[column]] = bounds;
                    for (byte, &value) in bytes.iter_mut().zip(&*row) {
                        *byte = (value + 128) as u8;
                    }
                }
                // SAFETY: there are `NR` rows of quads of bytes, a word each, and as many columns.
                unsafe {
                    let (rows, out) = (bytes.as_ptr().cast(), out.as_mut_ptr().cast());
                    transpose_words(rounder.isa, NR, quads, rows, quads, out, NR);
                }
            },
        );
        self.mean_error = mean_fraction(self.columns.error.iter().zip(&self.columns.norm));
    }

    /// True if the bounds are narrow enough for the screen to save time: few inactive features
    /// pass.
    pub(crate) fn pays(&self, rows: &ByteRows) -> bool {
        /// The widest bound of a product, in standard deviations of the products of random rows, of
        /// which one in some hundred is active.
        const WIDEST: f32 = 0.75;
        let bounds = rows.bounds.iter();
        let error =
            self.mean_error + mean_fraction(bounds.map(|bounds| (&bounds.error, &bounds.norm)));
        // Sums of this many products of bytes stay within 32 bits.
        self.d_in <= 1 << 15 && error * (self.d_in as f32).sqrt() < WIDEST
    }
}

/// The mean of errors as fractions of norms, given as pairs of the two.
fn mean_fraction<'a>(pairs: impl ExactSizeIterator<Item = (&'a f32, &'a f32)>) -> f32 {
    let n = pairs.len().max(1) as f32;
    let pairs = pairs.filter(|(_, norm)| **norm > 0.0);
    pairs.map(|(error, norm)| error / norm).sum::<f32>() / n
}

impl ByteRows {
    /// Rounds `x` `[rows, d_in]`.
    pub(crate) fn new(x: &Matrix) -> ByteRows {
        let stride = x.cols().next_multiple_of(4);
        let mut values = vec![0_i8; x.rows() * stride];
        let rows = values.par_chunks_exact_mut(stride.max(1)).enumerate();
        let (bounds, correction) = rows
            .with_min_len(16)
            .map_init(
                || vec![0_i16; stride],
                |integers, (row, out)| {
                    let width = IntegerWidth::Byte;
                    let bounds = round(Isa::Avx512Bf16, width, x.row(row), integers);
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
            correction,
        }
    }

    /// An upper bound of a row's norm, close to it.
    pub(super) fn norm(&self, row: usize) -> f32 {
        self.bounds[row].norm
    }
}
