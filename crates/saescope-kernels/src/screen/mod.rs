//! A cheap screen with a proof: which features can matter, from products of 16-bit integers.
//!
//! Rows of activations and of the encoder are rounded to integers of a common length, so that a
//! dot product is a sum of integers, the same bits on every processor. How far it can be from the
//! product of the rows themselves is known from the lengths of what rounding cut off
//! (Cauchy-Schwarz), so no feature that could pass is ever lost.

#[cfg(target_arch = "x86_64")]
pub(crate) mod best;
#[cfg(target_arch = "x86_64")]
pub(crate) mod bytes;
mod rounding;

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::kernel;
use crate::tile::integer::{IntegerTile, IntegerTiles};
use crate::transpose::words;
use crate::weight::panel_width;

use rounding::{Bounds, Range, round};

/// Encoder rows as integers.
pub(crate) struct Screen {
    isa: Isa,
    d_in: usize,
    n_features: usize,
    /// `[panels][d_in / 2][width][2]`, 16-bit integers.
    panels: Buffer,
    /// For every column of every panel:
    columns: Columns,
}

/// `[panels * width]` each; columns that stand for no feature never pass.
#[derive(Default)]
struct Columns {
    /// What an integer of the row is worth.
    unit: Vec<f32>,
    /// What is added to the product.
    offset: Vec<f32>,
    /// Length of the row.
    length: Vec<f32>,
    /// Length of what rounding cut off, and of what f32 arithmetic may.
    cut: Vec<f32>,
}

impl Columns {
    /// Room for so many columns; the values are unspecified.
    fn each(&mut self, columns: usize) -> [&mut [f32]; 4] {
        let parts = [
            &mut self.unit,
            &mut self.offset,
            &mut self.length,
            &mut self.cut,
        ];
        parts.map(|part| {
            part.resize(columns, 0.0);
            part.as_mut_slice()
        })
    }
}

/// Rows of activations as integers.
struct Rows {
    /// `[rows, stride]`
    values: Vec<i16>,
    stride: usize,
    unit: Vec<f32>,
    length: Vec<f32>,
    cut: Vec<f32>,
}

/// The features that may pass on one row.
pub(crate) struct Candidates {
    /// As many as are wanted at most; `None` for all that are positive.
    k: Option<usize>,
    /// Features whose upper bound is not above it cannot pass.
    threshold: f32,
    entries: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    feature: u32,
    lower: f32,
    upper: f32,
}

impl Candidates {
    pub(crate) fn new(k: Option<usize>) -> Candidates {
        Candidates {
            k,
            threshold: if k == Some(0) { f32::INFINITY } else { 0.0 },
            entries: Vec::new(),
        }
    }

    #[inline]
    fn push(&mut self, candidate: Candidate) {
        self.entries.push(candidate);
        // Pruned when full, before more memory is asked for.
        if let Some(k) = self.k
            && self.entries.len() == self.entries.capacity().max(2 * k + 64)
        {
            self.prune(k);
        }
    }

    /// Drops what `k` others are certain to exceed.
    fn prune(&mut self, k: usize) {
        if self.entries.len() <= k {
            return;
        }
        let by_lower = |a: &Candidate, b: &Candidate| b.lower.total_cmp(&a.lower);
        let (_, kth, _) = self.entries.select_nth_unstable_by(k - 1, by_lower);
        // Equal values stay: the lower feature is to win, and it may come later.
        let threshold = kth.lower.next_down();
        self.threshold = self.threshold.max(threshold);
        let threshold = self.threshold;
        self.entries.retain(|entry| entry.upper > threshold);
    }

    /// The features, in ascending order.
    pub(crate) fn features(mut self) -> Vec<u32> {
        if let Some(k) = self.k {
            self.prune(k);
        }
        let mut features: Vec<u32> = self.entries.iter().map(|entry| entry.feature).collect();
        features.sort_unstable();
        features
    }
}

impl Screen {
    /// A screen of no feature.
    pub(crate) fn empty(isa: Isa) -> Screen {
        Screen {
            isa,
            d_in: 0,
            n_features: 0,
            panels: Buffer::default(),
            columns: Columns::default(),
        }
    }

