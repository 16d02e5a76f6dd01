//! The evidence of a feature as it is shown.

use std::collections::HashMap;
use std::ops::Range;

use saescope::corpus::SequencePiece;
use saescope::harvest::{
    Bar, Chosen, CorpusCounts, Draw, FeatureEvidence, FeatureRole, Firing, bin,
};
use saescope::{Error, Result};
use serde::Serialize;

use crate::derive::FeatureContext;
use crate::open::Store;
use crate::read::{Sequences, StoredDocument};
use crate::user::FeatureLabel;

/// Tokens that are shown before and after an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Before.
    pub before: u32,
    /// After.
    pub after: u32,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            before: 24,
            after: 12,
        }
    }
}

/// What is shown of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Examples of the strongest activations.
    pub top: usize,
    /// Examples of each other group.
    pub per_group: usize,
    /// Entries of lists of tokens, features and classes.
    pub list: usize,
    /// Tokens around an example.
    pub window: Window,
}

impl Default for ReportOptions {
    fn default() -> ReportOptions {
        ReportOptions {
            top: 20,
            per_group: 5,
            list: 10,
            window: Window::default(),
        }
    }
}

/// A place in the corpus with the activations around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The text of each token; together they are `text`. Of several tokens that make one character, the first
    /// has it.
    pub tokens: Vec<String>,
    /// The activation on each token.
    pub activations: Vec<f32>,
    /// Place of the token that was chosen, in `tokens`.
    pub peak: usize,
    /// The activation there.
    pub activation: f32,
    /// File of the corpus.
    pub source: String,
    /// Number of the line, row or record in it.
    pub number: u64,
    /// Labels of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Number of the sequence.
    pub sequence: u32,
    /// Position of the chosen token in the sequence.
    pub position: u32,
    /// Number of examples that have the same tokens up to the chosen one and are not shown; among the strongest
    /// alone.
    pub folded: usize,
}

/// A part of the activations, with examples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Part of all activations that lie between.
    pub contains: f64,
    /// Random examples.
    pub examples: Vec<Example>,
}

/// A token in a list of logits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoleToken {
    /// Id.
    pub token: u32,
    /// Text.
    pub piece: String,
    /// Change of its logit by one unit of the direction.
    pub effect: f32,
}

/// A token that a feature prefers, at, before or after the positions on which it fires.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextToken {
    /// Id.
    pub token: u32,
    /// Text.
    pub piece: String,
    /// Part of the feature's firings that have the token there.
    pub recall: f64,
    /// Part of the places of the token on which the feature fires; estimated where the feature has more firings
    /// than the sample.
    pub precision: f64,
    /// Pointwise mutual information in nats: how much more often both occur together than by chance.
    pub pmi: f64,
}

/// Tokens that a feature prefers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contexts {
    /// Random firings that were counted.
    pub sample: u32,
    /// True if these are all firings, so that nothing is estimated.
    pub exact: bool,
    /// The token itself.
    pub here: Vec<ContextToken>,
    /// The token before.
    pub before: Vec<ContextToken>,
    /// The token that follows.
    pub next: Vec<ContextToken>,
}

/// A feature with a similar direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similar {
    /// Id.
    pub feature: u32,
    /// Cosine of the two directions.
    pub cosine: f32,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A feature that fires on the same tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coactive {
    /// Id.
    pub feature: u32,
    /// Tokens on which both fire.
    pub both: u32,
    /// Tokens on which it fires.
    pub fires: u32,
    /// `both` as a part of the tokens on which either fires.
    pub jaccard: f64,
    /// Pointwise mutual information in nats.
    pub pmi: f64,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The separation of the texts of a class from the other texts with labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassEffect {
    /// Name.
    pub class: String,
    /// Texts of the class.
    pub texts: u64,
    /// Mean over its texts of the largest activation on each.
    pub mean: f64,
    /// The same over the others.
    pub mean_rest: f64,
    /// Part of its texts on which the feature fires.
    pub fires: f64,
    /// Probability that a random text of the class activates the feature more than a random other one.
    pub auroc: f64,
}

/// Activations at positions that are left out of everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LeftOut {
    /// Number.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f32,
}

