//! The origin of every document: its file, its place there, and its labels.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Bytes of the origin of a document.
pub(super) const ORIGIN: usize = 12;
/// Most combinations of labels: a field with more is no class.
const MAX_LABEL_SETS: usize = 1 << 16;

/// The place where a document comes from, and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentOrigin<'a> {
    /// Number of its file in [`CorpusConfig::files`](super::CorpusConfig::files), from 0.
    pub file: usize,
    /// Number of its line, row or record, from 1.
    pub number: u64,
    /// Its labels; most documents have none or one.
    pub labels: &'a [String],
}

/// Origins that are written one after another: `file`, `number` and the number of the combination of
/// labels, u32 each.
#[derive(Default)]
pub(super) struct OriginWriter {
    bytes: Vec<u8>,
    sets: BTreeMap<Vec<String>, u32>,
}

impl OriginWriter {
    pub(super) fn push(&mut self, file: usize, number: u64, labels: &[String]) -> Result<()> {
        let set = match self.sets.get(labels) {
            Some(&set) => set,
            None => {
                let set = self.sets.len();
                if set == MAX_LABEL_SETS {
                    return Err(Error::Argument(format!(
                        "the field of the labels has more than {MAX_LABEL_SETS} values; name a field with \
                         few, such as a class"
                    )));
                }
                self.sets.insert(labels.to_vec(), set as u32);
                set as u32
            }
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        for value in [file as u32, number, set] {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    /// The origins, and the combinations of labels as JSON.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let mut sets: Vec<(u32, Vec<String>)> =
            self.sets.into_iter().map(|(l, n)| (n, l)).collect();
        sets.sort_unstable();
        let sets: Vec<Vec<String>> = sets.into_iter().map(|(_, labels)| labels).collect();
        // Lists of texts always serialise.
        let json = serde_json::to_vec(&sets).unwrap_or_default();
        (self.bytes, json)
    }
}

/// One origin out of the bytes that [`OriginWriter`] makes.
pub(super) fn origin<'a>(bytes: &[u8], sets: &'a [Vec<String>]) -> Option<DocumentOrigin<'a>> {
    let [file, number, set] = bytes.as_chunks().0 else {
        return None;
    };
    let value = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    Some(DocumentOrigin {
        file: value(file) as usize,
        number: value(number).into(),
        labels: sets.get(value(set) as usize)?,
    })
}
