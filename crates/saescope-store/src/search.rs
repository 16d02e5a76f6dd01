//! Features and places of the corpus by words, tokens and classes.

use std::collections::BTreeMap;

use saescope::{Error, Result};
use serde::Serialize;

use crate::list::FeatureFilter;
use crate::open::{Store, failed};
use crate::read::Sequences;
use crate::report::{Example, ReportOptions};
use crate::text::{phrases, query};

/// The relation of a token to features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRole {
    /// Features that promote it.
    Promoted,
    /// Features that suppress it.
    Suppressed,
    /// Features that fire on it.
    Read,
}

/// A place in the corpus where words stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordPlace {
    /// The text around.
    pub text: String,
    /// The words as they stand there.
    pub words: String,
    /// File of the corpus.
    pub source: String,
    /// Number of the line, row or record in it.
    pub number: u64,
    /// Labels of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Number of the sequence.
    pub sequence: u32,
    /// Position of the first token of the words.
    pub position: u32,
    /// Features that have one of their strongest examples on these words.
    pub features: Vec<u32>,
}

/// Everything that words find.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WordHits {
    /// Sequences of the corpus with all words.
    pub sequences: u64,
    /// Places, in the order of the corpus.
    pub places: Vec<WordPlace>,
    /// Features by the number of their strongest examples that lie on the words, most first.
    pub features: Vec<(u32, u32)>,
    /// Features whose label or note has the words.
    pub labelled: Vec<u32>,
}

/// A feature that a token finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenHit {
    /// Id.
    pub feature: u32,
    /// Change of the token's logit, or the part of the feature's firings that the token has.
    pub score: f32,
}

/// A feature that separates a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassHit {
    /// Id.
    pub feature: u32,
    /// Mean over texts of the class of the largest activation on each.
    pub mean: f64,
    /// The same over the other texts with labels.
    pub mean_rest: f64,
    /// Part of the texts of the class on which it fires.
    pub fires: f64,
    /// Probability that a random text of the class activates it more than a random other one.
    pub auroc: f64,
}

/// Most sequences in which words are looked for.
const SEQUENCES: usize = 2000;

