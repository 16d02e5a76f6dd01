//! The entries of a row that are among its largest so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

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
        /// The worst on top.
        entries: BinaryHeap<Reverse<Ranked>>,
    },
}

impl Best {
    pub(crate) fn new(k: Option<usize>) -> Best {
        match k {
            None => Best::All(Vec::new()),
            Some(k) => Best::Top {
                k,
                entries: BinaryHeap::new(),
            },
        }
    }

    /// Only entries above it can count; one that equals the worst may, when its feature is lower.
    #[inline]
    pub(crate) fn threshold(&self) -> f32 {
        match self {
            Best::Top { k, entries } if entries.len() >= *k => {
                let worst = entries.peek();
                worst.map_or(f32::INFINITY, |worst| worst.0.value.next_down())
            }
            _ => 0.0,
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
            Best::Top { k, entries } if entries.len() < *k => entries.push(Reverse(entry)),
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
