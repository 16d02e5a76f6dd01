//! What a corpus says about every feature.

use rayon::prelude::*;

use super::block::{Activation, Block};
use super::evidence::{FeatureEvidence, Firing, Limits};

/// How often each token stands at, before and after the positions that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// By id: positions with this token.
    pub here: Vec<u64>,
    /// By id: positions after this token.
    pub before: Vec<u64>,
    /// By id: positions before this token, which predict it.
    pub next: Vec<u64>,
}

impl TokenCounts {
    fn new(d_vocab: usize) -> TokenCounts {
        TokenCounts {
            here: vec![0; d_vocab],
            before: vec![0; d_vocab],
            next: vec![0; d_vocab],
        }
    }

    fn add(&mut self, tokens: &[u32], position: usize) {
        let count = |counts: &mut Vec<u64>, at: Option<usize>| {
            let id = at.and_then(|at| tokens.get(at)).map(|&id| id as usize);
            if let Some(count) = id.and_then(|id| counts.get_mut(id)) {
                *count += 1;
            }
        };
        count(&mut self.here, Some(position));
        count(&mut self.before, position.checked_sub(1));
        count(&mut self.next, Some(position + 1));
    }

    /// Adds the counts of another part of the corpus.
    pub fn merge(&mut self, other: &TokenCounts) {
        let pairs = [
            (&mut self.here, &other.here),
            (&mut self.before, &other.before),
            (&mut self.next, &other.next),
        ];
        for (own, other) in pairs {
            own.resize(own.len().max(other.len()), 0);
            own.iter_mut()
                .zip(other)
                .for_each(|(own, other)| *own = own.saturating_add(*other));
        }
    }
}

/// Counts of a corpus that belong to no feature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorpusCounts {
    /// Tokens at positions that count.
    pub counted: u64,
    /// Tokens at positions that are left out.
    pub left_out: u64,
    /// Texts of each class; of all with labels at 0.
    pub texts: Vec<u64>,
    /// Tokens at positions that count.
    pub tokens: TokenCounts,
}

impl CorpusCounts {
    /// Adds the counts of another part of the corpus.
    pub fn merge(&mut self, other: &CorpusCounts) {
        self.counted = self.counted.saturating_add(other.counted);
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.texts
            .resize(self.texts.len().max(other.texts.len()), 0);
        let texts = self.texts.iter_mut().zip(&other.texts);
        texts.for_each(|(own, other)| *own = own.saturating_add(*other));
        self.tokens.merge(&other.tokens);
    }
}

/// What a corpus says about every feature.
#[derive(Clone, Debug)]
pub struct CorpusEvidence {
    /// How much is kept of a feature.
    pub limits: Limits,
    /// By id.
    pub features: Vec<FeatureEvidence>,
    /// Counts that belong to no feature.
    pub counts: CorpusCounts,
    /// Keys of the sequences that were read, by their numbers; 0 for the others.
    keys: Vec<u64>,
    /// For each feature, the number of firings at which they are trimmed next.
    trim_at: Vec<usize>,
}

/// Firings that a feature may have before they are trimmed for the first time.
const FIRST_TRIM: usize = 512;

impl CorpusEvidence {
    /// No evidence yet of `d_sae` features, over `classes` classes besides the one of all texts.
    pub fn new(limits: Limits, d_sae: usize, d_vocab: usize, classes: usize) -> CorpusEvidence {
        CorpusEvidence {
            limits,
            features: vec![FeatureEvidence::default(); d_sae],
            counts: CorpusCounts {
                texts: vec![0; classes + 1],
                tokens: TokenCounts::new(d_vocab),
                ..CorpusCounts::default()
            },
            keys: Vec::new(),
            trim_at: vec![FIRST_TRIM; d_sae],
        }
    }

    /// Evidence that an earlier pass left, with the keys of the sequences that it read.
    pub fn resumed(
        limits: Limits,
        features: Vec<FeatureEvidence>,
        counts: CorpusCounts,
        keys: impl IntoIterator<Item = (u32, u64)>,
    ) -> CorpusEvidence {
        let mut evidence = CorpusEvidence {
            trim_at: features
                .iter()
                .map(|f| next_trim(f.firings.len()))
                .collect(),
            limits,
            features,
            counts,
            keys: Vec::new(),
        };
        keys.into_iter()
            .for_each(|(sequence, key)| evidence.set_key(sequence, key));
        evidence
    }