impl Store {
    /// The places of the corpus where all words stand, `limit` of them, the features whose evidence lies on
    /// them, and the features whose label or note has them. Words in quotation marks are one phrase.
    ///
    /// # Errors
    /// When there is no word, or the store is damaged.
    pub fn find_words(&self, words: &str, limit: usize) -> Result<WordHits> {
        let Some(query) = query(words) else {
            return Err(Error::Argument(format!(
                "`{words}` has neither letters nor digits to look for"
            )));
        };
        let get = "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid";
        let found = self.connection.prepare_cached(get).and_then(|mut get| {
            let rows = get.query_map([&query], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<u32>>>()
        });
        let found = found.map_err(failed(&self.path))?;
        let phrases = phrases(words);
        let mut hits = WordHits {
            sequences: found.len() as u64,
            ..WordHits::default()
        };
        let mut features: BTreeMap<u32, u32> = BTreeMap::new();
        let mut read = Sequences::default();
        for &sequence in found.iter().take(SEQUENCES) {
            let tokens = self.sequence(sequence, &mut read)?.tokens.clone();
            let peaks = self.peaks(sequence)?;
            for phrase in &phrases {
                for place in self.tokens().find(&tokens, phrase) {
                    let on = |position: u32| place.contains(&(position as usize));
                    let on: Vec<u32> = peaks.iter().filter(|p| on(p.1)).map(|p| p.0).collect();
                    on.iter()
                        .for_each(|&feature| *features.entry(feature).or_default() += 1);
                    if hits.places.len() < limit {
                        let place = self.word_place(sequence, place, on, &mut read)?;
                        hits.places.push(place);
                    }
                }
            }
        }
        hits.features = features.into_iter().collect();
        hits.features
            .sort_by_key(|&(feature, count)| (std::cmp::Reverse(count), feature));
        hits.labelled = self.labelled(&phrases)?;
        Ok(hits)
    }

    fn word_place(
        &self,
        sequence: u32,
        place: std::ops::Range<usize>,
        features: Vec<u32>,
        read: &mut Sequences,
    ) -> Result<WordPlace> {
        let Example {
            text,
            source,
            number,
            labels,
            ..
        } = self.example_at(sequence, place.start as u32, read)?;
        let tokens = &self.sequence(sequence, read)?.tokens[place.clone()];
        Ok(WordPlace {
            text,
            words: self.tokens().join(tokens).trim().to_owned(),
            source,
            number,
            labels,
            sequence,
            position: place.start as u32,
            features,
        })
    }

    /// The features whose label or note has all phrases, upper and lower case alike.
    fn labelled(&self, phrases: &[String]) -> Result<Vec<u32>> {
        let lower = |text: &str| text.to_lowercase();
        let labels = self.labels()?.into_iter().filter(|label| {
            let text = lower(&format!(
                "{} {}",
                label.label,
                label.note.as_deref().unwrap_or("")
            ));
            phrases.iter().all(|phrase| text.contains(&lower(phrase)))
        });
        Ok(labels.map(|label| label.feature).collect())
    }

    /// The tokens whose text, without the space before it, is `text`.
    ///
    /// # Errors
    /// When there is none.
    pub fn tokens_of(&self, text: &str) -> Result<Vec<u32>> {
        let ids = 0..self.vocabulary.len() as u32;
        let same = |id: &u32| {
            let piece = self.tokens().text(*id);
            piece == text || piece.trim() == text.trim() && !text.trim().is_empty()
        };
        let found: Vec<u32> = ids.filter(same).collect();
        if found.is_empty() {
            return Err(Error::Argument(format!(
                "no token of the model has the text `{text}`; a token is often a part of a word, see `tokens`"
            )));
        }
        Ok(found)
    }

    /// The features that stand to a token in a relation, the strongest first.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn find_token(&self, tokens: &[u32], role: TokenRole) -> Result<Vec<TokenHit>> {
        let mut best: BTreeMap<u32, f32> = BTreeMap::new();
        for &token in tokens {
            let features = self.token_features(token)?;
            let list = match role {
                TokenRole::Promoted => features.promoted,
                TokenRole::Suppressed => features.suppressed,
                TokenRole::Read => features.read,
            };
            for (feature, score) in list {
                let known = best.entry(feature).or_default();
                // Forms of a word are read together; of effects on logits the strongest counts.
                match role {
                    TokenRole::Read => *known += score,
                    _ if score.abs() > known.abs() => *known = score,
                    _ => {}
                }
            }
        }
        let mut hits: Vec<TokenHit> = best
            .into_iter()
            .map(|(feature, score)| TokenHit { feature, score })
            .collect();
        hits.sort_by(|a, b| {
            b.score
                .abs()
                .total_cmp(&a.score.abs())
                .then(a.feature.cmp(&b.feature))
        });
        Ok(hits)
    }

    /// The features that separate the texts of a class from the other texts with labels, the best first.
    ///
    /// # Errors
    /// When there is no such class, or the store is damaged.
    pub fn find_class(&self, name: &str, limit: usize) -> Result<Vec<ClassHit>> {
        let classes = &self.header.config.classes;
        if classes.is_empty() {
            return Err(Error::Argument(
                "the store has no classes: its harvest read no labels".to_owned(),
            ));
        }
        let Some(class) = classes.iter().position(|class| class == name) else {
            return Err(Error::UnknownName {
                kind: "class",
                name: name.to_owned(),
                known: classes.clone(),
            });
        };
        let texts = &self.counts()?.texts;
        let best = self.class_features(class as u32 + 1)?;
        let mut hits = Vec::new();
        for &(feature, _) in best.iter().take(limit) {
            let evidence = self.feature_evidence(feature)?;
            let all = self.classes(&evidence, texts, usize::MAX);
            let own = all.into_iter().find(|effect| effect.class == name);
            hits.extend(own.map(|effect| ClassHit {
                feature,
                mean: effect.mean,
                mean_rest: effect.mean_rest,
                fires: effect.fires,
                auroc: effect.auroc,
            }));
        }
        Ok(hits)
    }

    /// Those of `features` that fulfil all of `filters`, in their order.
    ///
    /// # Errors
    /// When the store is damaged.
    pub fn only(&self, features: Vec<u32>, filters: &[FeatureFilter]) -> Result<Vec<u32>> {
        let mut kept = Vec::new();
        for feature in features {
            if self.fulfils(feature, filters)? {
                kept.push(feature);
            }
        }
        Ok(kept)
    }

    /// A place of the corpus with the text around it.
    pub(crate) fn example_at(
        &self,
        sequence: u32,
        position: u32,
        read: &mut Sequences,
    ) -> Result<Example> {
        let window = ReportOptions::default().window;
        self.cut(sequence, position, window, read)
    }
}
