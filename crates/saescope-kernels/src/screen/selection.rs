//! The entries of one row that a gate selects: every positive one, or the `k` largest so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The activation of a feature. It ranks above another when it is larger, or equal and of a lower
/// feature.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(super) feature: u32,
    pub(super) value: f32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then(other.feature.cmp(&self.feature))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The selected entries of a row.
pub(crate) enum Selection {
    /// Every positive entry.
    All(Vec<Entry>),
    /// The `k` largest entries.
    Top {
        k: usize,
        /// Only entries above it are kept.
        floor: f32,
        /// The smallest on top.
        entries: BinaryHeap<Reverse<Entry>>,
    },
}

impl Selection {
    /// Selects every positive entry.
    pub(crate) fn all() -> Selection {
        Selection::All(Vec::new())
    }

    /// Selects the `k` largest of the entries above `floor`.
    pub(super) fn top(k: usize, floor: f32) -> Selection {
        Selection::Top {
            k,
            floor,
            entries: BinaryHeap::new(),
        }
    }

    /// The smallest of the `k` largest entries; `None` while there are fewer.
    pub(super) fn kth_value(&self) -> Option<f32> {
        match self {
            Selection::Top { k, entries, .. } if entries.len() >= *k => {
                entries.peek().map(|smallest| smallest.0.value)
            }
            _ => None,
        }
    }

    /// Only entries above it can be selected. It lies just below the smallest of the `k` largest,
    /// since an equal entry of a lower feature ranks above that.
    #[inline]
    pub(super) fn threshold(&self) -> f32 {
        match self {
            Selection::Top { k, entries, .. } if entries.len() >= *k => {
                let smallest = entries.peek();
                smallest.map_or(f32::INFINITY, |smallest| smallest.0.value.next_down())
            }
            Selection::Top { floor, .. } => *floor,
            Selection::All(_) => 0.0,
        }
    }

    /// True if entries can raise the threshold.
    pub(super) fn raises_threshold(&self) -> bool {
        matches!(self, Selection::Top { .. })
    }

    /// Offers a positive entry.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        match self {
            Selection::All(entries) => entries.push(entry),
            Selection::Top { floor, .. } if entry.value <= *floor => {}
            Selection::Top { k, entries, .. } if entries.len() < *k => entries.push(Reverse(entry)),
            Selection::Top { entries, .. } => {
                if let Some(mut smallest) = entries.peek_mut()
                    && smallest.0 < entry
                {
                    *smallest = Reverse(entry);
                }
            }
        }
    }

    /// Features, ascending, with their values.
    pub(crate) fn into_row(self) -> Vec<(u32, f32)> {
        let pair = |entry: Entry| (entry.feature, entry.value);
        let mut row: Vec<(u32, f32)> = match self {
            Selection::All(entries) => entries.into_iter().map(pair).collect(),
            Selection::Top { entries, .. } => {
                entries.into_iter().map(|entry| pair(entry.0)).collect()
            }
        };
        row.sort_unstable_by_key(|&(feature, _)| feature);
        row
    }
}
