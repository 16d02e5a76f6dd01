//! Examples of a feature: places of the corpus with the activations around them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use saescope::corpus::SequencePiece;
use saescope::harvest::{Chosen, Draw, FeatureEvidence, Firing, bin, edge};
use saescope::{Error, Result};

use crate::open::Store;
use crate::read::{Sequences, StoredDocument};
use crate::report::{Example, Group, ReportOptions, Window};

/// Tokens up to the chosen one that make two examples alike.
const ALIKE: u32 = 8;
/// Numbers of bands and tenths.
const BANDS: usize = 5;
const TENTHS: usize = 10;

/// A feature of which examples are shown.
pub(crate) struct Shown<'a> {
    store: &'a Store,
    feature: u32,
    evidence: &'a FeatureEvidence,
    chosen: Chosen,
    /// The random number of every firing.
    numbers: Vec<u64>,
    read: Sequences,
    options: &'a ReportOptions,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(
        store: &'a Store,
        feature: u32,
        evidence: &'a FeatureEvidence,
        options: &'a ReportOptions,
    ) -> Result<Shown<'a>> {
        let mut read = Sequences::default();
        let mut keys = HashMap::new();
        for firing in &evidence.firings {
            if let Entry::Vacant(entry) = keys.entry(firing.sequence) {
                entry.insert(store.sequence(firing.sequence, &mut read)?.key);
            }
        }
        let key = |sequence: u32| keys.get(&sequence).copied().unwrap_or(0);
        let limits = &store.header.config.limits;
        let draw = Draw::of_feature(limits.seed, feature);
        let number = |f: &Firing| draw.at(key(f.sequence), f.position);
        Ok(Shown {
            store,
            feature,
            evidence,
            chosen: evidence.chosen(feature, limits, key),
            numbers: evidence.firings.iter().map(number).collect(),
            read,
            options,
        })
    }
}

impl Shown<'_> {
    pub(crate) fn top(&mut self) -> Result<Vec<Example>> {
        let mut alike: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut examples: Vec<Example> = Vec::new();
        for at in self.chosen.top.clone() {
            let Firing {
                sequence, position, ..
            } = self.evidence.firings[at];
            let tokens = &self.store.sequence(sequence, &mut self.read)?.tokens;
            let end = (position as usize + 1).min(tokens.len());
            let start = end.saturating_sub(ALIKE as usize);
            match alike.get(&tokens[start..end]) {
                Some(&shown) => examples[shown].folded += 1,
                None if examples.len() < self.options.top => {
                    alike.insert(tokens[start..end].to_vec(), examples.len());
                    examples.push(self.example(at)?);
                }
                None => {}
            }
        }
        Ok(examples)
    }

    pub(crate) fn random(&mut self) -> Result<Vec<Example>> {
        let chosen = self.chosen.sample.iter().take(self.options.per_group);
        let chosen: Vec<usize> = chosen.copied().collect();
        self.examples(&chosen)
    }

    pub(crate) fn deciles(&mut self) -> Result<Vec<Group>> {
        let mut ranked = self.chosen.sample.clone();
        let value = |at: &usize| self.evidence.firings[*at].activation;
        ranked.sort_by(|a, b| value(a).total_cmp(&value(b)));
        if ranked.len() < TENTHS {
            return Ok(Vec::new());
        }
        let mut groups = Vec::new();
        for tenth in (0..TENTHS).rev() {
            let border = |tenth: usize| tenth * ranked.len() / TENTHS;
            let mut inside = ranked[border(tenth)..border(tenth + 1)].to_vec();
            let value = |at: &usize| f64::from(self.evidence.firings[*at].activation);
            let (from, to) = (value(&inside[0]), value(&inside[inside.len() - 1]));
            inside.sort_by_key(|&at| self.numbers[at]);
            inside.truncate(self.options.per_group);
            groups.push(Group {
                from,
                to,
                contains: 1.0 / TENTHS as f64,
                examples: self.examples(&inside)?,
            });
        }
        Ok(groups)
    }

    pub(crate) fn intervals(&mut self) -> Result<Vec<Group>> {
        let max = f64::from(self.evidence.counted.max);
        let mut groups = Vec::new();
        for band in (0..BANDS).rev().filter(|_| max > 0.0) {
            let edge = |band: usize| max * band as f64 / BANDS as f64;
            let range = edge(band)..edge(band + 1);
            let inside = self.band(&range);
            groups.push(Group {
                contains: part_between(self.evidence, &range),
                from: range.start,
                to: range.end,
                examples: self.examples(&inside)?,
            });
        }
        Ok(groups)
    }

    /// A random choice of the firings between two activations, each as likely as any other: those with
    /// numbers below one that no dropped firing of the band has.
    fn band(&self, range: &Range<f64>) -> Vec<usize> {
        let limits = &self.store.header.config.limits;
        let last = |chosen: &[usize], most: usize| match chosen.len() < most {
            true => u64::MAX,
            false => chosen.last().map_or(u64::MAX, |&at| self.numbers[at]),
        };
        let sampled = last(&self.chosen.sample, limits.sample);
        let value = |at: usize| self.evidence.firings[at].activation;
        let inside = |at: &usize| {
            let value = f64::from(value(*at));
            range.start < value && value <= range.end
        };
        let mut below = u64::MAX;
        for of_bin in self
            .chosen
            .bins
            .chunk_by(|&a, &b| bin(value(a)) == bin(value(b)))
        {
            let bin = usize::from(bin(value(of_bin[0])));
            if edge(bin) <= range.end && edge(bin + 1) > range.start {
                below = below.min(last(of_bin, limits.per_bin).max(sampled));
            }
        }
        let mut chosen: Vec<usize> = (0..self.numbers.len())
            .filter(inside)
            .filter(|&at| self.numbers[at] <= below)
            .collect();
        chosen.sort_by_key(|&at| self.numbers[at]);
        chosen.truncate(self.options.per_group);
        chosen
    }

    /// Random positions of random indexed sequences on which the feature never fires.
    pub(crate) fn silent(&mut self) -> Result<Vec<Example>> {
        const TRIED: usize = 400;
        let postings = self.store.postings(self.feature)?;
        let fires = |sequence: u32| {
            postings
                .binary_search_by_key(&sequence, |p| p.sequence)
                .is_ok()
        };
        let draw = Draw::of_feature(self.store.header.config.limits.seed, self.feature);
        let mut examples = Vec::new();
        for (sequence, key) in self.store.some_indexed(draw, TRIED)? {
            if examples.len() == self.options.per_group {
                break;
            }
            if fires(sequence) {
                continue;
            }
            let stored = self.store.sequence(sequence, &mut self.read)?;
            let counted = (0..stored.tokens.len() as u32)
                .filter(|position| stored.left_out.binary_search(position).is_err());
            if let Some(position) = counted.min_by_key(|&position| draw.at(key, position)) {
                examples.push(self.place(sequence, position, 0.0)?);
            }
        }
        Ok(examples)
    }

    fn examples(&mut self, chosen: &[usize]) -> Result<Vec<Example>> {
        chosen.iter().map(|&at| self.example(at)).collect()
    }

    fn example(&mut self, at: usize) -> Result<Example> {
        let firing = self.evidence.firings[at];
        self.place(firing.sequence, firing.position, firing.activation)
    }

    fn place(&mut self, sequence: u32, position: u32, activation: f32) -> Result<Example> {
        let window = self.options.window;
        let mut example = self.store.cut(sequence, position, window, &mut self.read)?;
        let firings = &self.evidence.firings;
        let first = firings.partition_point(|f| f.sequence < sequence);
        let own = firings[first..]
            .iter()
            .take_while(|f| f.sequence == sequence);
        let start = position - example.peak as u32;
        for firing in own {
            let at = firing.position.checked_sub(start).map(|at| at as usize);
            if let Some(value) = at.and_then(|at| example.activations.get_mut(at)) {
                *value = firing.activation;
            }
        }
        example.activation = activation;
        Ok(example)
    }
}

