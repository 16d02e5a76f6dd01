//! A screen of 16-bit integers, for every instruction set.

use rayon::prelude::*;

use super::columns::{ColumnBounds, ColumnRounder};
use super::rounding::{IntegerWidth, RowBounds, round};
use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::simd::kernel;
use crate::tile::integer::{IntegerTile, IntegerTiles};
use crate::transpose::transpose_words;
use crate::weight::panel_width;

/// Rows of an encoder as 16-bit integers.
pub(crate) struct WordScreen {
    isa: Isa,
    d_in: usize,
    n_features: usize,
    /// `[panels][d_in / 2][width][2]`, two integers to an f32 of the buffer.
    panels: Buffer,
    columns: ColumnBounds,
}

/// Rows of activations as 16-bit integers.
struct WordRows {
    /// `[rows, stride]`
    values: Vec<i16>,
    stride: usize,
    bounds: Vec<RowBounds>,
}

/// The features that may be active on one row.
pub(crate) struct Candidates {
    /// Most features that can be active; `None` if every positive one is.
    k: Option<usize>,
    /// A feature is a candidate only if its upper bound exceeds this.
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
    /// No candidates yet.
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
        // Pruned when full, before the vector grows.
        if let Some(k) = self.k
            && self.entries.len() == self.entries.capacity().max(2 * k + 64)
        {
            self.prune(k);
        }
    }

    /// Drops candidates that `k` others are certain to exceed.
    fn prune(&mut self, k: usize) {
        if self.entries.len() <= k {
            return;
        }
        let by_lower = |a: &Candidate, b: &Candidate| b.lower.total_cmp(&a.lower);
        let (_, kth, _) = self.entries.select_nth_unstable_by(k - 1, by_lower);
        // Equal values stay: of these the lowest feature is active, and it may come later.
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

impl WordScreen {
    /// A screen of no features.
    pub(crate) fn empty(isa: Isa) -> WordScreen {
        WordScreen {
            isa,
            d_in: 0,
            n_features: 0,
            panels: Buffer::default(),
            columns: ColumnBounds::default(),
        }
    }

    /// Rounds `weight` `[features, d_in]`, reusing memory; `offset` `[features]` is added to
    /// products.
    pub(crate) fn renew(&mut self, weight: &Matrix, offset: &[f32]) {
        (self.n_features, self.d_in) = (weight.rows(), weight.cols());
        let width = panel_width(self.isa);
        let n_panels = self.n_features.div_ceil(width);
        let pairs = self.d_in.div_ceil(2);
        self.panels.renew(n_panels * width * pairs);
        let columns = self.columns.resize(n_panels * width);
        let columns = columns.map(|values| values.par_chunks_mut(width));
        let [unit, added, norm, error] = columns;
        let panels = self
            .panels
            .as_mut_slice()
            .par_chunks_mut((width * pairs).max(1));
        let panels = panels.zip(unit.zip(added)).zip(norm.zip(error)).enumerate();
        let rounder = ColumnRounder {
            isa: self.isa,
            width: IntegerWidth::Word,
            weight,
            offset,
        };
        let rows = || vec![0_i16; width * 2 * pairs];
        panels.for_each_init(
            rows,
            |rows, (panel, ((out, (unit, added)), (norm, error)))| {
                for (column, row) in rows.chunks_exact_mut((2 * pairs).max(1)).enumerate() {
                    let bounds = rounder.column(panel * width + column, row);
                    [unit[column], added[column], norm[column], error[column]] = bounds;
                }
                // SAFETY: there are `width` rows of pairs of integers, a word each, and as many
                // columns.
                unsafe {
                    let (rows, out) = (rows.as_ptr().cast(), out.as_mut_ptr().cast());
                    transpose_words(rounder.isa, width, pairs, rows, pairs, out, width);
                }
            },
        );
    }

    /// Adds the features that may be active on each row of `x`, `[rows, d_in]`, to its candidates.
    pub(crate) fn scan(&self, x: &Matrix, candidates: &mut [Candidates]) {
        let rows = WordRows::new(self.isa, x);
        let n_panels = self.n_features.div_ceil(panel_width(self.isa));
        let chunk = x.rows().div_ceil(2 * rayon::current_num_threads());
        let chunk = chunk.next_multiple_of(24).clamp(24, ROWS_PER_TASK);
        let tasks = candidates.par_chunks_mut(chunk).enumerate().with_max_len(1);
        tasks.for_each(|(index, candidates)| {
            let scan = WordScan {
                screen: self,
                rows: &rows,
                first: index * chunk,
            };
            // SAFETY: the candidates belong to the rows of `x` from `first` on, and the panels
            // exist.
            unsafe {
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512Bf16 => scan_rows_vnni(&scan, n_panels, candidates),
                    isa => scan_rows(isa, &scan, n_panels, candidates),
                }
            }
        });
    }
}

/// Rows of a task: they stay in the second cache during a pass over the panels.
const ROWS_PER_TASK: usize = 192;

