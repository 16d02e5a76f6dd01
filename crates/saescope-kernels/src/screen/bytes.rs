//! A screen in bytes, for processors that multiply four pairs of them at once.
//!
//! Its bounds are wider than those of 16-bit integers and let more features pass, so each of them is
//! computed at once, while its row of the encoder is near: the thresholds are then those of exact
//! values.

use rayon::prelude::*;

use std::arch::x86_64::*;

use super::best::{Best, Ranked};
use super::rounding::{Bounds, Range, round};
use super::{Columns, Rounder};
use crate::elementwise::dot_f32_with;
use crate::isa::Isa;
use crate::matrix::{Buffer, Matrix};
use crate::simd::Avx512;
use crate::tile::Tiles;
use crate::transpose::words;

const MR: usize = Avx512::MR;
const NR: usize = Avx512::NR;
const NV: usize = NR / 16;

/// Panels that stay in the second cache with their rows of the encoder while rows pass by.
const PANELS: usize = 4;

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
            unsafe { walk(&job, sinks) };
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

struct Job<'a> {
    screen: &'a Bytes,
    x: &'a Matrix,
    rows: &'a ByteRows,
    exact: &'a Exact<'a>,
    /// The row of the first sink.
    first: usize,
}

/// # Safety
/// The sinks stand for rows of the job from `first` on, and the processor has AVX512_VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn walk(job: &Job, sinks: &mut [Best]) {
    let n_panels = job.screen.n_features.div_ceil(NR);
    let mut sums = [0.0_f32; MR * NR];
    for group in (0..n_panels).step_by(PANELS) {
        for (tile, sinks) in sinks.chunks_mut(MR).enumerate() {
            let row = job.first + tile * MR;
            for panel in group..(group + PANELS).min(n_panels) {
                // SAFETY: rows and panel exist.
                unsafe {
                    tile_sums(job, (row, sinks.len()), panel, &mut sums);
                    for (at, sink) in sinks.iter_mut().enumerate() {
                        let sums = sums.as_ptr().add(at * NR);
                        collect(job, row + at, panel, sums, sink);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `rows`, at most `MR` from a first one on, and the panel exist; the processor has AVX512_VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile_sums(
    job: &Job,
    (row, rows): (usize, usize),
    panel: usize,
    out: &mut [f32; MR * NR],
) {
    macro_rules! by_rows {
        ($($mr:literal)+) => {
            match rows {
                // SAFETY: as the caller promises.
                $($mr => unsafe { rows_sums::<$mr>(job, row, panel, out) },)+
                _ => unreachable!("tiles have 1 to {MR} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8);
}

/// # Safety
/// As for [`tile_sums`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn rows_sums<const ROWS: usize>(
    job: &Job,
    row: usize,
    panel: usize,
    out: &mut [f32; MR * NR],
) {
    let (rows, quads) = (job.rows, job.screen.d_in.div_ceil(4));
    // SAFETY: rows and panel hold `quads` quads.
    unsafe {
        let x = rows.values.as_ptr().add(row * rows.stride);
        let mut b = job
            .screen
            .panels
            .as_slice()
            .as_ptr()
            .add(panel * quads * NR);
        let mut sums = [[_mm512_setzero_si512(); NV]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm512_set1_epi32(*rows.excess.get_unchecked(row + r)); NV];
        }
        for quad in 0..quads {
            let mut column = [_mm512_setzero_si512(); NV];
            for (v, column) in column.iter_mut().enumerate() {
                *column = _mm512_loadu_si512(b.add(16 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = x.add(r * rows.stride + 4 * quad).cast::<i32>();
                let x = _mm512_set1_epi32(x.read_unaligned());
                for v in 0..NV {
                    sums[v] = _mm512_dpbusd_epi32(sums[v], column[v], x);
                }
            }
            b = b.add(NR);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let out = out.as_mut_ptr().add(r * NR + 16 * v);
                _mm512_storeu_ps(out, _mm512_cvtepi32_ps(sum));
            }
        }
    }
}

/// Pushes the features of a panel that are active on a row, but for the number of them.
///
/// # Safety
/// `sums` are those of the row with the panel; the processor has AVX512_VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn collect(job: &Job, row: usize, panel: usize, sums: *const f32, sink: &mut Best) {
    // SAFETY: as the caller promises.
    let mut above = unsafe { above(job, row, panel, sums, sink.threshold()) };
    while above != 0 {
        let feature = panel * NR + above.trailing_zeros() as usize;
        above &= above - 1;
        let exact = job.exact;
        let mut value = 0.0;
        // SAFETY: both rows have the same length.
        unsafe { dot_f32_with::<Avx512>(job.x.row(row), exact.weight.row(feature), &mut value) };
        value += exact.bias[feature];
        let limit = exact.above.map_or(0.0, |above| above[feature].max(0.0));
        if value > limit {
            sink.push(Ranked {
                feature: feature as u32,
                value,
            });
        }
    }
}

/// A bit for each column of a panel whose bound on a row exceeds the threshold.
///
/// # Safety
/// As for [`collect`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn above(job: &Job, row: usize, panel: usize, sums: *const f32, threshold: f32) -> u64 {
    let (columns, bounds) = (&job.screen.columns, &job.rows.bounds[row]);
    let unit = _mm512_set1_ps(bounds.unit);
    // |x.w - x'.w'| <= |x - x'| |w| + |x'| |w - w'|
    let cut = _mm512_set1_ps(bounds.cut);
    let length = _mm512_set1_ps(bounds.length + bounds.cut);
    let rounded = _mm512_set1_ps(4.0 * f32::EPSILON);
    let threshold = _mm512_set1_ps(threshold);
    let mut bits = 0;
    for v in 0..NV {
        let first = panel * NR + 16 * v;
        // SAFETY: there are `NR` sums, and as many columns of the panel.
        unsafe {
            let load = |values: &[f32]| _mm512_loadu_ps(values.as_ptr().add(first));
            let offset = load(&columns.offset);
            let unit = _mm512_mul_ps(unit, load(&columns.unit));
            let value = _mm512_fmadd_ps(_mm512_loadu_ps(sums.add(16 * v)), unit, offset);
            let off = _mm512_mul_ps(cut, load(&columns.length));
            let off = _mm512_fmadd_ps(length, load(&columns.cut), off);
            let off = _mm512_fmadd_ps(_mm512_abs_ps(offset), rounded, off);
            let upper = _mm512_add_ps(value, off);
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(upper, threshold);
            bits |= u64::from(above) << (16 * v);
        }
    }
    bits
}
