//! The entries of a row that are among its largest so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{self, AtomicU32};

use super::bytes::ByteRows;
use crate::matrix::Matrix;

/// An entry that ranks above another when it is larger, or as large and of a lower feature.
#[derive(Clone, Copy)]
pub(crate) struct Ranked {
    pub(crate) feature: u32,
    pub(crate) value: f32,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then(other.feature.cmp(&self.feature))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The positive entries of a row, or the `k` best of them.
pub(crate) enum Best {
    All(Vec<Ranked>),
    Top {
        k: usize,
        /// Only entries above it are kept.
        floor: f32,
        /// The worst on top.
        entries: BinaryHeap<Reverse<Ranked>>,
    },
}

impl Best {
    /// Every positive entry.
    pub(crate) fn all() -> Best {
        Best::All(Vec::new())
    }

    /// The `k` best of the entries above `floor`.
    fn top(k: usize, floor: f32) -> Best {
        Best::Top {
            k,
            floor,
            entries: BinaryHeap::new(),
        }
    }

    /// The worst entry, where there are as many as are wanted.
    fn worst(&self) -> Option<f32> {
        match self {
            Best::Top { k, entries, .. } if entries.len() >= *k => {
                entries.peek().map(|worst| worst.0.value)
            }
            _ => None,
        }
    }

    /// Only entries above it can count; one that equals the worst may, when its feature is lower.
    #[inline]
    pub(crate) fn threshold(&self) -> f32 {
        match self {
            Best::Top { k, entries, .. } if entries.len() >= *k => {
                let worst = entries.peek();
                worst.map_or(f32::INFINITY, |worst| worst.0.value.next_down())
            }
            Best::Top { floor, .. } => *floor,
            Best::All(_) => 0.0,
        }
    }

    /// Whether entries raise the threshold.
    pub(crate) fn rises(&self) -> bool {
        matches!(self, Best::Top { .. })
    }

    /// Takes a positive entry.
    #[inline]
    pub(crate) fn push(&mut self, entry: Ranked) {
        match self {
            Best::All(entries) => entries.push(entry),
            Best::Top { floor, .. } if entry.value <= *floor => {}
            Best::Top { k, entries, .. } if entries.len() < *k => entries.push(Reverse(entry)),
            Best::Top { entries, .. } => {
                if let Some(mut worst) = entries.peek_mut()
                    && worst.0 < entry
                {
                    *worst = Reverse(entry);
                }
            }
        }
    }

    /// Features, in ascending order, and values.
    pub(crate) fn into_row(self) -> Vec<(u32, f32)> {
        let pair = |entry: Ranked| (entry.feature, entry.value);
        let mut row: Vec<(u32, f32)> = match self {
            Best::All(entries) => entries.into_iter().map(pair).collect(),
            Best::Top { entries, .. } => entries.into_iter().map(|entry| pair(entry.0)).collect(),
        };
        row.sort_unstable_by_key(|&(feature, _)| feature);
        row
    }
}

/// What most rows' worst entry exceeds, as a share of the row's length, as the rows before had it.
///
/// With it, few features that are not among the best are looked at. A row that it is too much for is
/// walked again without, so that it changes the time and nothing else.
#[derive(Default)]
pub(crate) struct ThresholdGuess {
    /// The bits of an f32.
    share: AtomicU32,
}

impl ThresholdGuess {
    /// The `k` best of every row of `x`; `walk` takes rows past all features.
    pub(crate) fn top(
        &self,
        k: usize,
        x: &Matrix,
        rows: &ByteRows,
        walk: impl Fn(&Matrix, &ByteRows, &mut [Best]),
    ) -> Vec<Best> {
        let share = f32::from_bits(self.share.load(atomic::Ordering::Relaxed));
        let lengths = (0..x.rows()).map(|row| rows.length(row));
        let mut best: Vec<Best> = lengths
            .clone()
            .map(|length| Best::top(k, share * length))
            .collect();
        walk(x, rows, &mut best);
        let missed = |&row: &usize| share > 0.0 && best[row].worst().is_none();
        let missed: Vec<usize> = (0..x.rows()).filter(missed).collect();
        if !missed.is_empty() {
            let x = x.select_rows(&missed);
            let mut again: Vec<Best> = missed.iter().map(|_| Best::top(k, 0.0)).collect();
            walk(&x, &ByteRows::new(&x), &mut again);
            for (row, again) in missed.into_iter().zip(again) {
                best[row] = again;
            }
        }
        let shares = best.iter().zip(lengths);
        let shares = shares.map(|(best, length)| best.worst().unwrap_or(0.0) / length);
        self.learn(shares.collect());
        best
    }

    fn learn(&self, mut shares: Vec<f32>) {
        /// One row in so many is walked again, when the next rows are like these.
        const MISSED: usize = 64;
        /// Left between what was and what is to come.
        const ROOM: f32 = 0.97;
        let at = shares.len() / MISSED;
        if at < shares.len() {
            let (_, &mut low, _) = shares.select_nth_unstable_by(at, f32::total_cmp);
            let share = if low > 0.0 { ROOM * low } else { 0.0 };
            self.share.store(share.to_bits(), atomic::Ordering::Relaxed);
        }
    }
}
