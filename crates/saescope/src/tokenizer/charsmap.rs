//! A check of SentencePiece's table of replacements, `precompiled_charsmap`.
//!
//! The crate `spm_precompiled` runs the table: four bytes with the length of a double array, its units of
//! four bytes, and the replacements as text with a zero byte after each. It follows the units without a
//! look at their bounds, so that a damaged table would end the program.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// A bound above the tables of SentencePiece, whose largest has 240 kB.
const MAX_BYTES: usize = 4 << 20;

/// Checks every table of a normaliser, as `tokenizer.json` writes it.
pub(super) fn check(normalizer: &Value) -> Result<(), String> {
    if let Some(steps) = normalizer["normalizers"].as_array() {
        return steps.iter().try_for_each(check);
    }
    let Some(table) = normalizer.get("precompiled_charsmap") else {
        return Ok(());
    };
    let bytes = table
        .as_str()
        .and_then(|table| BASE64_STANDARD.decode(table).ok());
    let whole = bytes.is_some_and(|bytes| bytes.len() <= MAX_BYTES && is_whole(&bytes).is_some());
    whole
        .then_some(())
        .ok_or_else(|| "its table of replacements, `precompiled_charsmap`, is damaged".to_owned())
}

/// A table as it is stored.
struct DoubleArray<'a> {
    units: &'a [u8],
    replacements: &'a str,
}

/// `Some` if every text can be looked up in the table.
fn is_whole(bytes: &[u8]) -> Option<()> {
    let (len, rest) = bytes.split_at_checked(4)?;
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let (units, replacements) = rest.split_at_checked(len)?;
    let array = DoubleArray {
        units: len.is_multiple_of(4).then_some(units)?,
        replacements: str::from_utf8(replacements).ok()?,
    };
    // A state of the search is the place of a unit before the next byte of a text is added to it.
    let mut seen = HashSet::new();
    let mut states = vec![offset(array.unit(0)?)];
    while let Some(state) = states.pop() {
        if !seen.insert(state) {
            continue;
        }
        for byte in 1..=255 {
            let unit = array.unit(state ^ byte)?;
            // The label of a unit that is not the child of this state is another byte.
            if unit & (1 << 31 | 0xff) != byte {
                continue;
            }
            let next = state ^ byte ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = array.unit(next)? & ((1 << 31) - 1);
                array.replacements.is_char_boundary(start).then_some(())?;
            }
            states.push(next);
        }
    }
    Some(())
}

impl DoubleArray<'_> {
    fn unit(&self, at: usize) -> Option<usize> {
        let bytes = self.units.get(at.checked_mul(4)?..)?.get(..4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    }
}

/// The distance from a unit to its children, as Darts writes it.
fn offset(unit: usize) -> usize {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(bytes: &[u8]) -> bool {
        let table =
            json!({"type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(bytes)});
        check(&json!({"type": "Sequence", "normalizers": [table]})).is_err()
    }

    #[test]
    fn tables_that_would_end_the_program_are_refused() {
        assert!(refused(b""));
        assert!(refused(&[0; 4]));
        // A length without its units, and units that lead out of the array.
        assert!(refused(&[0xff; 4]));
        assert!(refused(&[4, 0, 0, 0, 0, 0, 0, 0]));
        // A whole array without children.
        let mut empty = vec![0; 4 + 1024];
        empty[..4].copy_from_slice(&1024_u32.to_le_bytes());
        assert!(!refused(&empty));
        // Its unit for `a` is a leaf, whose text would begin behind the end.
        let mut leaf = empty;
        let mut set =
            |at: usize, unit: u32| leaf[4 + 4 * at..][..4].copy_from_slice(&unit.to_le_bytes());
        set(usize::from(b'a'), u32::from(b'a') | 1 << 8 | 2 << 10);
        set(usize::from(b'a') ^ 2, 1 << 31 | 7);
        assert!(refused(&leaf));
    }
}
