//! Texts for training and evaluation: files of any kind as sequences of ids in a fixed order.
//!
//! Files hold documents: paragraphs of a text, records of JSON, rows of tables, Parquet and Arrow. Documents
//! become ids once, which a cache keeps, and sequences are cut out of them on demand. Memory: 28 bytes a document
//! and 12 a sequence, and some 50 MB while documents become ids. The ids themselves are mapped from the
//! cache, or held in memory (4 bytes each) without one. This module knows no model.

mod columns;
mod documents;
mod encode;
mod format;
mod json;
mod layout;
mod open;
mod origins;
mod read;
mod record;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::documents::Documents;
pub use self::layout::SequencePiece;
use self::layout::{Delimiters, Packing, Start};
pub use self::origins::DocumentOrigin;
pub(crate) use self::texts::{Item, items};
use crate::digest::Digest;
use crate::error::{Error, Result, by_name};
use crate::shuffle;
use crate::tokenizer::{Bos, Tokenizer};

/// Files of texts, and the way from texts to sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// The files, in order; their first bytes give their formats.
    pub files: Vec<PathBuf>,
    /// The text of a record; the field `text` by default.
    pub template: Option<Templates>,
    /// The field of a record that holds its labels: a text, a number, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// The unit of plain text that is a document.
    #[serde(default)]
    pub text: TextUnit,
    /// The way from chats to text.
    #[serde(default, skip_serializing_if = "Chats::is_default")]
    pub chats: Chats,
    /// Arrangement of documents in sequences.
    pub layout: Layout,
    /// Tokens of a sequence, including those that the tokenizer puts around a text.
    pub context: usize,
    /// Choice of whether sequences begin with the beginning-of-sequence token.
    pub bos: Bos,
    /// Seed of the order of the sequences and of the held-out documents.
    pub seed: u64,
}

/// Templates for the text of a record: the name of a field, or text with `{field}` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Templates {
    /// One template for all files.
    All(String),
    /// One template for each file, in their order, or [`NO_TEMPLATE`].
    Each(Vec<String>),
}

/// Stands for the template of a file that has none: plain text, or records with the field `text`.
pub const NO_TEMPLATE: &str = "-";

/// The way from a chat, a list of turns, to text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chats {
    /// The model's chat template renders it; a model without one reads it as plain.
    #[default]
    Auto,
    /// The model's chat template renders it. A model without one is refused.
    Template,
    /// The texts of its turns alone, with a blank line between them.
    Plain,
}

impl Chats {
    /// Every value.
    pub const ALL: [Chats; 3] = [Chats::Auto, Chats::Template, Chats::Plain];

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            Chats::Auto => "auto",
            Chats::Template => "template",
            Chats::Plain => "plain",
        }
    }

    fn is_default(&self) -> bool {
        *self == Chats::default()
    }
}

impl fmt::Display for Chats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Chats {
    type Err = Error;

    fn from_str(name: &str) -> Result<Chats> {
        by_name("way to read chats", name, &Chats::ALL, Chats::name)
    }
}

/// The unit of plain text that is a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// The lines between two blank lines.
    #[default]
    Paragraph,
    /// A line.
    Line,
    /// The whole file.
    File,
}

impl TextUnit {
    /// Every value.
    pub const ALL: [TextUnit; 3] = [TextUnit::Paragraph, TextUnit::Line, TextUnit::File];

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            TextUnit::Paragraph => "paragraph",
            TextUnit::Line => "line",
            TextUnit::File => "file",
        }
    }
}

impl fmt::Display for TextUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TextUnit {
    type Err = Error;

    fn from_str(name: &str) -> Result<TextUnit> {
        by_name("unit of text", name, &TextUnit::ALL, TextUnit::name)
    }
}

/// Arrangement of documents in sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Documents follow each other, and are cut into sequences of exactly `context` tokens.
    #[default]
    Packed,
    /// A document is a sequence, cut off after `context` tokens.
    Rows,
}

