//! What follows from the evidence of all features: contexts, co-activation, and the way back from sequences
//! and tokens to features.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use rusqlite::{Transaction, params};
use saescope::Result;
use saescope::harvest::{Draw, FeatureEvidence, FeatureRole, Limits};

use crate::blobs;
use crate::bytes::{Reader, Writer};
use crate::open::{INDEXED, Store};

/// Tokens of a list of contexts, and features of a list of co-activation.
const KEPT: usize = 20;
/// Features of a class.
const KEPT_OF_CLASS: usize = 500;
/// Most tokens on which co-activation is counted.
const COACTIVATION_TOKENS: usize = 1 << 17;
/// Features whose evidence is decoded at once.
const CHUNK: usize = 2048;

/// The contexts of a feature, counted on a random sample of the positions on which it fires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureContext {
    /// Positions of the sample.
    pub(crate) sample: u32,
    /// Tokens there, before and after, with their numbers, the most frequent first.
    pub(crate) here: Vec<(u32, u32)>,
    pub(crate) before: Vec<(u32, u32)>,
    pub(crate) next: Vec<(u32, u32)>,
    /// Tokens on which co-activation was counted, and those among them on which the feature fires.
    pub(crate) tokens: u32,
    pub(crate) fires: u32,
    /// Other features: id, tokens on which both fire, tokens on which it fires; by the part that both have
    /// of the tokens that either has.
    pub(crate) coactive: Vec<(u32, u32, u32)>,
}

impl FeatureContext {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        for n in [self.sample, self.tokens, self.fires] {
            to.int(n.into());
        }
        for list in [&self.here, &self.before, &self.next] {
            to.len(list.len());
            for &(token, count) in list {
                for n in [token, count] {
                    to.int(n.into());
                }
            }
        }
        to.len(self.coactive.len());
        for &(feature, both, other) in &self.coactive {
            for n in [feature, both, other] {
                to.int(n.into());
            }
        }
        to.0
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<FeatureContext> {
        let mut from = Reader::new(bytes);
        let (sample, tokens, fires) = (from.u32()?, from.u32()?, from.u32()?);
        let mut list = || -> Result<Vec<(u32, u32)>> {
            let len = from.len()?;
            (0..len).map(|_| Ok((from.u32()?, from.u32()?))).collect()
        };
        let (here, before, next) = (list()?, list()?, list()?);
        let len = from.len()?;
        let coactive = (0..len).map(|_| Ok((from.u32()?, from.u32()?, from.u32()?)));
        Ok(FeatureContext {
            sample,
            here,
            before,
            next,
            tokens,
            fires,
            coactive: coactive.collect::<Result<_>>()?,
        })
    }
}

/// The features that have a token at the top of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TokenFeatures {
    /// Features that promote it, and by how much.
    pub(crate) promoted: Vec<(u32, f32)>,
    /// Features that suppress it, and by how much.
    pub(crate) suppressed: Vec<(u32, f32)>,
    /// Features that fire on it, and the part of their firings that it has.
    pub(crate) read: Vec<(u32, f32)>,
}

