//! Cosines between directions, which are the rows of a matrix: orthogonality, nearest rows, companions.
//!
//! Cosines are computed block by block, so that only a few thousand rows and columns of all the pairs are
//! in memory at a time. Rows of zeros have no direction and are omitted. Models and autoencoders are
//! unknown here.

mod nearest;

use std::cmp::Ordering;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rayon::prelude::*;
use saescope_kernels::{Epilogue, Matrix, Precision, Weight, dot};
use serde::{Deserialize, Serialize};

pub use nearest::{Nearest, nearest};

/// Number of rows of a block of cosines.
const BLOCK_ROWS: usize = 256;
/// Number of columns of a block of cosines, packed once for all rows.
const BLOCK_COLS: usize = 2048;
/// Number of bins of [`Orthogonality::histogram`].
const BINS: usize = 20;

/// The pairs of rows that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Every row with every other.
    All,
    /// This many rows, drawn with the seed, each with every other row of the matrix.
    Sampled {
        /// Number of rows drawn.
        rows: usize,
        /// Seed of the draw.
        seed: u64,
    },
}

impl Pairs {
    /// All pairs of a matrix `[rows, cols]` if they cost at most `budget` multiply-adds; otherwise a
    /// sample of as many rows as the budget covers, at least two.
    pub fn within(budget: u64, rows: usize, cols: usize, seed: u64) -> Pairs {
        let a_row = (rows as u64).saturating_mul(cols as u64).max(1);
        match usize::try_from(budget / a_row) {
            Ok(affordable) if affordable < rows => Pairs::Sampled {
                rows: affordable.max(2),
                seed,
            },
            _ => Pairs::All,
        }
    }
}

/// Two rows and the cosine between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The lower number of the two.
    pub a: u32,
    /// The higher number.
    pub b: u32,
    /// Their cosine.
    pub cosine: f32,
}

/// Statistics of the cosines between the rows of a matrix, which are 0 if the rows are orthogonal.
///
/// Random directions in `d` dimensions have a mean |cosine| of about `sqrt(2 / (pi d))`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Orthogonality {
    /// Mean |cosine| of the pairs, off the diagonal of the matrix of cosines.
    pub mean: f64,
    /// The largest |cosine|.
    pub max: f64,
    /// The pairs of largest |cosine|, the largest first.
    pub largest: Vec<Pair>,
    /// Mean, over the rows compared, of the largest signed cosine to any other row.
    pub mean_nearest: f64,
    /// Number of pairs by |cosine|: 20 bins of 0.05 from 0 to 1. A bin includes its lower end; the last
    /// one also holds 1 and values that rounding puts above it.
    pub histogram: Vec<u64>,
    /// Number of rows compared, each with every other: all that are not zero, or those drawn.
    pub rows: usize,
    /// Number of ordered pairs: `rows` times the number of rows that each is compared with.
    pub pairs: u64,
    /// Number of rows that are zero.
    pub zero: usize,
    /// True if only a sample of the rows was compared.
    pub sampled: bool,
}