    /// Rounds `weight` `[features, d_in]` where another was rounded before; `offset` `[features]` is
    /// added to products.
    pub(crate) fn renew(&mut self, weight: &Matrix, offset: &[f32]) {
        (self.n_features, self.d_in) = (weight.rows(), weight.cols());
        let width = panel_width(self.isa);
        let n_panels = self.n_features.div_ceil(width);
        let pairs = self.d_in.div_ceil(2);
        self.panels.renew(n_panels * width * pairs);
        let columns = self.columns.each(n_panels * width);
        let columns = columns.map(|values| values.par_chunks_mut(width));
        let [unit, added, length, cut] = columns;
        let panels = self
            .panels
            .as_mut_slice()
            .par_chunks_mut((width * pairs).max(1));
        let panels = panels.zip(unit.zip(added)).zip(length.zip(cut)).enumerate();
        let rounder = Rounder {
            isa: self.isa,
            range: Range::Words,
            weight,
            offset,
        };
        let rows = || vec![0_i16; width * 2 * pairs];
        panels.for_each_init(
            rows,
            |rows, (panel, ((out, (unit, added)), (length, cut)))| {
                for (column, row) in rows.chunks_exact_mut((2 * pairs).max(1)).enumerate() {
                    let values = rounder.column(panel * width + column, row);
                    [unit[column], added[column], length[column], cut[column]] = values;
                }
                // SAFETY: there are `width` rows of pairs of integers, a word each, and as many columns.
                unsafe {
                    let (rows, out) = (rows.as_ptr().cast(), out.as_mut_ptr().cast());
                    words(rounder.isa, (width, pairs), (rows, pairs), (out, width));
                }
            },
        );
    }

    /// Gathers the candidates of every row of `x`, `[rows, d_in]`.
    pub(crate) fn walk(&self, x: &Matrix, sinks: &mut [Candidates]) {
        let rows = Rows::new(self.isa, x);
        let n_panels = self.n_features.div_ceil(panel_width(self.isa));
        let chunk = x.rows().div_ceil(2 * rayon::current_num_threads());
        let chunk = chunk.next_multiple_of(24).clamp(24, ROWS_PER_TASK);
        let tasks = sinks.par_chunks_mut(chunk).enumerate().with_max_len(1);
        tasks.for_each(|(index, sinks)| {
            let job = Job {
                screen: self,
                rows: &rows,
                first: index * chunk,
            };
            // SAFETY: the sinks stand for rows of `x` from `first` on, and the panels exist.
            unsafe {
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512Bf16 => walk_vnni(&job, n_panels, sinks),
                    isa => walk(isa, &job, n_panels, sinks),
                }
            }
        });
    }
}

/// Makes columns of features.
struct Rounder<'a> {
    isa: Isa,
    range: Range,
    weight: &'a Matrix,
    offset: &'a [f32],
}

impl Rounder<'_> {
    /// Rounds a feature's row; returns what [`Columns`] hold of it.
    fn column(&self, feature: usize, row: &mut [i16]) -> [f32; 4] {
        if feature >= self.weight.rows() {
            row.fill(0);
            return [0.0, f32::NEG_INFINITY, 0.0, 0.0];
        }
        let Bounds { unit, length, cut } =
            round(self.isa, self.range, self.weight.row(feature), row);
        if !length.is_finite() {
            // Nothing is known of it: always a candidate.
            return [0.0, f32::INFINITY, 0.0, 0.0];
        }
        // The sum of `d_in` products in f32, in any order, is off by at most this share of the
        // lengths' product (Higham, Accuracy and Stability of Numerical Algorithms, 3.1).
        let summed = (self.weight.cols() + 8) as f32 * f32::EPSILON;
        [unit, self.offset[feature], length, cut + summed * length]
    }
}

/// Rows that stay in the second cache while panels pass by.
const ROWS_PER_TASK: usize = 192;

impl Rows {
    fn new(isa: Isa, x: &Matrix) -> Rows {
        let stride = x.cols().next_multiple_of(2);
        let mut values = vec![0; x.rows() * stride];
        let rows = values.par_chunks_exact_mut(stride.max(1)).enumerate();
        let bounds: Vec<Bounds> = rows
            .with_min_len(16)
            .map(|(row, out)| round(isa, Range::Words, x.row(row), out))
            .collect();
        Rows {
            values,
            stride,
            unit: bounds.iter().map(|bounds| bounds.unit).collect(),
            length: bounds.iter().map(|bounds| bounds.length).collect(),
            cut: bounds.iter().map(|bounds| bounds.cut).collect(),
        }
    }
}

struct Job<'a> {
    screen: &'a Screen,
    rows: &'a Rows,
    /// The row of the first sink.
    first: usize,
}