impl TokenFeatures {
    fn to_bytes(&self) -> Vec<u8> {
        let lists = [&self.promoted, &self.suppressed, &self.read];
        lists.map(|list| write_scores(list)).concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<TokenFeatures> {
        let mut from = Reader::new(bytes);
        Ok(TokenFeatures {
            promoted: read_scores(&mut from)?,
            suppressed: read_scores(&mut from)?,
            read: read_scores(&mut from)?,
        })
    }
}

fn write_scores(scores: &[(u32, f32)]) -> Vec<u8> {
    let mut to = Writer::default();
    to.len(scores.len());
    for &(feature, score) in scores {
        to.int(feature.into());
        to.f32(score);
    }
    to.0
}

fn read_scores(from: &mut Reader) -> Result<Vec<(u32, f32)>> {
    let len = from.len()?;
    (0..len).map(|_| Ok((from.u32()?, from.f32()?))).collect()
}

/// Features whose strongest texts include a sequence: id, and the position of the peak.
pub(crate) fn write_peaks(peaks: &[(u32, u32)]) -> Vec<u8> {
    let mut to = Writer::default();
    to.len(peaks.len());
    let mut last = 0;
    for &(feature, position) in peaks {
        to.int((feature - last).into());
        to.int(position.into());
        last = feature;
    }
    to.0
}

pub(crate) fn read_peaks(bytes: &[u8]) -> Result<Vec<(u32, u32)>> {
    let mut from = Reader::new(bytes);
    let len = from.len()?;
    let mut feature = 0_u32;
    (0..len)
        .map(|_| {
            feature = feature.wrapping_add(from.u32()?);
            Ok((feature, from.u32()?))
        })
        .collect()
}

/// Everything that follows from the evidence of all features.
#[derive(Default)]
pub(crate) struct Derived {
    contexts: Vec<(u32, FeatureContext)>,
    sequences: BTreeMap<u32, Vec<(u32, u32)>>,
    tokens: BTreeMap<u32, TokenFeatures>,
    /// Numbers and keys of the indexed sequences.
    indexed: Vec<(u32, u64)>,
    /// By class, the features that separate it best, with their AUROC.
    classes: BTreeMap<u16, Vec<(u32, f32)>>,
}

/// The tokens of all sequences, with their keys.
type AllTokens = HashMap<u32, (u64, Box<[u32]>)>;

/// Works out what follows from the evidence of all features.
pub(crate) fn derive(store: &Store) -> Result<Derived> {
    let mut tokens = AllTokens::new();
    let mut derived = Derived::default();
    store.each_block(&mut |sequences| {
        let indexed = sequences.iter().filter(|s| s.indexed);
        derived.indexed.extend(indexed.map(|s| (s.number, s.key)));
        let each = sequences.into_iter();
        tokens.extend(each.map(|s| (s.number, (s.key, s.tokens.into_boxed_slice()))));
        Ok(())
    })?;
    let coactivation = Coactivation::count(store)?;
    let limits = &store.header().config.limits;
    let texts = &store.counts()?.texts;
    let d_sae = store.header().d_sae as u32;
    for first in (0..d_sae).step_by(CHUNK) {
        let mut read = Vec::with_capacity(CHUNK);
        for feature in first..d_sae.min(first + CHUNK as u32) {
            let evidence = store.feature_evidence(feature)?;
            read.push((feature, evidence, store.feature_role(feature)?));
        }
        for (feature, evidence, _) in &read {
            derived.add_classes(*feature, evidence, texts);
        }
        let done: Vec<(Vec<(u32, u32)>, FeatureContext)> = read
            .par_iter()
            .map(|(feature, evidence, _)| context(limits, *feature, evidence, &tokens))
            .collect();
        for ((feature, _, role), (peaks, context)) in read.into_iter().zip(done) {
            derived.add(feature, role.as_ref(), peaks, context);
        }
    }
    derived
        .contexts
        .par_iter_mut()
        .for_each(|(feature, context)| {
            coactivation.fill(*feature, context);
        });
    derived.classes.values_mut().for_each(keep_best);
    for features in derived.tokens.values_mut() {
        for list in [
            &mut features.promoted,
            &mut features.suppressed,
            &mut features.read,
        ] {
            list.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        }
    }
    Ok(derived)
}

/// The strongest sequences of a feature, and the tokens around a sample of its firings.
fn context(
    limits: &Limits,
    feature: u32,
    evidence: &FeatureEvidence,
    tokens: &AllTokens,
) -> (Vec<(u32, u32)>, FeatureContext) {
    let key = |sequence: u32| tokens.get(&sequence).map_or(0, |(key, _)| *key);
    let chosen = evidence.chosen(feature, limits, key);
    let mut counts = [(); 3].map(|()| BTreeMap::<u32, u32>::new());
    for &at in &chosen.sample {
        let firing = &evidence.firings[at];
        let Some((_, tokens)) = tokens.get(&firing.sequence) else {
            continue;
        };
        let position = firing.position as usize;
        let around = [Some(position), position.checked_sub(1), Some(position + 1)];
        for (counts, at) in counts.iter_mut().zip(around) {
            if let Some(&token) = at.and_then(|at| tokens.get(at)) {
                *counts.entry(token).or_default() += 1;
            }
        }
    }
    let [here, before, next] = counts.map(|counts| {
        let mut list: Vec<(u32, u32)> = counts.into_iter().collect();
        list.sort_by_key(|&(token, count)| (std::cmp::Reverse(count), token));
        list.truncate(KEPT);
        list
    });
    let peaks = chosen.top.iter().map(|&at| &evidence.firings[at]);
    let peaks = peaks
        .map(|firing| (firing.sequence, firing.position))
        .collect();
    let context = FeatureContext {
        sample: chosen.sample.len() as u32,
        here,
        before,
        next,
        ..FeatureContext::default()
    };
    (peaks, context)
}

impl Derived {
    fn add_classes(&mut self, feature: u32, evidence: &FeatureEvidence, texts: &[u64]) {
        for class in evidence.separations(texts) {
            let best = self.classes.entry(class.class).or_default();
            best.push((feature, class.auroc as f32));
            if best.len() >= 2 * KEPT_OF_CLASS {
                keep_best(best);
            }
        }
    }

