//! SentencePiece's BPE: of all neighbours that join to a token, those with the best score join first.
//!
//! Pieces are bytes with plain spaces here; files write them with `▁` ([`Parts`]).

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use crate::digest::Digest;

/// A vocabulary with scores.
pub(super) struct Spm {
    /// Tokens that merging may produce, with their scores.
    merged: HashMap<Box<[u8]>, (u32, f32)>,
    /// Tokens that are taken out of a text before anything else.
    whole: WholeTokens,
    /// The tokens of single bytes, for characters without one of their own.
    bytes: Box<[Option<u32>; 256]>,
    /// The token of bytes that have none of their own.
    unknown: Option<u32>,
    /// True if a space is put before each stretch of text.
    dummy_space: bool,
    /// True if `▁` in a text is a space too, as for tokenizers that write one for the other.
    metaspace: bool,
}

/// The tokens and settings that make an [`Spm`].
pub(super) struct Parts {
    pub(super) merged: HashMap<Box<[u8]>, (u32, f32)>,
    pub(super) whole: Vec<(Box<[u8]>, u32)>,
    pub(super) bytes: Box<[Option<u32>; 256]>,
    pub(super) unknown: Option<u32>,
    pub(super) dummy_space: bool,
    pub(super) metaspace: bool,
}

impl Spm {
    pub(super) fn new(parts: Parts) -> Spm {
        Spm {
            merged: parts.merged,
            whole: WholeTokens::new(parts.whole),
            bytes: parts.bytes,
            unknown: parts.unknown,
            dummy_space: parts.dummy_space,
            metaspace: parts.metaspace,
        }
    }

    /// Adds everything that determines ids to a digest.
    pub(super) fn digest(&self, digest: &mut Digest) {
        let mut merged: Vec<_> = self.merged.iter().collect();
        merged.sort_by(|(a, (x, _)), (b, (y, _))| (x, a).cmp(&(y, b)));
        for (piece, (id, score)) in merged {
            digest.part(piece);
            digest.add(&id.to_le_bytes());
            digest.add(&score.to_le_bytes());
        }
        let mut whole: Vec<_> = self.whole.ids.iter().collect();
        whole.sort();
        for (piece, id) in whole {
            digest.part(piece);
            digest.add(&id.to_le_bytes());
        }
        let rest = (&self.bytes, self.unknown, self.dummy_space, self.metaspace);
        digest.part(format!("{rest:?}").as_bytes());
    }

    /// Appends the ids of `text`.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let plain;
        let mut rest = text;
        if self.metaspace && text.contains('▁') {
            plain = text.replace('▁', " ");
            rest = &plain;
        }
        while !rest.is_empty() {
            let (start, found) = self.whole.find(rest);
            if start > 0 {
                self.encode_stretch(&rest[..start], ids);
            }
            rest = &rest[start..];
            if let Some((len, id)) = found {
                ids.push(id);
                rest = &rest[len..];
            }
        }
    }

    fn encode_stretch(&self, text: &str, ids: &mut Vec<u32>) {
        if self.dummy_space {
            let mut spaced = String::with_capacity(text.len() + 1);
            spaced.push(' ');
            spaced.push_str(text);
            self.merge(&spaced, ids);
        } else {
            self.merge(text, ids);
        }
    }

    /// Joins pieces with a heap of the possible joins, so that a text of n bytes costs n log n.
    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        let mut chain = Chain::of_characters(text);
        let mut heap: BinaryHeap<Join> = (0..chain.links.len())
            .filter_map(|left| self.join(text, &chain, left))
            .collect();
        while let Some(join) = heap.pop() {
            if !chain.accepts(&join) {
                continue;
            }
            chain.join(join.left);
            heap.extend(self.join(text, &chain, join.left));
            if let Some(before) = chain.links[join.left].previous {
                heap.extend(self.join(text, &chain, before));
            }
        }
        for (start, end) in chain.stretches() {
            self.push(&text.as_bytes()[start..end], ids);
        }
    }

    /// The join of a link with the next one, if together they are a token.
    fn join(&self, text: &str, chain: &Chain, left: usize) -> Option<Join> {
        let link = chain.links[left];
        let end = chain.links[link.next?].end;
        let &(_, score) = self.merged.get(&text.as_bytes()[link.start..end])?;
        Some(Join { score, left, end })
    }

    fn push(&self, piece: &[u8], ids: &mut Vec<u32>) {
        if let Some(&(id, _)) = self.merged.get(piece) {
            ids.push(id);
            return;
        }
        let bytes: Option<Vec<u32>> = piece
            .iter()
            .map(|&byte| self.bytes[usize::from(byte)])
            .collect();
        match bytes {
            Some(bytes) => ids.extend(bytes),
            None => ids.extend(self.unknown),
        }
    }
}

