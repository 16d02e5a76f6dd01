//! A scan of all panels by all rows: sums of bytes, then exact values of the features that may be
//! active.

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::rounded::{ByteRows, ByteScreen, MR, NR};
use crate::elementwise::dots_f32_with;
use crate::matrix::Matrix;
use crate::screen::selection::{Entry, Selection};
use crate::simd::Avx512;

const NV: usize = NR / 16;

/// Panels that stay in the second cache, with their rows of the encoder, during a round of all
/// rows.
const PANELS: usize = 4;

/// Panels of the first round: so many features to choose from that the first values computed raise
/// the thresholds above most others.
const FIRST_PANELS: usize = 16;

/// Features whose values are computed together.
const TOGETHER: usize = 4;

/// Most rows of a task. The more, the less often the encoder is read.
const ROWS_PER_TASK: usize = 1024;

/// An encoder in f32, for the exact values of activations.
pub(crate) struct ExactEncoder<'a> {
    /// `[features, d_in]`
    pub(crate) weight: &'a Matrix,
    /// `[features]`
    pub(crate) bias: &'a [f32],
    /// `[features]`; an active value exceeds both its threshold and 0.
    pub(crate) thresholds: Option<&'a [f32]>,
}

impl ByteScreen {
    /// Offers the active features of every row of `x`, `[rows, d_in]`, to the row's selection;
    /// `rows` are the rounded rows of `x`.
    pub(crate) fn scan(
        &self,
        x: &Matrix,
        rows: &ByteRows,
        exact: &ExactEncoder,
        selections: &mut [Selection],
    ) {
        let chunk = x.rows().div_ceil(2 * rayon::current_num_threads());
        let chunk = chunk.next_multiple_of(MR).clamp(MR, ROWS_PER_TASK);
        let tasks = selections.par_chunks_mut(chunk).enumerate().with_max_len(1);
        tasks.for_each(|(index, selections)| {
            let scan = ByteScan {
                screen: self,
                x,
                rows,
                exact,
                first: index * chunk,
            };
            // SAFETY: the selections belong to the rows of `x` from `first` on, and `Encoder` makes
            // a byte screen only for processors with AVX512_VNNI.
            unsafe { scan_rows(&scan, selections) };
        });
    }
}

/// The operands of a scan by the rows of one task.
struct ByteScan<'a> {
    screen: &'a ByteScreen,
    x: &'a Matrix,
    rows: &'a ByteRows,
    exact: &'a ExactEncoder<'a>,
    /// The row of the first selection.
    first: usize,
}

/// A feature whose bound exceeds the threshold of a row.
struct Candidate {
    feature: u32,
    /// Upper bound of its value.
    upper: f32,
}

/// Offers the active features of the task's rows to their selections.
///
/// # Safety
/// The selections belong to the rows of the scan from `first` on; the processor has AVX512_VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn scan_rows(scan: &ByteScan, selections: &mut [Selection]) {
    let n_panels = scan.screen.n_features.div_ceil(NR);
    let mut candidates: [Vec<Candidate>; MR] = Default::default();
    let mut panels = 0..FIRST_PANELS.min(n_panels);
    while !panels.is_empty() {
        for (tile, selections) in selections.chunks_mut(MR).enumerate() {
            let row = scan.first + tile * MR;
            let mut thresholds = [0.0; MR];
            for (threshold, selection) in thresholds.iter_mut().zip(selections.iter()) {
                *threshold = selection.threshold();
            }
            for panel in panels.clone() {
                let rows = row..row + selections.len();
                // SAFETY: rows and panel exist.
                unsafe { collect_tile(scan, rows, panel, &thresholds, &mut candidates) };
            }
            for (at, (selection, candidates)) in
                selections.iter_mut().zip(&mut candidates).enumerate()
            {
                // SAFETY: the row and the features exist.
                unsafe { compute(scan, row + at, candidates, selection) };
            }
        }
        panels = panels.end..(panels.end + PANELS).min(n_panels);
    }
}