    fn add(
        &mut self,
        feature: u32,
        role: Option<&FeatureRole>,
        peaks: Vec<(u32, u32)>,
        context: FeatureContext,
    ) {
        for (sequence, position) in peaks {
            let features = self.sequences.entry(sequence).or_default();
            features.push((feature, position));
        }
        for &(token, count) in &context.here {
            let part = count as f32 / context.sample.max(1) as f32;
            let features = self.tokens.entry(token).or_default();
            features.read.push((feature, part));
        }
        for (token, effect) in role.into_iter().flat_map(|role| &role.promoted) {
            let features = self.tokens.entry(*token).or_default();
            features.promoted.push((feature, *effect));
        }
        for (token, effect) in role.into_iter().flat_map(|role| &role.suppressed) {
            let features = self.tokens.entry(*token).or_default();
            features.suppressed.push((feature, *effect));
        }
        self.contexts.push((feature, context));
    }

    pub(crate) fn write(&self, to: &Transaction) -> rusqlite::Result<()> {
        let indexed = blobs::write_indexed(&self.indexed);
        to.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            params![INDEXED, indexed],
        )?;
        to.execute_batch(
            "DELETE FROM sequence_features; DELETE FROM token_features;
             DELETE FROM class_features;",
        )?;
        let mut put = to.prepare_cached("UPDATE features SET context = ? WHERE feature = ?")?;
        for (feature, context) in &self.contexts {
            put.execute(params![context.to_bytes(), feature])?;
        }
        let mut put = to.prepare_cached("INSERT INTO sequence_features VALUES (?, ?)")?;
        for (sequence, peaks) in &self.sequences {
            put.execute(params![sequence, write_peaks(peaks)])?;
        }
        let mut put = to.prepare_cached("INSERT INTO class_features VALUES (?, ?)")?;
        for (class, features) in &self.classes {
            put.execute(params![class, write_scores(features)])?;
        }
        let mut put = to.prepare_cached("INSERT INTO token_features VALUES (?, ?)")?;
        for (token, features) in &self.tokens {
            put.execute(params![token, features.to_bytes()])?;
        }
        Ok(())
    }
}

/// The features of each token of a random part of the index.
#[derive(Default)]
struct Coactivation {
    /// By token, ascending within each.
    features: Vec<u32>,
    /// Beginning of each token in `features`, and the end of the last.
    starts: Vec<usize>,
    /// By feature, the tokens on which it fires.
    tokens: HashMap<u32, Vec<u32>>,
    /// Number of tokens, those without a feature too.
    positions: u32,
}