/// Panels outermost, so that a panel stays in the first cache while the rows of a task pass by.
macro_rules! walk_loop {
    ($job:ident, $n_panels:ident, $sinks:ident, $isa:ty, $sums:expr) => {
        let (screen, rows) = ($job.screen, $job.rows);
        let padded = screen.d_in.next_multiple_of(2);
        let panels = screen.panels.as_bf16().as_ptr().cast::<i16>();
        let mut sums = vec![0.0_f32; <$isa>::MR * <$isa>::NR];
        for panel in 0..$n_panels {
            for (tile, sinks) in $sinks.chunks_mut(<$isa>::MR).enumerate() {
                let row = $job.first + tile * <$isa>::MR;
                let integers = IntegerTile {
                    a: rows.values.as_ptr().add(row * rows.stride),
                    a_stride: rows.stride,
                    panel: panels.add(panel * padded * <$isa>::NR),
                    pairs: padded / 2,
                    out: sums.as_mut_ptr(),
                };
                $sums(sinks.len(), &integers);
                for (at, sink) in sinks.iter_mut().enumerate() {
                    let sums = sums.as_ptr().add(at * <$isa>::NR);
                    collect::<$isa>($job, row + at, panel, sums, sink);
                }
            }
        }
    };
}

kernel! {
    /// # Safety
    /// The sinks stand for rows of the job from `first` on; there are `n_panels` panels for `isa`.
    fn walk(job: &Job, n_panels: usize, sinks: &mut [Candidates]) = walk_with
}

/// # Safety
/// As for [`walk`].
#[inline(always)]
unsafe fn walk_with<S: IntegerTiles>(job: &Job, n_panels: usize, sinks: &mut [Candidates]) {
    // SAFETY: as the caller promises.
    unsafe {
        walk_loop!(job, n_panels, sinks, S, S::sums);
    }
}

/// # Safety
/// As for [`walk`], and the processor has AVX512_VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn walk_vnni(job: &Job, n_panels: usize, sinks: &mut [Candidates]) {
    use crate::simd::Avx512;
    use crate::tile::Tiles;
    use crate::tile::integer::sums_vnni;
    // SAFETY: as the caller promises.
    unsafe {
        walk_loop!(job, n_panels, sinks, Avx512, sums_vnni);
    }
}

/// Pushes the features of a panel whose upper bound exceeds the row's threshold.
///
/// # Safety
/// `sums` are those of the row with the panel.
#[inline(always)]
unsafe fn collect<S: IntegerTiles>(
    job: &Job,
    row: usize,
    panel: usize,
    sums: *const f32,
    sink: &mut Candidates,
) {
    let (columns, rows) = (&job.screen.columns, job.rows);
    // SAFETY: there are `NR` sums, and as many columns of the panel.
    unsafe {
        let unit = S::splat(rows.unit[row]);
        // |x.w - x'.w'| <= |x - x'| |w| + |x'| |w - w'|
        let (cut, length) = (rows.cut[row], rows.length[row] + rows.cut[row]);
        let (cut, length) = (S::splat(cut), S::splat(length));
        let rounded = S::splat(4.0 * f32::EPSILON);
        for at in (0..S::NR).step_by(S::LANES) {
            let first = panel * S::NR + at;
            let offset = S::load(columns.offset.as_ptr().add(first));
            let unit = S::mul(unit, S::load(columns.unit.as_ptr().add(first)));
            let value = S::fma(S::load(sums.add(at)), unit, offset);
            let off = S::mul(cut, S::load(columns.length.as_ptr().add(first)));
            let off = S::fma(length, S::load(columns.cut.as_ptr().add(first)), off);
            let off = S::fma(S::max(offset, S::sub(S::splat(0.0), offset)), rounded, off);
            let upper = S::add(value, off);
            let mut above = S::above(upper, S::splat(sink.threshold));
            if above == 0 {
                continue;
            }
            let (mut uppers, mut lowers) = ([0.0; 16], [0.0; 16]);
            S::store(uppers.as_mut_ptr(), upper);
            S::store(lowers.as_mut_ptr(), S::sub(value, off));
            while above != 0 {
                let lane = above.trailing_zeros() as usize;
                above &= above - 1;
                sink.push(Candidate {
                    feature: (first + lane) as u32,
                    // Not a number where the upper bound is infinite.
                    lower: lowers[lane].max(f32::NEG_INFINITY),
                    upper: uppers[lane],
                });
            }
        }
    }
}