/// Collects the features of a panel whose bounds exceed the thresholds of the rows.
///
/// # Safety
/// The rows, at most `MR`, and the panel exist; the processor has AVX512_VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
unsafe fn collect_tile(
    scan: &ByteScan,
    rows: Range<usize>,
    panel: usize,
    thresholds: &[f32; MR],
    candidates: &mut [Vec<Candidate>; MR],
) {
    macro_rules! by_rows {
        ($($mr:literal)+) => {
            match rows.len() {
                // SAFETY: as the caller promises.
                $($mr => unsafe {
                    let sums = sums::<$mr>(scan, rows.start, panel);
                    for (at, sums) in sums.into_iter().enumerate() {
                        let row = rows.start + at;
                        collect(scan, row, panel, sums, thresholds[at], &mut candidates[at]);
                    }
                },)+
                _ => unreachable!("tiles have 1 to {MR} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8);
}

/// The sums of some rows with a panel.
///
/// # Safety
/// As for [`collect_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sums<const ROWS: usize>(
    scan: &ByteScan,
    row: usize,
    panel: usize,
) -> [[__m512i; NV]; ROWS] {
    let (rows, quads) = (scan.rows, scan.screen.d_in.div_ceil(4));
    let panels = scan.screen.panels.as_slice().as_ptr();
    // SAFETY: rows and panel hold `quads` quads.
    unsafe {
        let x = rows.values.as_ptr().add(row * rows.stride);
        let mut b = panels.add(panel * quads * NR);
        let mut sums = [[_mm512_setzero_si512(); NV]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [_mm512_set1_epi32(*rows.correction.get_unchecked(row + r)); NV];
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
        sums
    }
}

/// Collects the features of a panel whose bound on a row exceeds the threshold.
///
/// # Safety
/// `sums` are those of the row with the panel; the processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn collect(
    scan: &ByteScan,
    row: usize,
    panel: usize,
    sums: [__m512i; NV],
    threshold: f32,
    candidates: &mut Vec<Candidate>,
) {
    let (columns, bounds) = (&scan.screen.columns, &scan.rows.bounds[row]);
    let unit = _mm512_set1_ps(bounds.unit);
    // |x.w - x'.w'| <= |x - x'| |w| + |x'| |w - w'|
    let error = _mm512_set1_ps(bounds.error);
    let norm = _mm512_set1_ps(bounds.norm + bounds.error);
    let rounding = _mm512_set1_ps(4.0 * f32::EPSILON);
    let threshold = _mm512_set1_ps(threshold);
    for (v, sum) in sums.into_iter().enumerate() {
        let first = panel * NR + 16 * v;
        // SAFETY: there are `NR` columns of the panel.
        let upper = unsafe {
            let load = |values: &[f32]| _mm512_loadu_ps(values.as_ptr().add(first));
            let offset = load(&columns.offset);
            let unit = _mm512_mul_ps(unit, load(&columns.unit));
            let value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), unit, offset);
            let bound = _mm512_mul_ps(error, load(&columns.norm));
            let bound = _mm512_fmadd_ps(norm, load(&columns.error), bound);
            let bound = _mm512_fmadd_ps(_mm512_abs_ps(offset), rounding, bound);
            _mm512_add_ps(value, bound)
        };
        let mut above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(upper, threshold);
        if above == 0 {
            continue;
        }
        let mut uppers = [0.0_f32; 16];
        // SAFETY: a vector has 16 lanes.
        unsafe { _mm512_storeu_ps(uppers.as_mut_ptr(), upper) };
        while above != 0 {
            let lane = above.trailing_zeros() as usize;
            above &= above - 1;
            let feature = (first + lane) as u32;
            candidates.push(Candidate {
                feature,
                upper: uppers[lane],
            });
        }
    }
}

/// Computes the values of a row's candidates, those of the highest bounds first, until no bound
/// exceeds the threshold.
///
/// # Safety
/// The row and the features exist; the processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn compute(
    scan: &ByteScan,
    row: usize,
    candidates: &mut Vec<Candidate>,
    selection: &mut Selection,
) {
    let ExactEncoder {
        weight,
        bias,
        thresholds,
    } = scan.exact;
    if candidates.len() > TOGETHER && selection.raises_threshold() {
        candidates.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
    }
    let x = scan.x.row(row);
    for together in candidates.chunks(TOGETHER) {
        if together[0].upper <= selection.threshold() {
            break;
        }
        let mut sums = [0.0; TOGETHER];
        macro_rules! by_count {
            ($($n:literal)+) => {
                match together.len() {
                    $($n => {
                        let mut rows = [x.as_ptr(); $n];
                        for (row, candidate) in rows.iter_mut().zip(together) {
                            *row = weight.row(candidate.feature as usize).as_ptr();
                        }
                        // SAFETY: all rows have the same length.
                        let dots = unsafe { dots_f32_with::<Avx512, $n>(x, rows) };
                        sums[..$n].copy_from_slice(&dots);
                    })+
                    _ => unreachable!("chunks have 1 to {TOGETHER} candidates"),
                }
            };
        }
        by_count!(1 2 3 4);
        for (candidate, sum) in together.iter().zip(sums) {
            let feature = candidate.feature as usize;
            let value = sum + bias[feature];
            if value > thresholds.map_or(0.0, |thresholds| thresholds[feature].max(0.0)) {
                selection.push(Entry {
                    feature: candidate.feature,
                    value,
                });
            }
        }
    }
    candidates.clear();
}