impl Coactivation {
    fn count(store: &Store) -> Result<Coactivation> {
        let chosen = store.indexed_sequences(COACTIVATION_TOKENS)?;
        let mut all = Coactivation {
            starts: vec![0],
            ..Coactivation::default()
        };
        for (first, positions) in chosen {
            for (len, left_out) in positions.values() {
                all.positions += (len - left_out.len()) as u32;
            }
            let mut found: Vec<(u32, u32, u32)> = store
                .postings_of_block(first)?
                .iter()
                .filter(|p| {
                    let counted = positions.get(&p.sequence);
                    counted
                        .is_some_and(|(_, left_out)| left_out.binary_search(&p.position).is_err())
                })
                .map(|p| (p.sequence, p.position, p.feature))
                .collect();
            found.sort_unstable();
            for token in found.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let number = all.starts.len() as u32 - 1;
                for &(_, _, feature) in token {
                    all.features.push(feature);
                    all.tokens.entry(feature).or_default().push(number);
                }
                all.starts.push(all.features.len());
            }
        }
        Ok(all)
    }

    fn fill(&self, feature: u32, context: &mut FeatureContext) {
        context.tokens = self.positions;
        let Some(tokens) = self.tokens.get(&feature) else {
            return;
        };
        context.fires = tokens.len() as u32;
        let mut both: HashMap<u32, u32> = HashMap::new();
        for &token in tokens {
            let token = token as usize;
            let others = &self.features[self.starts[token]..self.starts[token + 1]];
            for &other in others.iter().filter(|other| **other != feature) {
                *both.entry(other).or_default() += 1;
            }
        }
        let fires = |other: u32| self.tokens.get(&other).map_or(0, Vec::len) as u32;
        let mut list: Vec<(u32, u32, u32)> = both
            .into_iter()
            .map(|(other, both)| (other, both, fires(other)))
            .collect();
        let own = f64::from(context.fires);
        let jaccard = |&(_, both, other): &(u32, u32, u32)| {
            f64::from(both) / (own + f64::from(other) - f64::from(both))
        };
        list.sort_by(|a, b| jaccard(b).total_cmp(&jaccard(a)).then(a.0.cmp(&b.0)));
        list.truncate(KEPT);
        context.coactive = list;
    }
}

/// Keeps the features that separate a class best, the best first.
fn keep_best(features: &mut Vec<(u32, f32)>) {
    features.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    features.truncate(KEPT_OF_CLASS);
}

/// By the first sequence of a block: the chosen sequences, each with its number of tokens and the positions
/// that are left out.
type ChosenSequences = BTreeMap<u32, BTreeMap<u32, (usize, Vec<u32>)>>;

impl Store {
    /// A random choice of indexed sequences with `tokens` tokens at most, by their blocks.
    fn indexed_sequences(&self, tokens: usize) -> Result<ChosenSequences> {
        let draw = Draw::of_sequences(self.header().config.limits.seed);
        let mut all = Vec::new();
        self.each_block(&mut |sequences| {
            let first = sequences.first().map_or(0, |s| s.number);
            let indexed = sequences.into_iter().filter(|s| s.indexed);
            all.extend(indexed.map(|s| {
                (
                    draw.at(s.key, 0),
                    first,
                    s.number,
                    s.tokens.len(),
                    s.left_out,
                )
            }));
            Ok(())
        })?;
        all.sort_unstable();
        let mut chosen = ChosenSequences::new();
        let mut left = tokens;
        for (_, first, number, len, left_out) in all {
            let Some(rest) = left.checked_sub(len) else {
                break;
            };
            left = rest;
            chosen
                .entry(first)
                .or_default()
                .insert(number, (len, left_out));
        }
        Ok(chosen)
    }

    /// The contexts of a feature; none while the harvest is not complete.
    pub(crate) fn context(&self, feature: u32) -> Result<Option<FeatureContext>> {
        let get = "SELECT context FROM features WHERE feature = ?";
        self.decoded(feature, get, FeatureContext::read)
    }

    /// The features that separate a class best, with their AUROC.
    pub(crate) fn class_features(&self, class: u32) -> Result<Vec<(u32, f32)>> {
        let get = "SELECT features FROM class_features WHERE class = ?";
        let scores = self.decoded(class, get, |bytes| read_scores(&mut Reader::new(bytes)))?;
        Ok(scores.unwrap_or_default())
    }

    /// The features that have a token at the top of a list.
    pub(crate) fn token_features(&self, token: u32) -> Result<TokenFeatures> {
        let get = "SELECT features FROM token_features WHERE token = ?";
        let features = self.decoded(token, get, TokenFeatures::from_bytes)?;
        Ok(features.unwrap_or_default())
    }

    /// The features whose strongest texts include a sequence, each with its position there.
    pub(crate) fn peaks(&self, sequence: u32) -> Result<Vec<(u32, u32)>> {
        let get = "SELECT features FROM sequence_features WHERE sequence = ?";
        Ok(self.decoded(sequence, get, read_peaks)?.unwrap_or_default())
    }
}