impl Layout {
    /// Every value.
    pub const ALL: [Layout; 2] = [Layout::Packed, Layout::Rows];

    /// Its name, as it is printed and parsed.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Packed => "packed",
            Layout::Rows => "rows",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Layout> {
        by_name("layout", name, &Layout::ALL, Layout::name)
    }
}

/// Progress of turning documents into ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were read from the files, compressed as they are.
    pub bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Documents that have become ids.
    pub documents: u64,
    /// Ids of these documents.
    pub tokens: u64,
}

/// Sequences of ids in a fixed order.
#[derive(Clone)]
pub struct Corpus {
    shared: Arc<SharedCorpus>,
    /// The numbers of its documents, ascending.
    chosen: Vec<u32>,
    /// Beginnings of its sequences, in the order in which they are read.
    starts: Vec<Start>,
    tokens: u64,
    left_out: u64,
    digest: String,
}

/// Data that the parts of a corpus share.
struct SharedCorpus {
    documents: Documents,
    delimiters: Delimiters,
    layout: Layout,
    context: usize,
    seed: u64,
}

/// A choice of the documents.
struct Part {
    /// Its name in errors.
    name: &'static str,
    /// Its description for the digest.
    digest: String,
}

/// Streams of random numbers of a corpus' seed: one for the held-out documents, one for each epoch.
const HELD_OUT: u64 = 0;
const EPOCHS: u64 = 1;

impl Corpus {
    /// Reads the files of `config`, or their documents from `cache`: a folder that keeps documents under a
    /// digest of the files' content, the template and the tokenizer.
    ///
    /// # Errors
    /// When a file cannot be read, with the line and the field, or the documents do not fill a sequence.
    pub fn open(
        config: &CorpusConfig,
        tokenizer: &Tokenizer,
        cache: Option<&Path>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Corpus> {
        if config.files.is_empty() {
            return Err(Error::Empty {
                what: "the list of the corpus' files".to_owned(),
            });
        }
        let delimiters = delimiters(config.bos, tokenizer)?;
        let needed = delimiters.before.len() + 1;
        if config.context < needed {
            let context = config.context;
            let reason = format!(
                "`context` is {context}, which leaves no room for text; use {needed} or more"
            );
            return Err(Error::Argument(reason));
        }
        let documents = Documents::open(config, tokenizer, cache, on_progress)?;
        if let Some(field) = &config.labels
            && !documents.have_labels()
        {
            return Err(Error::Argument(format!(
                "no record has a label in the field `{field}`; name the field that holds a class, or none"
            )));
        }
        let Ok(len) = u32::try_from(documents.len()) else {
            let reason = format!(
                "{} documents are too many; the limit is 2^32",
                documents.len()
            );
            return Err(Error::Argument(reason));
        };
        let shared = SharedCorpus {
            documents,
            delimiters,
            layout: config.layout,
            context: config.context,
            seed: config.seed,
        };
        let all = Part {
            name: "the corpus",
            digest: "all".to_owned(),
        };
        Corpus::of(Arc::new(shared), (0..len).collect(), &all)
    }

    /// The sequences of some of the documents.
    fn of(shared: Arc<SharedCorpus>, chosen: Vec<u32>, part: &Part) -> Result<Corpus> {
        let (mut starts, left_out) = shared.starts(&chosen);
        if starts.is_empty() {
            return Err(Error::Argument(format!(
                "{} has {} tokens, too few for one sequence of {}; take more text, a shorter \
                 context, or one document per row",
                part.name,
                shared.ids(&chosen),
                shared.context
            )));
        }
        shuffle::shuffle(&mut starts, &mut shuffle::random(shared.seed, EPOCHS));
        let mut corpus = Corpus {
            digest: shared.digest(&part.digest),
            shared,
            chosen,
            starts,
            tokens: 0,
            left_out,
        };
        corpus.tokens = (0..corpus.sequences())
            .map(|i| corpus.sequence_len(i) as u64)
            .sum();
        Ok(corpus)
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len()
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.chosen.len()
    }

    /// Number of tokens of all sequences.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens of text that are in no sequence: of packed documents the end, which does not fill a
    /// sequence, and of documents in rows the parts that are cut off.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Most tokens of a sequence.
    pub fn context(&self) -> usize {
        self.shared.context
    }

    /// Digest of its sequences and their order: SHA-256 in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The tokens of the sequence `i`.
    ///
    /// # Panics
    /// When there are not that many sequences.
    pub fn sequence(&self, i: usize) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(self.sequence_len(i));
        self.shared
            .sequence(&self.chosen, self.starts[i], &mut tokens);
        tokens
    }

