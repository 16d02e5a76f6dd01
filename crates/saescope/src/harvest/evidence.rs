//! What a corpus says about one feature, in bounded memory and independent of the order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::draw::Draw;
use super::moments::{ExactSum, Histogram, Moments, bin};

/// How much is kept of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Sequences with the largest activations.
    pub top: usize,
    /// Random positions on which the feature fires.
    pub sample: usize,
    /// Random positions of each bin of the histogram.
    pub per_bin: usize,
    /// Tokens on either side of a kept position whose activations are kept with it.
    pub around: u32,
    /// Seed of the random choices.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            top: 48,
            sample: 100,
            per_bin: 2,
            around: 64,
            seed: 0,
        }
    }
}

/// A position on which a feature fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Firing {
    /// Number of the sequence in the corpus.
    pub sequence: u32,
    /// Position in the sequence.
    pub position: u32,
    /// The activation.
    pub activation: f32,
}

/// Activations on texts of one class: each text counts once, by the feature's largest activation on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassEvidence {
    /// Number of the class; 0 is all texts that have a label.
    pub class: u16,
    /// The texts on which the feature fires, by its largest activation.
    pub histogram: Histogram,
    /// Sum of the largest activations.
    pub sum: ExactSum,
}

/// What a corpus says about one feature.
///
/// `firings` holds the positions that are shown and those around them. Which of them is there as one of the
/// strongest, and which as a random choice, follows from them: a random choice takes the positions with the
/// smallest numbers of [`Draw`], and the kept ones include these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureEvidence {
    /// All activations but those left out.
    pub counted: Moments,
    /// Activations at positions that are left out: beginnings of sequences and norms beyond the limit.
    pub left_out: Moments,
    /// Histogram of the counted activations.
    pub histogram: Histogram,
    /// Counted positions, by sequence and position.
    pub firings: Vec<Firing>,
    /// By class, ascending.
    pub classes: Vec<ClassEvidence>,
}

/// Positions out of [`FeatureEvidence::firings`], by their places there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The strongest position of each sequence, the strongest first; of equal ones the earlier.
    pub top: Vec<usize>,
    /// A random sample of all positions, in the order of their numbers.
    pub sample: Vec<usize>,
    /// Random positions of each bin, ascending by bin.
    pub bins: Vec<usize>,
}

impl FeatureEvidence {
    /// The positions that `limits` choose. `key` gives the [`sequence_key`](super::sequence_key) of a
    /// sequence.
    pub fn chosen(&self, feature: u32, limits: &Limits, key: impl Fn(u32) -> u64) -> Chosen {
        let draw = Draw::of_feature(limits.seed, feature);
        let firings = &self.firings;
        let number = |at: &usize| draw.at(key(firings[*at].sequence), firings[*at].position);
        let all: Vec<usize> = (0..firings.len()).collect();

        let peaks = all.chunk_by(|&a, &b| firings[a].sequence == firings[b].sequence);
        let mut top: Vec<usize> = peaks
            .filter_map(|of_sequence| {
                let stronger = |&a: &usize, &b: &usize| {
                    let order = firings[b].activation.total_cmp(&firings[a].activation);
                    order.then(a.cmp(&b))
                };
                of_sequence.iter().copied().min_by(stronger)
            })
            .collect();
        // The sort is stable: of equal ones the earlier stays first.
        top.sort_by(|&a, &b| firings[b].activation.total_cmp(&firings[a].activation));
        top.truncate(limits.top);

        let mut numbered: Vec<(u64, usize)> = all.iter().map(|at| (number(at), *at)).collect();
        numbered.sort_unstable();
        let sample = numbered
            .iter()
            .take(limits.sample)
            .map(|&(_, at)| at)
            .collect();
        numbered.sort_by_key(|&(_, at)| bin(firings[at].activation));
        let same_bin = |a: &(u64, usize), b: &(u64, usize)| {
            bin(firings[a.1].activation) == bin(firings[b.1].activation)
        };
        let bins = numbered
            .chunk_by(same_bin)
            .flat_map(|of_bin| of_bin.iter().take(limits.per_bin))
            .map(|&(_, at)| at)
            .collect();
        Chosen { top, sample, bins }
    }

