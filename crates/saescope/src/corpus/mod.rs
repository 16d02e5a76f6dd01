//! Texts as training and evaluation read them: files of any kind as sequences of ids.
//!
//! Files hold documents: paragraphs of a text, lines of JSON Lines, rows of Parquet. Documents become
//! ids once, which a cache keeps; sequences are cut out of them as they are asked for. Memory: 16
//! bytes a document and 12 a sequence, and while documents become ids some 50 MB; the ids themselves
//! are mapped from the cache, or held (4 bytes each) where there is none.

mod documents;
mod layout;
mod open;
mod parquet;
mod read;
mod template;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::documents::Documents;
use self::layout::{Around, Packing, Start};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::shuffle;
use crate::tokenizer::{Bos, Tokenizer};

/// Which texts, and how they become sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// The files, in order; their names say their formats.
    pub files: Vec<PathBuf>,
    /// What of a record is its text. The field `text` where it is not said.
    pub template: Option<Templates>,
    /// What a document is in a file of plain text.
    #[serde(default)]
    pub text: TextUnit,
    /// How documents become sequences.
    pub layout: Layout,
    /// Tokens of a sequence, those that the tokenizer puts around it included.
    pub context: usize,
    /// Whether sequences begin with the beginning-of-sequence token.
    pub bos: Bos,
    /// Seed of the order of the sequences, and of what is held out.
    pub seed: u64,
}

/// What of a record is its text: the name of a field, or text with `{field}` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Templates {
    /// The same in all files.
    All(String),
    /// One for each file, in their order; for plain text, which has no records, it means nothing.
    Each(Vec<String>),
}

/// What a document is in a file of plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// What stands between blank lines.
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
        let known = TextUnit::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            Error::Argument(format!(
                "unknown unit of text `{name}`; use paragraph, line or file"
            ))
        })
    }
}

/// How documents become sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Documents follow each other, and are cut into sequences of exactly `context` tokens.
    #[default]
    Packed,
    /// A document is a sequence of at most `context` tokens; what is longer is cut off.
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
        let known = Layout::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| Error::Argument(format!("unknown layout `{name}`; use packed or rows")))
    }
}

/// How far the documents of a corpus are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files that were read, as they are on the disk.
    pub bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Documents that are ids now.
    pub documents: u64,
    /// Their ids.
    pub tokens: u64,
}

/// Sequences of ids in a fixed order.
#[derive(Clone)]
pub struct Corpus {
    whole: Arc<Whole>,
    /// The numbers of its documents, ascending.
    chosen: Vec<u32>,
    /// Where its sequences begin, in the order in which they are read.
    starts: Vec<Start>,
    tokens: u64,
    left_out: u64,
    digest: String,
}

/// What the parts of a corpus share.
struct Whole {
    documents: Documents,
    around: Around,
    layout: Layout,
    context: usize,
    seed: u64,
}

/// Streams of random numbers of a corpus' seed: one for what is held out, one for each epoch.
const HELD_OUT: u64 = 0;
const EPOCHS: u64 = 1;