    /// The stretches of documents in the sequence `i`; tokens in none of them stand around texts or between
    /// them.
    ///
    /// # Panics
    /// When there are not that many sequences.
    pub fn pieces(&self, i: usize) -> Vec<SequencePiece> {
        self.shared.pieces(&self.chosen, self.starts[i])
    }

    /// The names of all labels, in alphabetical order.
    pub fn label_names(&self) -> Vec<String> {
        self.shared.documents.label_names()
    }

    /// The place where a document comes from, and its labels; `document` is a number of
    /// [`SequencePiece`].
    ///
    /// # Panics
    /// When there are not that many documents.
    pub fn origin(&self, document: u32) -> DocumentOrigin<'_> {
        self.shared.documents.origin(document as usize)
    }

    /// The first sequences that have `tokens` tokens together, or all.
    pub fn first_sequences(&self, tokens: u64) -> Vec<Vec<u32>> {
        let mut missing = tokens;
        let mut sequences = Vec::new();
        for number in 0..self.sequences() {
            if missing == 0 {
                break;
            }
            let sequence = self.sequence(number);
            missing = missing.saturating_sub(sequence.len() as u64);
            sequences.push(sequence);
        }
        sequences
    }

    /// Number of tokens of the sequence `i`.
    ///
    /// # Panics
    /// When there are not that many sequences.
    pub fn sequence_len(&self, i: usize) -> usize {
        match self.shared.layout {
            Layout::Packed => self.shared.context,
            Layout::Rows => {
                let document = self.chosen[self.starts[i].place as usize];
                self.shared.kept(document)
            }
        }
    }

    /// The order in which an epoch reads the sequences: 0, 1, 2, … in the first, and a random order in every
    /// later one.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.starts.len() as u32).collect();
        if epoch > 0 {
            let stream = EPOCHS.wrapping_add(epoch);
            shuffle::shuffle(&mut order, &mut shuffle::random(self.shared.seed, stream));
        }
        order
    }

    /// Holds documents of `tokens` tokens or a few more out. Returns the rest and the held-out part. No
    /// document is in both, nor is a text that several documents share.
    ///
    /// # Errors
    /// When either part would have no sequence.
    pub fn split_held_out(&self, tokens: u64) -> Result<(Corpus, Corpus)> {
        let documents = &self.shared.documents;
        let mut order = self.chosen.clone();
        let mut random = shuffle::random(self.shared.seed, HELD_OUT);
        shuffle::shuffle(&mut order, &mut random);
        let mut texts = HashSet::new();
        let mut held: u64 = 0;
        for &document in &order {
            if held >= tokens {
                break;
            }
            held += self.shared.kept(document) as u64;
            texts.insert(documents.digest(document as usize));
        }
        let (held_out, train): (Vec<u32>, Vec<u32>) = self
            .chosen
            .iter()
            .partition(|&&document| texts.contains(&documents.digest(document as usize)));
        let split = |reason: String| Error::HeldOut {
            documents: self.chosen.len(),
            available: self.shared.ids(&self.chosen) as u64,
            tokens,
            reason,
        };
        if train.is_empty() && texts.len() == 1 && self.chosen.len() > 1 {
            return Err(split("all have the same text".to_owned()));
        }
        let part = |chosen, name, digest| {
            let part = Corpus::of(Arc::clone(&self.shared), chosen, &Part { name, digest });
            part.map_err(|error| match error {
                Error::Argument(reason) => split(reason),
                other => other,
            })
        };
        Ok((
            part(train, "the rest", format!("all but {tokens}"))?,
            part(
                held_out,
                "the part to hold out",
                format!("{tokens} held out"),
            )?,
        ))
    }
}

