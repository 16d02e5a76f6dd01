//! A block: successive sequences of a corpus with the activations of their features.

use std::ops::Range;

use saescope_kernels::norm;
use serde::{Deserialize, Serialize};

use super::draw::{Draw, sequence_key};
use super::evidence::Limits;
use crate::corpus::{Corpus, SequencePiece};
use crate::error::{Error, Result};
use crate::model::{Model, PASS_TOKENS, TextBatches};
use crate::sae::Sae;
use crate::site::Site;

/// Multiple of the median norm above which a position is left out.
const LONG: f64 = 10.0;
/// Tokens whose norms give the median.
const NORM_TOKENS: u64 = 4096;

/// What a pass over a corpus reads and keeps; a part of the corpus is read with the same values as the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarvestConfig {
    /// How much is kept of a feature.
    pub limits: Limits,
    /// Number of sequences that are read: the first of the corpus.
    pub sequences: u32,
    /// Sequences of a block.
    pub block: u32,
    /// Beginning-of-sequence token, if its positions are left out.
    pub bos: Option<u32>,
    /// Norm of an activation beyond which its position is left out; none to count all positions.
    pub norm_limit: Option<f64>,
    /// Part of the sequences whose activations are indexed, a random choice, from 0 to 1.
    pub indexed: f64,
    /// Names of the classes, the first of which has number 1.
    pub classes: Vec<String>,
}

/// A sequence of the corpus as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct HarvestedSequence {
    /// Its number in the corpus.
    pub number: u32,
    /// Its [`sequence_key`].
    pub key: u64,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its stretches of documents.
    pub pieces: Vec<SequencePiece>,
    /// Positions that are left out, ascending.
    pub left_out: Vec<u32>,
    /// Its texts with labels.
    pub texts: Vec<LabelledText>,
    /// True if its activations are indexed.
    pub indexed: bool,
}

/// A stretch of a document that has labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledText {
    /// Its positions in the sequence.
    pub positions: Range<u32>,
    /// Its classes, 0 among them: the class of all texts with labels.
    pub classes: Vec<u16>,
}

/// A row of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its sequence, by its place in the block.
    pub sequence: u32,
    /// Position in the sequence.
    pub position: u32,
    /// True if the position is left out.
    pub left_out: bool,
}

/// The activation of a feature on one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// Id of the feature.
    pub feature: u32,
    /// The token.
    pub row: Row,
    /// The activation.
    pub value: f32,
}

/// Successive sequences with the activations of their features.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Its number: its first sequence has `number` times as many before it as a block has.
    pub number: u32,
    /// Its sequences.
    pub sequences: Vec<HarvestedSequence>,
    /// All activations above 0, by feature, sequence and position.
    pub activations: Vec<Activation>,
}

impl Block {
    /// Drops the activations of sequences that are not indexed.
    pub fn keep_indexed(&mut self) {
        let sequences = &self.sequences;
        self.activations
            .retain(|activation| sequences[activation.row.sequence as usize].indexed);
        self.activations.shrink_to_fit();
    }

    /// For each feature the place of its first activation, and the number of all at the end.
    pub fn starts_of_features(&self, d_sae: usize) -> Vec<usize> {
        let mut starts = vec![0; d_sae + 1];
        for activation in &self.activations {
            starts[activation.feature as usize + 1] += 1;
        }
        for feature in 0..d_sae {
            starts[feature + 1] += starts[feature];
        }
        starts
    }
}

/// The things that blocks are made of.
#[derive(Clone, Copy)]
pub struct BlockReader<'a> {
    /// The model.
    pub model: &'a Model,
    /// The autoencoder.
    pub sae: &'a Sae,
    /// The texts.
    pub corpus: &'a Corpus,
    /// What is kept.
    pub config: &'a HarvestConfig,
}