impl WordRows {
    /// Rounds `x` `[rows, d_in]`.
    fn new(isa: Isa, x: &Matrix) -> WordRows {
        let stride = x.cols().next_multiple_of(2);
        let mut values = vec![0; x.rows() * stride];
        let rows = values.par_chunks_exact_mut(stride.max(1)).enumerate();
        let bounds = rows
            .with_min_len(16)
            .map(|(row, out)| round(isa, IntegerWidth::Word, x.row(row), out))
            .collect();
        WordRows {
            values,
            stride,
            bounds,
        }
    }
}

/// The operands of a scan by the rows of one task.
struct WordScan<'a> {
    screen: &'a WordScreen,
    rows: &'a WordRows,
    /// The row of the first candidates.
    first: usize,
}

/// The loop over panels and rows: panels outermost, so that a panel stays in the first cache during
/// a pass over the rows of a task.
macro_rules! scan_loop {
    ($scan:ident, $n_panels:ident, $candidates:ident, $isa:ty, $sums:expr) => {
        let (screen, rows) = ($scan.screen, $scan.rows);
        let padded = screen.d_in.next_multiple_of(2);
        let panels = screen.panels.as_bf16().as_ptr().cast::<i16>();
        let mut sums = vec![0.0_f32; <$isa>::MR * <$isa>::NR];
        for panel in 0..$n_panels {
            for (tile, candidates) in $candidates.chunks_mut(<$isa>::MR).enumerate() {
                let row = $scan.first + tile * <$isa>::MR;
                let integers = IntegerTile {
                    a: rows.values.as_ptr().add(row * rows.stride),
                    a_stride: rows.stride,
                    panel: panels.add(panel * padded * <$isa>::NR),
                    pairs: padded / 2,
                    out: sums.as_mut_ptr(),
                };
                $sums(candidates.len(), &integers);
                for (at, candidates) in candidates.iter_mut().enumerate() {
                    let sums = sums.as_ptr().add(at * <$isa>::NR);
                    collect::<$isa>($scan, row + at, panel, sums, candidates);
                }
            }
        }
    };
}

kernel! {
    /// # Safety
    /// The candidates belong to the rows of the scan from `first` on; there are `n_panels` panels
    /// for `isa`.
    fn scan_rows(scan: &WordScan, n_panels: usize, candidates: &mut [Candidates]) = scan_rows_with
}

/// # Safety
/// As for [`scan_rows`].
#[inline(always)]
unsafe fn scan_rows_with<S: IntegerTiles>(
    scan: &WordScan,
    n_panels: usize,
    candidates: &mut [Candidates],
) {
    // SAFETY: as the caller promises.
    unsafe {
        scan_loop!(scan, n_panels, candidates, S, S::sums);
    }
}

/// # Safety
/// As for [`scan_rows`], and the processor has AVX512_VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn scan_rows_vnni(scan: &WordScan, n_panels: usize, candidates: &mut [Candidates]) {
    use crate::simd::Avx512;
    use crate::tile::Tiles;
    use crate::tile::integer::sums_vnni;
    // SAFETY: as the caller promises.
    unsafe {
        scan_loop!(scan, n_panels, candidates, Avx512, sums_vnni);
    }
}

/// Collects the features of a panel whose upper bound on a row exceeds the threshold.
///
/// # Safety
/// `sums` are those of the row with the panel.
#[inline(always)]
unsafe fn collect<S: IntegerTiles>(
    scan: &WordScan,
    row: usize,
    panel: usize,
    sums: *const f32,
    candidates: &mut Candidates,
) {
    let (columns, bounds) = (&scan.screen.columns, &scan.rows.bounds[row]);
    // SAFETY: there are `NR` sums, and as many columns of the panel.
    unsafe {
        let unit = S::splat(bounds.unit);
        // |x.w - x'.w'| <= |x - x'| |w| + |x'| |w - w'|
        let (error, norm) = (S::splat(bounds.error), S::splat(bounds.norm + bounds.error));
        let rounding = S::splat(4.0 * f32::EPSILON);
        for at in (0..S::NR).step_by(S::LANES) {
            let first = panel * S::NR + at;
            let offset = S::load(columns.offset.as_ptr().add(first));
            let unit = S::mul(unit, S::load(columns.unit.as_ptr().add(first)));
            let value = S::fma(S::load(sums.add(at)), unit, offset);
            let bound = S::mul(error, S::load(columns.norm.as_ptr().add(first)));
            let bound = S::fma(norm, S::load(columns.error.as_ptr().add(first)), bound);
            let absolute = S::max(offset, S::sub(S::splat(0.0), offset));
            let bound = S::fma(absolute, rounding, bound);
            let upper = S::add(value, bound);
            let mut above = S::above(upper, S::splat(candidates.threshold));
            if above == 0 {
                continue;
            }
            let (mut uppers, mut lowers) = ([0.0; 16], [0.0; 16]);
            S::store(uppers.as_mut_ptr(), upper);
            S::store(lowers.as_mut_ptr(), S::sub(value, bound));
            while above != 0 {
                let lane = above.trailing_zeros() as usize;
                above &= above - 1;
                candidates.push(Candidate {
                    feature: (first + lane) as u32,
                    // NaN where the upper bound is infinite.
                    lower: lowers[lane].max(f32::NEG_INFINITY),
                    upper: uppers[lane],
                });
            }
        }
    }
}