impl SharedCorpus {
    /// Beginnings of the sequences, in the order of the documents, and the number of tokens in none.
    fn starts(&self, chosen: &[u32]) -> (Vec<Start>, u64) {
        match self.layout {
            Layout::Packed => {
                let (starts, left_out) = self.packing(chosen).starts();
                (starts, left_out as u64)
            }
            Layout::Rows => {
                let over = |&document: &u32| self.row_len(document).saturating_sub(self.context);
                let left_out = chosen.iter().map(over).sum::<usize>() as u64;
                let starts = (0..chosen.len() as u32).map(|place| Start { place, offset: 0 });
                (starts.collect(), left_out)
            }
        }
    }

    fn packing<'a>(&'a self, chosen: &'a [u32]) -> Packing<'a> {
        Packing {
            documents: &self.documents,
            chosen,
            delimiters: &self.delimiters,
            context: self.context,
        }
    }

    /// Tokens of documents, without delimiters.
    fn ids(&self, chosen: &[u32]) -> usize {
        let ids = |&document: &u32| self.documents.ids(document as usize);
        chosen.iter().map(ids).sum()
    }

    /// Tokens that a document adds to sequences.
    fn kept(&self, document: u32) -> usize {
        match self.layout {
            Layout::Packed => self.documents.ids(document as usize),
            Layout::Rows => self.row_len(document).min(self.context),
        }
    }

    /// Tokens of a document with its delimiters, nothing cut off.
    fn row_len(&self, document: u32) -> usize {
        let delimiters = self.delimiters.before.len() + self.delimiters.after.len();
        delimiters + self.documents.ids(document as usize)
    }

    fn sequence(&self, chosen: &[u32], start: Start, to: &mut Vec<u32>) {
        match self.layout {
            Layout::Packed => self.packing(chosen).sequence(start, to),
            Layout::Rows => {
                let document = chosen[start.place as usize] as usize;
                let ids = self.documents.ids(document);
                to.extend_from_slice(&self.delimiters.before);
                let room = self.context - self.delimiters.before.len();
                self.documents.copy(document, 0..ids.min(room), to);
                to.extend_from_slice(&self.delimiters.after);
                to.truncate(self.context);
            }
        }
    }

    fn pieces(&self, chosen: &[u32], start: Start) -> Vec<SequencePiece> {
        match self.layout {
            Layout::Packed => self.packing(chosen).pieces(start),
            Layout::Rows => {
                let document = chosen[start.place as usize];
                let position = self.delimiters.before.len();
                let len = self.documents.ids(document as usize);
                vec![SequencePiece {
                    document,
                    position,
                    offset: 0,
                    len: len.min(self.context - position),
                }]
            }
        }
    }

    fn digest(&self, part: &str) -> String {
        let mut digest = Digest::new();
        digest.part(&self.documents.key);
        for ids in [
            &self.delimiters.before,
            &self.delimiters.after,
            &self.delimiters.between,
        ] {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            digest.part(&bytes);
        }
        let rest = format!("{} {} {} {part}", self.layout, self.context, self.seed);
        digest.part(rest.as_bytes());
        digest.hex()
    }
}

/// The delimiters of documents. Two documents that share a sequence are separated by the tokens that the
/// tokenizer puts after one text and before the next, or, without any, by the token that ends a text.
fn delimiters(bos: Bos, tokenizer: &Tokenizer) -> Result<Delimiters> {
    let (before, after) = tokenizer.around(bos)?;
    let mut between = [after, before].concat();
    if between.is_empty() {
        between.extend(tokenizer.eos_ids().first());
    }
    Ok(Delimiters {
        before: before.to_vec(),
        after: after.to_vec(),
        between,
    })
}