    fn set_key(&mut self, sequence: u32, key: u64) {
        let sequence = sequence as usize;
        if sequence >= self.keys.len() {
            self.keys.resize(sequence + 1, 0);
        }
        self.keys[sequence] = key;
    }

    /// The key of a sequence that was read.
    pub fn key(&self, sequence: u32) -> u64 {
        key_of(&self.keys, sequence)
    }

    /// Adds the activations of a block.
    pub fn add(&mut self, block: &Block) {
        for sequence in &block.sequences {
            self.set_key(sequence.number, sequence.key);
            let mut left_out = sequence.left_out.iter().copied().peekable();
            for position in 0..sequence.tokens.len() {
                if left_out.next_if_eq(&(position as u32)).is_some() {
                    self.counts.left_out += 1;
                } else {
                    self.counts.counted += 1;
                    self.counts.tokens.add(&sequence.tokens, position);
                }
            }
            for text in &sequence.texts {
                for &class in &text.classes {
                    self.counts.texts[usize::from(class)] += 1;
                }
            }
        }
        let starts = block.starts_of_features(self.features.len());
        let (limits, keys) = (self.limits, &self.keys);
        let key = |sequence: u32| key_of(keys, sequence);
        let features = self.features.par_iter_mut().zip(&mut self.trim_at);
        features
            .enumerate()
            .for_each(|(feature, (evidence, trim_at))| {
                let own = &block.activations[starts[feature]..starts[feature + 1]];
                add(evidence, own, block);
                if evidence.firings.len() > *trim_at {
                    evidence.trim(feature as u32, &limits, key);
                    *trim_at = next_trim(evidence.firings.len());
                }
            });
    }

    /// Adds the evidence of another part of the corpus; [`CorpusEvidence::trim`] makes it small again.
    pub fn merge(&mut self, other: &CorpusEvidence) {
        let pairs = self.features.iter_mut().zip(&other.features);
        pairs.for_each(|(own, other)| own.merge(other));
        self.counts.merge(&other.counts);
        let keys = (0..).zip(&other.keys).filter(|(_, key)| **key != 0);
        keys.for_each(|(sequence, &key)| self.set_key(sequence, key));
    }

    /// Makes the evidence of every feature as small as its limits allow.
    pub fn trim(&mut self) {
        let (limits, keys) = (self.limits, &self.keys);
        let key = |sequence: u32| key_of(keys, sequence);
        let features = self.features.par_iter_mut().zip(&mut self.trim_at);
        features
            .enumerate()
            .for_each(|(feature, (evidence, trim_at))| {
                evidence.trim(feature as u32, &limits, key);
                *trim_at = next_trim(evidence.firings.len());
            });
    }
}

fn key_of(keys: &[u64], sequence: u32) -> u64 {
    keys.get(sequence as usize).copied().unwrap_or(0)
}

/// The number of firings at which a feature that has `kept` after a trim is trimmed again.
fn next_trim(kept: usize) -> usize {
    (2 * kept).max(FIRST_TRIM)
}

/// Adds the activations of one feature in a block, by sequence and position.
fn add(evidence: &mut FeatureEvidence, activations: &[Activation], block: &Block) {
    for of_sequence in activations.chunk_by(|a, b| a.row.sequence == b.row.sequence) {
        let Some(first) = of_sequence.first() else {
            continue;
        };
        let sequence = &block.sequences[first.row.sequence as usize];
        for activation in of_sequence {
            if activation.row.left_out {
                evidence.left_out.add(activation.value);
                continue;
            }
            evidence.counted.add(activation.value);
            evidence.histogram.add(super::bin(activation.value), 1);
            evidence.firings.push(Firing {
                sequence: sequence.number,
                position: activation.row.position,
                activation: activation.value,
            });
        }
        for text in &sequence.texts {
            let inside = of_sequence
                .iter()
                .filter(|a| !a.row.left_out && text.positions.contains(&a.row.position));
            let max = inside.map(|a| a.value).fold(0.0, f32::max);
            if max > 0.0 {
                text.classes
                    .iter()
                    .for_each(|&class| evidence.add_text(class, max));
            }
        }
    }
}