impl BlockReader<'_> {
    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        self.config.sequences.div_ceil(self.config.block)
    }

    /// Runs the model over the sequences of a block and encodes their activations.
    ///
    /// # Errors
    /// When the model fails on a sequence.
    pub fn read(&self, number: u32) -> Result<Block> {
        let (config, site) = (self.config, self.sae.site()?);
        let first = number * config.block;
        let end = (first + config.block).min(config.sequences);
        let mut sequences: Vec<HarvestedSequence> =
            (first..end).map(|number| self.sequence(number)).collect();
        let tokens: Vec<Vec<u32>> = sequences.iter().map(|s| s.tokens.clone()).collect();
        let mut activations = Vec::new();
        for batch in TextBatches::new(&tokens, PASS_TOKENS) {
            let x = batch.activations(self.model, site, &mut ())?; // [tokens, d_in]
            let encoded = self.sae.encode(&x)?.features;
            for text in batch.texts() {
                let sequence = &mut sequences[text.number];
                for (position, row) in text.rows.enumerate() {
                    let position = position as u32;
                    let left_out = self.leaves_out(text.tokens[position as usize], x.row(row));
                    if left_out {
                        sequence.left_out.push(position);
                    }
                    let row_of = Row {
                        sequence: text.number as u32,
                        position,
                        left_out,
                    };
                    let active = encoded.entries(row).filter(|&(_, value)| value > 0.0);
                    activations.extend(active.map(|(feature, value)| Activation {
                        feature,
                        row: row_of,
                        value,
                    }));
                }
            }
        }
        for sequence in &mut sequences {
            let left_out = &sequence.left_out;
            sequence.texts.retain(|text| {
                text.positions
                    .clone()
                    .any(|p| left_out.binary_search(&p).is_err())
            });
        }
        use rayon::slice::ParallelSliceMut as _;
        activations.par_sort_unstable_by_key(|a| (a.feature, a.row.sequence, a.row.position));
        Ok(Block {
            number,
            sequences,
            activations,
        })
    }

    fn leaves_out(&self, token: u32, x: &[f32]) -> bool {
        self.config.bos == Some(token)
            || self.config.norm_limit.is_some_and(|limit| norm(x) > limit)
    }

    /// A sequence before its positions are known to be left out.
    fn sequence(&self, number: u32) -> HarvestedSequence {
        let (corpus, config) = (self.corpus, self.config);
        let tokens = corpus.sequence(number as usize);
        let pieces = corpus.pieces(number as usize);
        let texts = pieces.iter().filter_map(|piece| {
            let labels = corpus.origin(piece.document).labels;
            let known = |label: &String| config.classes.binary_search(label).ok();
            let classes: Vec<u16> = labels
                .iter()
                .filter_map(known)
                .map(|class| class as u16 + 1)
                .collect();
            let start = piece.position as u32;
            (!classes.is_empty()).then(|| LabelledText {
                positions: start..start + piece.len as u32,
                classes: std::iter::once(0).chain(classes).collect(),
            })
        });
        let texts = texts.collect();
        let key = sequence_key(number, &tokens);
        let number_of = Draw::of_sequences(config.limits.seed).at(key, 0);
        HarvestedSequence {
            number,
            key,
            texts,
            pieces,
            left_out: Vec::new(),
            indexed: (number_of as f64) < config.indexed * 2.0_f64.powi(64),
            tokens,
        }
    }
}

/// The norm beyond which a position is left out: ten times the median of the first tokens of the corpus, that
/// of positions with the token `bos` not counted.
///
/// # Errors
/// When the model fails on a sequence, or there is no token besides `bos`.
pub fn norm_limit(model: &Model, site: Site, corpus: &Corpus, bos: Option<u32>) -> Result<f64> {
    let sequences = corpus.first_sequences(NORM_TOKENS);
    let mut norms = Vec::new();
    for batch in TextBatches::new(&sequences, PASS_TOKENS) {
        let x = batch.activations(model, site, &mut ())?; // [tokens, d_in]
        for text in batch.texts() {
            let counted = text.tokens.iter().zip(text.rows);
            let counted = counted.filter(|(token, _)| Some(**token) != bos);
            norms.extend(counted.map(|(_, row)| norm(x.row(row))));
        }
    }
    norms.sort_unstable_by(f64::total_cmp);
    let median = norms.get(norms.len() / 2).ok_or_else(|| Error::Empty {
        what: "the text of the corpus besides its beginnings of sequences".to_owned(),
    })?;
    Ok(rounded(LONG * median))
}

/// A number above 0 to three digits: those that the last bits of a product decide are the same on every
/// machine.
fn rounded(value: f64) -> f64 {
    let unit = 10.0_f64.powi(value.log10().floor() as i32 - 2);
    (value / unit).round() * unit
}