/// The evidence of a feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureReport {
    /// Id.
    pub feature: u32,
    /// What a user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<FeatureLabel>,
    /// Part of the counted tokens on which it fires.
    pub density: f64,
    /// Number of them.
    pub count: u64,
    /// Counted tokens.
    pub tokens: u64,
    /// Largest activation.
    pub max: f32,
    /// Mean of the activations above 0.
    pub mean: f64,
    /// Mean of their squares.
    pub mean_square: f64,
    /// Activations below which 10, 25, 50, 75, 90 and 99 per cent lie.
    pub quantiles: Vec<(f64, f64)>,
    /// True if it never fires.
    pub dead: bool,
    /// True if it fires on more than a tenth of the tokens.
    pub dense: bool,
    /// Activations at beginnings of sequences and positions of extreme norm.
    pub left_out: LeftOut,
    /// Histogram of the activations.
    pub histogram: Vec<Bar>,
    /// Norms of its encoder row and of its direction, its bias, and the cosine of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Tokens that its direction promotes.
    pub promoted: Vec<RoleToken>,
    /// Tokens that its direction suppresses.
    pub suppressed: Vec<RoleToken>,
    /// Tokens that it prefers.
    pub contexts: Contexts,
    /// Features with similar directions.
    pub nearest: Vec<Similar>,
    /// Features that fire on the same tokens.
    pub coactive: Vec<Coactive>,
    /// Classes, the best separated first.
    pub classes: Vec<ClassEffect>,
    /// The strongest examples.
    pub top: Vec<Example>,
    /// Random examples.
    pub random: Vec<Example>,
    /// Tenths of the activations by rank.
    pub deciles: Vec<Group>,
    /// Five bands of equal width from 0 to the maximum.
    pub intervals: Vec<Group>,
    /// Random indexed texts on which it does not fire.
    pub silent: Vec<Example>,
}

/// A feature's weights in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Norm of its encoder row.
    pub encoder_norm: f32,
    /// Norm of its direction.
    pub decoder_norm: f32,
    /// Its bias in the encoder.
    pub encoder_bias: f32,
    /// Cosine between encoder row and direction; none if their widths differ.
    pub cosine: Option<f32>,
}

/// Density above which a feature counts as dense.
pub(crate) const DENSE: f64 = 0.1;
/// Tokens up to the chosen one that make two examples alike.
const ALIKE: u32 = 8;
/// Numbers of bands and tenths.
const BANDS: usize = 5;
const TENTHS: usize = 10;