    /// Drops the firings that are neither chosen nor around a chosen one. Firings may be in any order.
    pub fn trim(&mut self, feature: u32, limits: &Limits, key: impl Fn(u32) -> u64) {
        self.firings
            .sort_unstable_by_key(|firing| (firing.sequence, firing.position));
        let Chosen { top, sample, bins } = self.chosen(feature, limits, key);
        let chosen: BTreeSet<usize> = top.into_iter().chain(sample).chain(bins).collect();
        let mut kept = vec![false; self.firings.len()];
        let near = |a: &Firing, b: &Firing| {
            a.sequence == b.sequence && a.position.abs_diff(b.position) <= limits.around
        };
        for at in chosen {
            let centre = self.firings[at];
            let after = (at..self.firings.len()).take_while(|&i| near(&self.firings[i], &centre));
            let before = (0..at)
                .rev()
                .take_while(|&i| near(&self.firings[i], &centre));
            after.chain(before).for_each(|i| kept[i] = true);
        }
        let mut kept = kept.into_iter();
        self.firings.retain(|_| kept.next().unwrap_or(false));
    }

    /// Adds what another part of the corpus says; [`FeatureEvidence::trim`] makes it small again.
    pub fn merge(&mut self, other: &FeatureEvidence) {
        self.counted.merge(&other.counted);
        self.left_out.merge(&other.left_out);
        self.histogram.merge(&other.histogram);
        self.firings.extend_from_slice(&other.firings);
        for class in &other.classes {
            let own = self.class(class.class);
            own.histogram.merge(&class.histogram);
            own.sum.merge(class.sum);
        }
    }

    /// Adds a text of a class on which the feature's largest activation is `max`.
    pub fn add_text(&mut self, class: u16, max: f32) {
        let class = self.class(class);
        class.histogram.add(bin(max), 1);
        class.sum.add(max.into());
    }

    fn class(&mut self, class: u16) -> &mut ClassEvidence {
        let at = match self.classes.binary_search_by_key(&class, |c| c.class) {
            Ok(at) => at,
            Err(at) => {
                let new = ClassEvidence {
                    class,
                    ..ClassEvidence::default()
                };
                self.classes.insert(at, new);
                at
            }
        };
        &mut self.classes[at]
    }
}

/// The separation of a class from all other texts with labels by a feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassSeparation {
    /// Number of the class.
    pub class: u16,
    /// Mean over its texts of the feature's largest activation on each.
    pub mean: f64,
    /// The same over all other texts with labels.
    pub mean_rest: f64,
    /// Fraction of its texts on which the feature fires.
    pub fires: f64,
    /// Probability that a random text of the class activates the feature more than a random other one, equal
    /// ones counted by half. Activations of one [`bin`] count as equal.
    pub auroc: f64,
}

impl FeatureEvidence {
    /// The separation of every class; `texts` holds the number of texts of each, of all with labels at 0.
    pub fn separations(&self, texts: &[u64]) -> Vec<ClassSeparation> {
        let none = ClassEvidence::default();
        let of = |class: usize| {
            let found = self
                .classes
                .binary_search_by_key(&class, |c| usize::from(c.class));
            found.map_or(&none, |at| &self.classes[at])
        };
        let all = of(0);
        let classes = texts.iter().enumerate().skip(1);
        let inside = classes.filter(|&(_, &n)| n > 0 && n < texts[0]);
        inside
            .map(|(class, &n)| {
                let own = of(class);
                let rest = (texts[0] - n) as f64;
                let fires = own.histogram.count() as f64 / n as f64;
                ClassSeparation {
                    class: class as u16,
                    mean: own.sum.value() / n as f64,
                    mean_rest: (all.sum.value() - own.sum.value()) / rest,
                    fires,
                    auroc: auroc(&own.histogram, n, &all.histogram, texts[0]),
                }
            })
            .collect()
    }
}

/// The AUROC of the texts of a class against the others, of their histograms and numbers of texts.
fn auroc(own: &Histogram, own_texts: u64, all: &Histogram, all_texts: u64) -> f64 {
    let silent_own = own_texts.saturating_sub(own.count()) as f64;
    let silent_rest = all_texts.saturating_sub(all.count()) as f64 - silent_own;
    let mut below = silent_rest;
    let mut wins = 0.5 * silent_own * silent_rest;
    let mut own = own.0.iter().copied().peekable();
    for &(bin, count) in &all.0 {
        let of_class = own.next_if(|&(own, _)| own == bin).map_or(0, |(_, n)| n);
        let rest = f64::from(count.saturating_sub(of_class));
        wins += f64::from(of_class) * (below + 0.5 * rest);
        below += rest;
    }
    wins / (own_texts as f64 * (all_texts - own_texts) as f64)
}