impl Store {
    /// A place of the corpus with the tokens around it, without activations.
    pub(crate) fn cut(
        &self,
        sequence: u32,
        position: u32,
        window: Window,
        read: &mut Sequences,
    ) -> Result<Example> {
        let around = self.header.config.limits.around;
        let stored = self.sequence(sequence, read)?;
        let last = stored.tokens.len() as u32;
        if position >= last {
            let reason = format!("the sequence {sequence} has no position {position}");
            return Err(Error::format(&self.path, reason));
        }
        let start = position - window.before.min(around).min(position);
        let end = (position + 1 + window.after.min(around)).min(last);
        let ids = &stored.tokens[start as usize..end as usize];
        let mut tokens = vec![String::new(); ids.len()];
        for piece in self.tokens().readable(ids) {
            tokens[piece.tokens.start] = piece.text;
        }
        let inside = |piece: &&SequencePiece| {
            (piece.position..piece.position + piece.len).contains(&(position as usize))
        };
        let document = stored
            .pieces
            .iter()
            .find(inside)
            .map(|piece| piece.document);
        let document = document.map_or(Ok(StoredDocument::default()), |d| self.document(d))?;
        Ok(Example {
            text: tokens.concat(),
            activations: vec![0.0; tokens.len()],
            tokens,
            peak: (position - start) as usize,
            activation: 0.0,
            source: self.source(document.source),
            number: document.number,
            labels: document.labels,
            sequence,
            position,
            folded: 0,
        })
    }
}

/// Part of the activations between two values, those of a bin spread evenly over it.
fn part_between(evidence: &FeatureEvidence, range: &Range<f64>) -> f64 {
    let mut inside = 0.0;
    for bar in evidence.histogram.bars() {
        let from = bar.from.max(range.start);
        // Nothing lies beyond the maximum, which is the end of the last band.
        let end = bar.to.min(evidence.counted.max.into()).max(bar.from);
        let to = end.min(range.end);
        let width = end - bar.from;
        let part = if width > 0.0 {
            ((to - from) / width).clamp(0.0, 1.0)
        } else {
            f64::from(u8::from(from <= range.end && bar.from >= range.start))
        };
        inside += part * f64::from(bar.count);
    }
    inside / evidence.counted.count.max(1) as f64
}
