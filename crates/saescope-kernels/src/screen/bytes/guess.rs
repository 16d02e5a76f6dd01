//! A guess of the `k`-th largest value of a row, learned from the rows before.

use std::sync::atomic::{AtomicU32, Ordering};

use super::rounded::ByteRows;
use crate::matrix::Matrix;
use crate::screen::selection::Selection;

/// A guess of the `k`-th largest value, as a fraction of the row's norm, that most rows exceed.
///
/// With it, few features that are not among the largest are computed. A row for which the guess was
/// too high is scanned again without it, so the guess changes the time and no result.
#[derive(Default)]
pub(crate) struct ThresholdGuess {
    /// The bits of an f32.
    fraction: AtomicU32,
}

impl ThresholdGuess {
    /// The `k` largest entries of every row of `x`; `scan` offers the entries of rows to
    /// selections.
    pub(crate) fn top(
        &self,
        k: usize,
        x: &Matrix,
        rows: &ByteRows,
        scan: impl Fn(&Matrix, &ByteRows, &mut [Selection]),
    ) -> Vec<Selection> {
        let fraction = f32::from_bits(self.fraction.load(Ordering::Relaxed));
        let norms = (0..x.rows()).map(|row| rows.norm(row));
        let mut selections: Vec<Selection> = norms
            .clone()
            .map(|norm| Selection::top(k, fraction * norm))
            .collect();
        scan(x, rows, &mut selections);
        let too_high = |&row: &usize| fraction > 0.0 && selections[row].kth_value().is_none();
        let too_high: Vec<usize> = (0..x.rows()).filter(too_high).collect();
        if !too_high.is_empty() {
            let x = x.select_rows(&too_high);
            let mut again: Vec<Selection> =
                too_high.iter().map(|_| Selection::top(k, 0.0)).collect();
            scan(&x, &ByteRows::new(&x), &mut again);
            for (row, again) in too_high.into_iter().zip(again) {
                selections[row] = again;
            }
        }
        let fractions = selections.iter().zip(norms);
        let fractions = fractions.map(|(row, norm)| row.kth_value().unwrap_or(0.0) / norm);
        self.learn(fractions.collect());
        selections
    }

    fn learn(&self, mut fractions: Vec<f32>) {
        /// Of this many rows, one is scanned again if the next rows are like these.
        const SCANNED_AGAIN: usize = 64;
        /// The margin between these rows and the next.
        const MARGIN: f32 = 0.97;
        let at = fractions.len() / SCANNED_AGAIN;
        if at < fractions.len() {
            let (_, &mut low, _) = fractions.select_nth_unstable_by(at, f32::total_cmp);
            let fraction = if low > 0.0 { MARGIN * low } else { 0.0 };
            self.fraction.store(fraction.to_bits(), Ordering::Relaxed);
        }
    }
}