/// The orthogonality of the rows of `directions`, `[features, d]`, with the `top` pairs of largest
/// |cosine|.
///
/// The same seed draws the same rows; the number of threads changes no bit of the result.
pub fn orthogonality(directions: &Matrix, pairs: Pairs, top: usize) -> Orthogonality {
    let inverse = inverse_norms(directions);
    let all = nonzero(&inverse);
    let (rows, sampled) = chosen(&all, pairs);
    let mut seen = vec![RowCosines::default(); rows.len()];
    let mut largest = Largest::new(top, &rows, directions.rows());
    for_each_block(
        &[(directions, &inverse)],
        &rows,
        &all,
        |at, others, cosines| {
            let floor = largest.floor();
            let seen = seen[at.clone()].par_iter_mut();
            let found: Vec<Vec<Pair>> = seen
                .zip(rows[at].par_iter())
                .enumerate()
                .map(|(row, (seen, &own))| {
                    let cosines = cosines[0].row(row);
                    seen.add(own, others, cosines);
                    if seen.max() < floor {
                        Vec::new()
                    } else {
                        largest.candidates(own, others, cosines, floor)
                    }
                })
                .collect();
            largest.add(found.into_iter().flatten());
        },
    );
    let pairs = rows.len() as u64 * all.len().saturating_sub(1) as u64;
    let per = |sum: f64, count: u64| if count > 0 { sum / count as f64 } else { 0.0 };
    let mut histogram = vec![0; BINS];
    for seen in &seen {
        let bins = histogram.iter_mut().zip(seen.bins);
        bins.for_each(|(sum, bin)| *sum += u64::from(bin));
    }
    let nearest = seen
        .iter()
        .map(|row| row.largest)
        .filter(|cosine| cosine.is_finite());
    Orthogonality {
        mean: per(seen.iter().map(|seen| seen.sum).sum(), pairs),
        max: seen.iter().map(|s| f64::from(s.max())).fold(0.0, f64::max),
        largest: largest.pairs,
        mean_nearest: per(nearest.map(f64::from).sum(), rows.len() as u64),
        histogram,
        rows: rows.len(),
        pairs,
        zero: directions.rows() - all.len(),
        sampled,
    }
}

/// A feature and the other one that reads and writes the most similar, or the most opposite, directions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Companion {
    /// Id of the feature.
    pub feature: u32,
    /// Id of the other one.
    pub other: u32,
    /// The product of the cosines of their encoder rows and of their decoder rows.
    pub score: f32,
}

/// For every feature compared, the other one with the largest `cos(enc_i, enc_j) cos(dec_i, dec_j)`, from
/// the rows of `encoder`, `[features, d_in]`, and `decoder`, `[features, d_out]`. Features are in the
/// order of their ids; those with a row of zeros are omitted. A score near 1 means a duplicate, or a pair
/// that reads and writes the two ends of one line, as dense features often do (Sun et al. 2025).
///
/// # Panics
/// When the two have different numbers of rows.
pub fn companions(encoder: &Matrix, decoder: &Matrix, pairs: Pairs) -> Vec<Companion> {
    assert_eq!(encoder.rows(), decoder.rows(), "features of two matrices");
    let (reads, writes) = (inverse_norms(encoder), inverse_norms(decoder));
    let both: Vec<f32> = reads.iter().zip(&writes).map(|(a, b)| a * b).collect();
    let all = nonzero(&both);
    let (rows, _) = chosen(&all, pairs);
    let mut best: Vec<Option<Companion>> = vec![None; rows.len()];
    let matrices = [(encoder, &reads[..]), (decoder, &writes[..])];
    for_each_block(&matrices, &rows, &all, |at, others, cosines| {
        let best = best[at.clone()].par_iter_mut().enumerate();
        best.zip(rows[at].par_iter())
            .for_each(|((row, best), &feature)| {
                let both = cosines[0].row(row).iter().zip(cosines[1].row(row));
                for (&other, (read, write)) in others.iter().zip(both) {
                    let score = read * write;
                    if other != feature && best.is_none_or(|best| score > best.score) {
                        *best = Some(Companion {
                            feature,
                            other,
                            score,
                        });
                    }
                }
            });
    });
    best.into_iter().flatten().collect()
}

/// The cosine of `row` with each row of `directions`, `[features, d]`; 0 if either is zero.
///
/// # Panics
/// When their widths differ.
pub fn cosines(directions: &Matrix, row: &[f32]) -> Vec<f32> {
    assert_eq!(directions.cols(), row.len(), "width of a direction");
    let rows = directions.data().par_chunks_exact(row.len().max(1));
    rows.map(|other| cosine(other, row)).collect()
}

/// The cosine of two rows; 0 if either is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 {
        (dot(a, b) / norms) as f32
    } else {
        0.0
    }
}

