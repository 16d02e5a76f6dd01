//! Texts in batches of about one size.

use std::ops::Range;

/// Ranges of successive texts of these lengths that make no more than `tokens` each, or one text.
pub(crate) fn batches(lens: impl Iterator<Item = usize>, tokens: usize) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut held = 0;
    for (text, len) in lens.enumerate() {
        match batches.last_mut() {
            Some(batch) if held + len <= tokens => batch.end = text + 1,
            _ => {
                batches.push(text..text + 1);
                held = 0;
            }
        }
        held += len;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::batches;

    #[test]
    fn a_batch_holds_what_fits_and_at_least_one_text() {
        let found = batches([3, 4, 9, 1, 5, 2].into_iter(), 7);
        assert_eq!(found, [0..2, 2..3, 3..5, 5..6]);
        assert!(batches(std::iter::empty(), 7).is_empty());
    }
}
