//! All rows past all panels: sums of bytes, then the values of what may be active.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{ByteRows, Bytes, Exact, MR, NR};
use crate::elementwise::dots_f32_with;
use crate::matrix::Matrix;
use crate::screen::best::{Best, Ranked};
use crate::simd::Avx512;

const NV: usize = NR / 16;

/// Panels that stay in the second cache with their rows of the encoder while rows pass by.
const PANELS: usize = 4;

/// Panels that come first, together: with so many to choose from, those that are computed raise the
/// thresholds before most others would be.
const FIRST_PANELS: usize = 16;

/// Features whose values are computed at once.
const AT_ONCE: usize = 4;

pub(super) struct Job<'a> {
    pub(super) screen: &'a Bytes,
    pub(super) x: &'a Matrix,
    pub(super) rows: &'a ByteRows,
    pub(super) exact: &'a Exact<'a>,
    /// The row of the first sink.
    pub(super) first: usize,
}

/// A feature that may be active, and what its value is below.
struct Hit {
    feature: u32,
    upper: f32,
}

/// Gathers what is active on the rows of the sinks.
///
/// # Safety
/// The sinks stand for rows of the job from `first` on, and the processor has AVX512_VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(super) unsafe fn walk(job: &Job, sinks: &mut [Best]) {
    let n_panels = job.screen.n_features.div_ceil(NR);
    let mut hits: [Vec<Hit>; MR] = Default::default();
    let mut panels = 0..FIRST_PANELS.min(n_panels);
    while !panels.is_empty() {
        for (tile, sinks) in sinks.chunks_mut(MR).enumerate() {
            let row = job.first + tile * MR;
            let mut thresholds = [0.0; MR];
            for (threshold, sink) in thresholds.iter_mut().zip(sinks.iter()) {
                *threshold = sink.threshold();
            }
            for panel in panels.clone() {
                let rows = row..row + sinks.len();
                // SAFETY: rows and panel exist.
                unsafe { collect_tile(job, rows, panel, &thresholds, &mut hits) };
            }
            for (at, (sink, hits)) in sinks.iter_mut().zip(&mut hits).enumerate() {
                // SAFETY: the row and the features exist.
                unsafe { compute(job, row + at, hits, sink) };
            }
        }
        panels = panels.end..(panels.end + PANELS).min(n_panels);
    }
}

/// Notes the features of a panel whose bounds on rows exceed the rows' thresholds.
///
/// # Safety
/// The rows, at most `MR`, and the panel exist; the processor has AVX512_VNNI.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
unsafe fn collect_tile(
    job: &Job,
    rows: Range<usize>,
    panel: usize,
    thresholds: &[f32; MR],
    hits: &mut [Vec<Hit>; MR],
) {
    macro_rules! by_rows {
        ($($mr:literal)+) => {
            match rows.len() {
                // SAFETY: as the caller promises.
                $($mr => unsafe {
                    let sums = sums::<$mr>(job, rows.start, panel);
                    for (at, sums) in sums.into_iter().enumerate() {
                        let row = rows.start + at;
                        collect(job, row, panel, (sums, thresholds[at]), &mut hits[at]);
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
unsafe fn sums<const ROWS: usize>(job: &Job, row: usize, panel: usize) -> [[__m512i; NV]; ROWS] {
    let (rows, quads) = (job.rows, job.screen.d_in.div_ceil(4));
    let panels = job.screen.panels.as_slice().as_ptr();
    // SAFETY: rows and panel hold `quads` quads.
    unsafe {
        let x = rows.values.as_ptr().add(row * rows.stride);
        let mut b = panels.add(panel * quads * NR);
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
        sums
    }
}

/// Notes the features of a panel whose bound on a row exceeds the threshold.
///
/// # Safety
/// `sums` are those of the row with the panel.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn collect(
    job: &Job,
    row: usize,
    panel: usize,
    (sums, threshold): ([__m512i; NV], f32),
    hits: &mut Vec<Hit>,
) {
    let (columns, bounds) = (&job.screen.columns, &job.rows.bounds[row]);
    let unit = _mm512_set1_ps(bounds.unit);
    // |x.w - x'.w'| <= |x - x'| |w| + |x'| |w - w'|
    let cut = _mm512_set1_ps(bounds.cut);
    let length = _mm512_set1_ps(bounds.length + bounds.cut);
    let rounded = _mm512_set1_ps(4.0 * f32::EPSILON);
    let threshold = _mm512_set1_ps(threshold);
    for (v, sum) in sums.into_iter().enumerate() {
        let first = panel * NR + 16 * v;
        // SAFETY: there are `NR` columns of the panel.
        let upper = unsafe {
            let load = |values: &[f32]| _mm512_loadu_ps(values.as_ptr().add(first));
            let offset = load(&columns.offset);
            let unit = _mm512_mul_ps(unit, load(&columns.unit));
            let value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), unit, offset);
            let off = _mm512_mul_ps(cut, load(&columns.length));
            let off = _mm512_fmadd_ps(length, load(&columns.cut), off);
            let off = _mm512_fmadd_ps(_mm512_abs_ps(offset), rounded, off);
            _mm512_add_ps(value, off)
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
            hits.push(Hit {
                feature,
                upper: uppers[lane],
            });
        }
    }
}

/// Computes the values of a row's hits, the most promising first, as long as they may count.
///
/// # Safety
/// The row and the features exist; the processor has AVX-512.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn compute(job: &Job, row: usize, hits: &mut Vec<Hit>, sink: &mut Best) {
    let Exact {
        weight,
        bias,
        above,
    } = job.exact;
    if hits.len() > AT_ONCE && sink.rises() {
        hits.sort_unstable_by(|a, b| b.upper.total_cmp(&a.upper));
    }
    let x = job.x.row(row);
    for hits in hits.chunks(AT_ONCE) {
        if hits[0].upper <= sink.threshold() {
            break;
        }
        let mut sums = [0.0; AT_ONCE];
        macro_rules! by_hits {
            ($($n:literal)+) => {
                match hits.len() {
                    $($n => {
                        let mut rows = [x.as_ptr(); $n];
                        for (row, hit) in rows.iter_mut().zip(hits) {
                            *row = weight.row(hit.feature as usize).as_ptr();
                        }
                        // SAFETY: all rows have the same length.
                        let dots = unsafe { dots_f32_with::<Avx512, $n>(x, rows) };
                        sums[..$n].copy_from_slice(&dots);
                    })+
                    _ => unreachable!("chunks have 1 to {AT_ONCE} hits"),
                }
            };
        }
        by_hits!(1 2 3 4);
        for (hit, sum) in hits.iter().zip(sums) {
            let feature = hit.feature as usize;
            let value = sum + bias[feature];
            if value > above.map_or(0.0, |above| above[feature].max(0.0)) {
                sink.push(Ranked {
                    feature: hit.feature,
                    value,
                });
            }
        }
    }
    hits.clear();
}