/// The statistics of a row's cosines with the others.
#[derive(Clone)]
struct RowCosines {
    sum: f64,
    largest: f32,
    smallest: f32,
    bins: [u32; BINS],
}

impl Default for RowCosines {
    fn default() -> RowCosines {
        RowCosines {
            sum: 0.0,
            largest: f32::NEG_INFINITY,
            smallest: f32::INFINITY,
            bins: [0; BINS],
        }
    }
}

impl RowCosines {
    fn add(&mut self, own: u32, others: &[u32], cosines: &[f32]) {
        match others.binary_search(&own) {
            Ok(at) => {
                self.add_all(&cosines[..at]);
                self.add_all(&cosines[at + 1..]);
            }
            Err(_) => self.add_all(cosines),
        }
    }

    fn add_all(&mut self, cosines: &[f32]) {
        /// Number of independent sums and counts: with a single one every cosine would wait for the last.
        const LANES: usize = 8;
        let (mut sums, mut bins) = ([0.0; LANES], [[0_u32; BINS]; LANES]);
        for cosines in cosines.chunks(LANES) {
            let lanes = sums.iter_mut().zip(&mut bins);
            for ((sum, bins), &cosine) in lanes.zip(cosines) {
                let size = cosine.abs();
                *sum += f64::from(size);
                bins[((size * BINS as f32) as usize).min(BINS - 1)] += 1;
            }
        }
        self.sum += sums.iter().sum::<f64>();
        for bins in bins {
            let counts = self.bins.iter_mut().zip(bins);
            counts.for_each(|(count, more)| *count += more);
        }
        self.largest = cosines.iter().fold(self.largest, |a, &b| a.max(b));
        self.smallest = cosines.iter().fold(self.smallest, |a, &b| a.min(b));
    }

    /// The largest |cosine|; 0 if there was none.
    fn max(&self) -> f32 {
        self.largest.max(-self.smallest).max(0.0)
    }
}

/// The pairs of largest |cosine| so far.
struct Largest {
    top: usize,
    pairs: Vec<Pair>,
    /// For each feature, true if it is one of the rows: a pair of two rows is met twice and counts once.
    is_row: Vec<bool>,
}

impl Largest {
    fn new(top: usize, rows: &[u32], features: usize) -> Largest {
        let mut is_row = vec![false; features];
        rows.iter().for_each(|&row| is_row[row as usize] = true);
        Largest {
            top,
            pairs: Vec::new(),
            is_row,
        }
    }

    /// The |cosine| that a pair has to reach to be kept.
    fn floor(&self) -> f32 {
        if self.pairs.len() < self.top {
            0.0
        } else {
            self.pairs.last().map_or(f32::INFINITY, |p| p.cosine.abs())
        }
    }

    /// The `top` pairs of a row among those that reach `floor`.
    fn candidates(&self, own: u32, others: &[u32], cosines: &[f32], floor: f32) -> Vec<Pair> {
        /// Number of pairs beyond twice `top` at which the list is sorted and cut.
        const SLACK: usize = 20;
        let mut found = Vec::new();
        for (&other, &cosine) in others.iter().zip(cosines) {
            let again = other <= own && self.is_row[other as usize];
            if cosine.abs() < floor || again {
                continue;
            }
            found.push(Pair {
                a: own.min(other),
                b: own.max(other),
                cosine,
            });
            if found.len() > 2 * self.top + SLACK {
                keep_largest(&mut found, self.top);
            }
        }
        found
    }

    fn add(&mut self, pairs: impl Iterator<Item = Pair>) {
        self.pairs.extend(pairs);
        keep_largest(&mut self.pairs, self.top);
    }
}

