//! The bytes of every token id.

/// The bytes of every id, and whether it is text or a control token.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// `ends[id]` is the end of the bytes of `id`, and the beginning of those of `id + 1`.
    ends: Vec<usize>,
    special: Vec<bool>,
    /// True if a text's first piece begins with a space that is not in the text.
    pub(super) dummy_space: bool,
}

/// One token of a vocabulary.
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) special: bool,
}

/// A bound above every vocabulary (the largest have 2^18 tokens): a larger id comes from a broken file
/// and would make a table of its size.
pub(super) const MAX_VOCAB: usize = 1 << 24;

impl Pieces {
    /// A table of `entries`, in any order. Ids between them have no bytes.
    pub(super) fn new(mut entries: Vec<Entry>, dummy_space: bool) -> Result<Pieces, String> {
        entries.sort_by_key(|entry| entry.id);
        let len = entries.last().map_or(0, |last| last.id as usize + 1);
        if len > MAX_VOCAB {
            return Err(format!(
                "token id {} is larger than any vocabulary",
                len - 1
            ));
        }
        let mut pieces = Pieces {
            bytes: Vec::new(),
            ends: Vec::with_capacity(len),
            special: vec![false; len],
            dummy_space,
        };
        for entry in &entries {
            let id = entry.id as usize;
            if id < pieces.ends.len() {
                return Err(format!("two tokens have the id {id}"));
            }
            pieces.ends.resize(id, pieces.bytes.len());
            pieces.bytes.extend_from_slice(&entry.bytes);
            pieces.ends.push(pieces.bytes.len());
            pieces.special[id] = entry.special;
        }
        Ok(pieces)
    }

    /// One more than the largest id.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `id`. Empty for an id outside the vocabulary, which a model with padded embeddings
    /// can produce.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..end]
    }

    /// True if `id` is a control token and not text.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(true)
    }

    /// The text of `ids`, without control tokens. With `text_before`, text precedes them and none of their
    /// spaces is the dummy one.
    pub(super) fn join(&self, ids: &[u32], text_before: bool) -> Vec<u8> {
        let mut text = Vec::new();
        let mut strip = self.dummy_space && !text_before;
        for &id in ids.iter().filter(|&&id| !self.is_special(id)) {
            text.extend_from_slice(strip_space(self.get(id), strip));
            strip = false;
        }
        text
    }
}

/// `piece` without its first space, if `strip`.
pub(super) fn strip_space(piece: &[u8], strip: bool) -> &[u8] {
    match piece {
        [b' ', rest @ ..] if strip => rest,
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, text: &str, special: bool) -> Entry {
        Entry {
            id,
            bytes: text.as_bytes().to_vec(),
            special,
        }
    }

    #[test]
    fn ids_need_not_be_in_order_or_complete() {
        let entries = vec![
            entry(4, " b", false),
            entry(0, "<s>", true),
            entry(2, " a", false),
        ];
        let pieces = Pieces::new(entries, true).unwrap();
        assert_eq!(pieces.len(), 5);
        assert_eq!(pieces.get(1), b"");
        assert_eq!(pieces.get(99), b"");
        assert_eq!(pieces.join(&[0, 2, 1, 4, 0], false), b"a b");
        assert_eq!(pieces.join(&[0, 2, 1, 4, 0], true), b" a b");
    }

    #[test]
    fn broken_ids_are_refused() {
        assert!(Pieces::new(vec![entry(1, "a", false), entry(1, "b", false)], false).is_err());
        assert!(Pieces::new(vec![entry(u32::MAX, "a", false)], false).is_err());
    }
}