impl Corpus {
    /// Reads the files of `config`, or what `cache`, a folder, holds of them already: documents are
    /// kept there under a digest of the files' content, the template and the tokenizer.
    ///
    /// # Errors
    /// When a file cannot be read, naming the line and the field, or the documents make no sequence.
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
        let around = around(config.bos, tokenizer)?;
        let needed = around.before.len() + 1;
        if config.context < needed {
            let context = config.context;
            let reason = format!("a context of {context} tokens holds no text; {needed} do");
            return Err(Error::Argument(reason));
        }
        let documents = Documents::open(config, tokenizer, cache, on_progress)?;
        let Ok(len) = u32::try_from(documents.len()) else {
            let reason = format!("{} documents are more than 2^32", documents.len());
            return Err(Error::Argument(reason));
        };
        let whole = Whole {
            documents,
            around,
            layout: config.layout,
            context: config.context,
            seed: config.seed,
        };
        Corpus::of(Arc::new(whole), (0..len).collect(), "all")
    }

    /// The sequences that some of the documents make; `part` says which these are.
    fn of(whole: Arc<Whole>, chosen: Vec<u32>, part: &str) -> Result<Corpus> {
        let (mut starts, left_out) = whole.starts(&chosen);
        if starts.is_empty() {
            let ids: usize = chosen
                .iter()
                .map(|&document| whole.documents.ids(document as usize))
                .sum();
            return Err(Error::Argument(format!(
                "the corpus has {ids} tokens, too few for one sequence of {}; take more text, a \
                 shorter context, or one document per row",
                whole.context
            )));
        }
        shuffle::shuffle(&mut starts, &mut shuffle::random(whole.seed, EPOCHS));
        let mut corpus = Corpus {
            digest: whole.digest(part),
            whole,
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

    /// Tokens of text that are in no sequence: the end of packed documents that fills no sequence, and
    /// of documents in rows what is cut off.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Tokens of the longest sequence there may be.
    pub fn context(&self) -> usize {
        self.whole.context
    }

    /// What tells its sequences and their order from any others: SHA-256 in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The tokens of the sequence `i`.
    ///
    /// # Panics
    /// When there are not that many sequences.
    pub fn sequence(&self, i: usize) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(self.sequence_len(i));
        self.whole
            .sequence(&self.chosen, self.starts[i], &mut tokens);
        tokens
    }

    /// Number of tokens of the sequence `i`.
    ///
    /// # Panics
    /// When there are not that many sequences.
    pub fn sequence_len(&self, i: usize) -> usize {
        match self.whole.layout {
            Layout::Packed => self.whole.context,
            Layout::Rows => {
                let document = self.chosen[self.starts[i].place as usize];
                self.whole.kept(document)
            }
        }
    }

    /// The order in which an epoch reads the sequences: the first reads 0, 1, 2, …, every later one in
    /// an order of its own.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.starts.len() as u32).collect();
        if epoch > 0 {
            let stream = EPOCHS.wrapping_add(epoch);
            shuffle::shuffle(&mut order, &mut shuffle::random(self.whole.seed, stream));
        }
        order
    }

    /// Holds documents out that have `tokens` tokens or a few more: the rest, and these. No document
    /// is in both, nor is a text that several documents have.
    ///
    /// # Errors
    /// When either part would have no sequence.
    pub fn split_held_out(&self, tokens: u64) -> Result<(Corpus, Corpus)> {
        let documents = &self.whole.documents;
        let mut order = self.chosen.clone();
        let mut random = shuffle::random(self.whole.seed, HELD_OUT);
        shuffle::shuffle(&mut order, &mut random);
        let mut texts = HashSet::new();
        let mut held: u64 = 0;
        for &document in &order {
            if held >= tokens {
                break;
            }
            held += self.whole.kept(document) as u64;
            texts.insert(documents.digest(document as usize));
        }
        let (held_out, train): (Vec<u32>, Vec<u32>) = self
            .chosen
            .iter()
            .partition(|&&document| texts.contains(&documents.digest(document as usize)));
        let part = |chosen, name: &str| {
            let part = Corpus::of(Arc::clone(&self.whole), chosen, name);
            part.map_err(|error| match error {
                Error::Argument(reason) => Error::Argument(format!(
                    "{} documents cannot be parted into {tokens} tokens to hold out and the rest: \
                     {reason}",
                    self.chosen.len()
                )),
                other => other,
            })
        };
        Ok((
            part(train, &format!("all but {tokens}"))?,
            part(held_out, &format!("{tokens} held out"))?,
        ))
    }
}

impl Whole {
    /// Where sequences begin, in the order of the documents, and how many tokens are in none.
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
            around: &self.around,
            context: self.context,
        }
    }

    /// Tokens that a document adds to sequences.
    fn kept(&self, document: u32) -> usize {
        match self.layout {
            Layout::Packed => self.documents.ids(document as usize),
            Layout::Rows => self.row_len(document).min(self.context),
        }
    }

    /// Tokens of a document with what stands around it, nothing cut off.
    fn row_len(&self, document: u32) -> usize {
        let around = self.around.before.len() + self.around.after.len();
        around + self.documents.ids(document as usize)
    }

    fn sequence(&self, chosen: &[u32], start: Start, to: &mut Vec<u32>) {
        match self.layout {
            Layout::Packed => self.packing(chosen).sequence(start, to),
            Layout::Rows => {
                let document = chosen[start.place as usize] as usize;
                let ids = self.documents.ids(document);
                to.extend_from_slice(&self.around.before);
                let room = self.context - self.around.before.len();
                self.documents.copy(document, 0..ids.min(room), to);
                to.extend_from_slice(&self.around.after);
                to.truncate(self.context);
            }
        }
    }

    fn digest(&self, part: &str) -> String {
        let mut digest = Digest::new();
        digest.part(&self.documents.key);
        for ids in [
            &self.around.before,
            &self.around.after,
            &self.around.between,
        ] {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            digest.part(&bytes);
        }
        let rest = format!("{} {} {} {part}", self.layout, self.context, self.seed);
        digest.part(rest.as_bytes());
        digest.hex()
    }
}

/// What stands around documents. Between two that share a sequence stands what the tokenizer puts
/// behind the one and before the other, or, where it puts nothing, the token that ends a text.
fn around(bos: Bos, tokenizer: &Tokenizer) -> Result<Around> {
    let (before, after) = tokenizer.around(bos)?;
    let mut between = [after, before].concat();
    if between.is_empty() {
        between.extend(tokenizer.eos_ids().first());
    }
    Ok(Around {
        before: before.to_vec(),
        after: after.to_vec(),
        between,
    })
}