/// Sorts pairs by falling |cosine|, equal ones by their ids, and keeps the first `top`.
fn keep_largest(pairs: &mut Vec<Pair>, top: usize) {
    let order = |p: &Pair, q: &Pair| -> Ordering {
        let sizes = q.cosine.abs().total_cmp(&p.cosine.abs());
        sizes.then((p.a, p.b).cmp(&(q.a, q.b)))
    };
    pairs.sort_unstable_by(order);
    pairs.truncate(top);
}

/// `1 / |row|` of every row; 0 for rows of zeros.
fn inverse_norms(matrix: &Matrix) -> Vec<f32> {
    let rows = matrix.data().par_chunks_exact(matrix.cols().max(1));
    let inverse = |norm: f64| if norm > 0.0 { 1.0 / norm } else { 0.0 };
    rows.map(|row| inverse(dot(row, row).sqrt()) as f32)
        .collect()
}

/// The rows that are not zero.
fn nonzero(inverse: &[f32]) -> Vec<u32> {
    let all = (0..).zip(inverse);
    all.filter(|(_, inverse)| **inverse > 0.0)
        .map(|(row, _)| row)
        .collect()
}

/// The rows to compare out of `all`, ascending, and true if they are a sample.
fn chosen(all: &[u32], pairs: Pairs) -> (Vec<u32>, bool) {
    match pairs {
        Pairs::Sampled { rows, seed } if rows < all.len() => {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut drawn = all.to_vec();
            for at in 0..rows {
                let left = (drawn.len() - at) as u64;
                drawn.swap(at, at + (random.next_u64() % left) as usize);
            }
            drawn.truncate(rows);
            drawn.sort_unstable();
            (drawn, true)
        }
        _ => (all.to_vec(), false),
    }
}

/// Calls `each` with a range of `rows`, a chunk of `cols`, and for each matrix the cosines between those
/// of its rows, `[range, chunk]`, until every row has met every column once. A row meets the columns in
/// their order.
fn for_each_block(
    matrices: &[(&Matrix, &[f32])],
    rows: &[u32],
    cols: &[u32],
    mut each: impl FnMut(Range<usize>, &[u32], &[Matrix]),
) {
    let mut cosines = vec![Matrix::default(); matrices.len()];
    for cols in cols.chunks(BLOCK_COLS) {
        let packed: Vec<Weight> = matrices.iter().map(|&(m, i)| pack(m, i, cols)).collect();
        for start in (0..rows.len()).step_by(BLOCK_ROWS) {
            let range = start..(start + BLOCK_ROWS).min(rows.len());
            for (number, &(matrix, inverse)) in matrices.iter().enumerate() {
                let block = unit_rows(matrix, inverse, &rows[range.clone()]);
                packed[number].product(&block, None, Epilogue::Keep, &mut cosines[number]);
            }
            each(range, cols, &cosines);
        }
    }
}

/// Some rows, scaled to norm 1.
fn unit_rows(matrix: &Matrix, inverse: &[f32], rows: &[u32]) -> Matrix {
    let mut unit = Matrix::zeros(rows.len(), matrix.cols());
    for (to, &from) in rows.iter().enumerate() {
        unit_row(matrix, inverse, from, unit.row_mut(to));
    }
    unit
}

fn unit_row(matrix: &Matrix, inverse: &[f32], row: u32, out: &mut [f32]) {
    let row = row as usize;
    let pairs = out.iter_mut().zip(matrix.row(row));
    pairs.for_each(|(out, x)| *out = x * inverse[row]);
}

/// Some rows, scaled to norm 1 and packed for products.
fn pack(matrix: &Matrix, inverse: &[f32], rows: &[u32]) -> Weight {
    let d = matrix.cols();
    let packed = Weight::pack(rows.len(), d, Precision::F32, |range, out| {
        for (row, out) in rows[range].iter().zip(out.chunks_exact_mut(d.max(1))) {
            unit_row(matrix, inverse, *row, out);
        }
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(packed) = packed;
    packed
}

#[cfg(test)]
mod tests;