impl Store {
    /// The evidence of a feature.
    ///
    /// # Errors
    /// When there is no such feature, or the store is damaged.
    pub fn feature(&self, feature: u32, options: &ReportOptions) -> Result<FeatureReport> {
        let evidence = self.feature_evidence(feature)?;
        let counts = self.counts()?;
        let mut read = Sequences::default();
        let mut keys = HashMap::new();
        for firing in &evidence.firings {
            if !keys.contains_key(&firing.sequence) {
                let key = self.sequence(firing.sequence, &mut read)?.key;
                keys.insert(firing.sequence, key);
            }
        }
        let key = |sequence: u32| keys.get(&sequence).copied().unwrap_or(0);
        let limits = &self.header.config.limits;
        let mut shown = Shown {
            store: self,
            feature,
            evidence: &evidence,
            chosen: evidence.chosen(feature, limits, key),
            numbers: {
                let draw = Draw::of_feature(limits.seed, feature);
                let number = |f: &Firing| draw.at(key(f.sequence), f.position);
                evidence.firings.iter().map(number).collect()
            },
            read,
            options,
        };
        let counted = &evidence.counted;
        let context = self.context(feature)?.unwrap_or_default();
        let role = self.feature_role(feature)?;
        let role_tokens = |list: &[(u32, f32)]| -> Vec<RoleToken> {
            let list = list.iter().take(options.list);
            list.map(|&(token, effect)| RoleToken {
                token,
                piece: self.tokens().text(token),
                effect,
            })
            .collect()
        };
        let density = counted.count as f64 / counts.counted.max(1) as f64;
        Ok(FeatureReport {
            feature,
            label: self.label(feature)?,
            density,
            count: counted.count,
            tokens: counts.counted,
            max: counted.max,
            mean: counted.mean(),
            mean_square: counted.mean_square(),
            quantiles: [0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
                .map(|q| (q, evidence.histogram.quantile(q, counted.max)))
                .to_vec(),
            dead: counted.count + evidence.left_out.count == 0,
            dense: density > DENSE,
            left_out: LeftOut {
                count: evidence.left_out.count,
                mean: evidence.left_out.mean(),
                max: evidence.left_out.max,
            },
            histogram: evidence.histogram.bars(),
            weights: role.as_ref().map(|role| Weights {
                encoder_norm: role.encoder_norm,
                decoder_norm: role.decoder_norm,
                encoder_bias: role.encoder_bias,
                cosine: (!role.cosine.is_nan()).then_some(role.cosine),
            }),
            promoted: role_tokens(role.as_ref().map_or(&[], |role| &role.promoted)),
            suppressed: role_tokens(role.as_ref().map_or(&[], |role| &role.suppressed)),
            contexts: self.contexts(&context, counted.count, &counts, options.list),
            nearest: self.similar(role.as_ref(), options.list)?,
            coactive: self.coactive(&context, options.list)?,
            classes: self.classes(&evidence, &counts.texts, options.list),
            top: shown.top()?,
            random: shown.random()?,
            deciles: shown.deciles()?,
            intervals: shown.intervals()?,
            silent: shown.silent()?,
        })
    }

    fn contexts(
        &self,
        context: &FeatureContext,
        count: u64,
        counts: &CorpusCounts,
        list: usize,
    ) -> Contexts {
        let sample = f64::from(context.sample.max(1));
        let of = |tokens: &[(u32, u32)], all: &[u64]| {
            let each = tokens.iter().take(list).map(|&(token, n)| {
                let recall = f64::from(n) / sample;
                let places = all.get(token as usize).copied().unwrap_or(0).max(1) as f64;
                let both = recall * count as f64;
                ContextToken {
                    token,
                    piece: self.tokens().text(token),
                    recall,
                    precision: (both / places).min(1.0),
                    pmi: (recall * counts.counted as f64 / places).ln(),
                }
            });
            each.collect()
        };
        Contexts {
            sample: context.sample,
            exact: u64::from(context.sample) == count,
            here: of(&context.here, &counts.tokens.here),
            before: of(&context.before, &counts.tokens.before),
            next: of(&context.next, &counts.tokens.next),
        }
    }

    fn similar(&self, role: Option<&FeatureRole>, list: usize) -> Result<Vec<Similar>> {
        let nearest = role.iter().flat_map(|role| role.nearest.iter().take(list));
        nearest
            .map(|near| {
                Ok(Similar {
                    feature: near.row,
                    cosine: near.cosine,
                    label: self.label(near.row)?.map(|label| label.label),
                })
            })
            .collect()
    }

    fn coactive(&self, context: &FeatureContext, list: usize) -> Result<Vec<Coactive>> {
        let own = f64::from(context.fires);
        let all = context.coactive.iter().take(list);
        all.map(|&(feature, both, fires)| {
            let (both_f, fires_f) = (f64::from(both), f64::from(fires));
            Ok(Coactive {
                feature,
                both,
                fires,
                jaccard: both_f / (own + fires_f - both_f).max(1.0),
                pmi: (both_f * f64::from(context.tokens) / (own * fires_f).max(1.0)).ln(),
                label: self.label(feature)?.map(|label| label.label),
            })
        })
        .collect()
    }

    /// The separation of the classes by a feature, the best separated first.
    pub(crate) fn classes(
        &self,
        evidence: &FeatureEvidence,
        texts: &[u64],
        list: usize,
    ) -> Vec<ClassEffect> {
        let names = &self.header.config.classes;
        let mut classes: Vec<ClassEffect> = evidence
            .separations(texts)
            .into_iter()
            .filter_map(|class| {
                Some(ClassEffect {
                    class: names.get(usize::from(class.class) - 1)?.clone(),
                    texts: texts[usize::from(class.class)],
                    mean: class.mean,
                    mean_rest: class.mean_rest,
                    fires: class.fires,
                    auroc: class.auroc,
                })
            })
            .collect();
        // The sort is stable: of equal ones the first name stays first.
        classes.sort_by(|a, b| b.auroc.total_cmp(&a.auroc));
        classes.truncate(list);
        classes
    }
}

/// A feature of which examples are shown.
struct Shown<'a> {
    store: &'a Store,
    feature: u32,
    evidence: &'a FeatureEvidence,
    chosen: Chosen,
    /// The random number of every firing.
    numbers: Vec<u64>,
    read: Sequences,
    options: &'a ReportOptions,
}

impl Shown<'_> {
    fn top(&mut self) -> Result<Vec<Example>> {
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

    fn random(&mut self) -> Result<Vec<Example>> {
        let chosen = self.chosen.sample.iter().take(self.options.per_group);
        let chosen: Vec<usize> = chosen.copied().collect();
        self.examples(&chosen)
    }

    fn deciles(&mut self) -> Result<Vec<Group>> {
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

    fn intervals(&mut self) -> Result<Vec<Group>> {
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
            if of_bin.iter().any(inside) {
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
    fn silent(&mut self) -> Result<Vec<Example>> {
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