/// A row of stretches of a text, each of which becomes a token.
struct Chain {
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Link {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Chain {
    fn of_characters(text: &str) -> Chain {
        let mut links: Vec<Link> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, c))| Link {
                start,
                end: start + c.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = links.last_mut() {
            last.next = None;
        }
        Chain { links }
    }

    /// True if both sides of a join are still as they were when it was proposed: an earlier join may
    /// have taken a side, which leaves an empty link or moves its end.
    fn accepts(&self, join: &Join) -> bool {
        let left = self.links[join.left];
        left.start < left.end
            && left
                .next
                .is_some_and(|next| self.links[next].end == join.end)
    }

    fn join(&mut self, left: usize) {
        let Some(right) = self.links[left].next else {
            return;
        };
        let Link { end, next, .. } = self.links[right];
        self.links[left].end = end;
        self.links[left].next = next;
        self.links[right].end = self.links[right].start;
        if let Some(next) = next {
            self.links[next].previous = Some(left);
        }
    }

    fn stretches(&self) -> impl Iterator<Item = (usize, usize)> {
        self.links
            .iter()
            .map(|link| (link.start, link.end))
            .filter(|(start, end)| start < end)
    }
}

/// A join of two neighbours that makes a token.
struct Join {
    score: f32,
    left: usize,
    end: usize,
}

impl Ord for Join {
    // Best score first, then leftmost, as SentencePiece does.
    fn cmp(&self, other: &Join) -> Ordering {
        let key = |join: &Join| (Reverse(join.left), join.end);
        self.score
            .total_cmp(&other.score)
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Join {
    fn partial_cmp(&self, other: &Join) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Join {
    fn eq(&self, other: &Join) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Join {}

/// Finds tokens that stand in a text as they are, the leftmost and of those the longest.
struct WholeTokens {
    ids: HashMap<Box<[u8]>, u32>,
    /// Lengths of the tokens that begin with each byte. Gemma has 6,000 such tokens, almost all of which
    /// begin with `<`, in few lengths.
    lengths: Vec<BTreeSet<usize>>,
}

impl WholeTokens {
    fn new(tokens: Vec<(Box<[u8]>, u32)>) -> WholeTokens {
        let mut lengths = vec![BTreeSet::new(); 256];
        for (token, _) in &tokens {
            if let Some(&first) = token.first() {
                lengths[usize::from(first)].insert(token.len());
            }
        }
        let ids = tokens.into_iter().collect();
        WholeTokens { ids, lengths }
    }

    /// Beginning, length and id of the first one; the end of the text if there is none.
    fn find(&self, text: &str) -> (usize, Option<(usize, u32)>) {
        for (start, byte) in text.bytes().enumerate() {
            for &len in self.lengths[usize::from(byte)].iter().rev() {
                let candidate = text.as_bytes().get(start..start + len);
                if let Some(&id) = candidate.and_then(|bytes| self.ids.get(bytes)) {
                    return (start, Some((len, id)));
                }
            }
        }
        (text.len(), None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spm(dummy_space: bool) -> Spm {
        let tokens = [
            ("a", -9.0),
            ("b", -9.0),
            (" ", -9.0),
            ("ab", -2.0),
            ("ba", -1.0),
            ("aba", -3.0),
            (" a", -4.0),
            ("abab", -5.0),
            ("가", -9.0),
        ];
        let merged = tokens
            .iter()
            .zip(300..)
            .map(|(&(text, score), id)| (text.as_bytes().into(), (id, score)));
        let mut bytes = Box::new([None; 256]);
        for (byte, id) in bytes.iter_mut().zip(0..) {
            *byte = Some(id);
        }
        Spm::new(Parts {
            merged: merged.collect(),
            whole: vec![
                (b"<x>".as_slice().into(), 400),
                (b"<x>>".as_slice().into(), 401),
            ],
            bytes,
            unknown: None,
            dummy_space,
            metaspace: false,
        })
    }

    fn encode(spm: &Spm, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        spm.encode(text, &mut ids);
        ids
    }

    /// llama2.c's algorithm: search all neighbours for the best join, again and again.
    fn encode_slowly(spm: &Spm, text: &str) -> Vec<u32> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let mut best: Option<(f32, usize)> = None;
            for at in 1..parts.len() {
                let joined = format!("{}{}", parts[at - 1], parts[at]);
                if let Some(&(_, score)) = spm.merged.get(joined.as_bytes())
                    && best.is_none_or(|(top, _)| score > top)
                {
                    best = Some((score, at));
                }
            }
            let Some((_, at)) = best else { break };
            let right = parts.remove(at);
            parts[at - 1].push_str(&right);
        }
        let mut ids = Vec::new();
        for part in parts {
            spm.push(part.as_bytes(), &mut ids);
        }
        ids
    }

    #[test]
    fn the_best_score_joins_first_and_the_leftmost_of_equals() {
        assert_eq!(encode(&spm(false), "aba"), [305]);
        assert_eq!(encode(&spm(false), "abb"), [303, 301]);
        assert_eq!(encode(&spm(false), "bab"), [304, 301]);
        assert_eq!(encode(&spm(true), "a"), [306]);
    }

    #[test]
    fn characters_without_a_token_become_bytes() {
        assert_eq!(encode(&spm(false), "가é"), [308, 0xc3, 0xa9]);
    }

    #[test]
    fn the_longest_whole_token_is_taken_first() {
        assert_eq!(encode(&spm(true), "a<x>>a<x>"), [306, 401, 306, 400]);
        assert!(encode(&spm(true), "").is_empty());
    }

    #[test]
    fn a_long_text_does_not_take_quadratic_time() {
        let text = "ab".repeat(200_000);
        assert!(!encode(&spm(false), &text).is_empty());
    }

    proptest! {
        #[test]
        fn the_heap_joins_as_a_full_search_does(text in "[ab 가é]{0,40}") {
            prop_assert_eq!(encode(&spm(false), &text), encode_slowly(&spm(false), &text));
        }
    }
}
