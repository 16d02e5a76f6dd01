//! Evidence of every feature from one pass over a corpus.
//!
//! A pass reads the corpus in blocks of sequences ([`BlockReader`]), adds the activations of each block to
//! what is known of every feature ([`CorpusEvidence`]), and hands both to a [`Sink`] from time to time. Memory
//! depends on the number of features, not on the corpus. Sums are exact and random choices depend on content
//! alone, so the evidence is the same however a corpus is divided: parts merged equal the whole, and an
//! interrupted pass that continues equals one without a break.

mod block;
mod corpus_evidence;
mod draw;
mod evidence;
mod moments;
mod role;
mod sink;
#[cfg(test)]
mod tests;

pub use block::{
    Activation, Block, BlockReader, HarvestConfig, HarvestedSequence, LabelledText, Row, norm_limit,
};
pub use corpus_evidence::{CorpusCounts, CorpusEvidence, TokenCounts};
pub use draw::{Draw, sequence_key};
pub use evidence::{Chosen, ClassEvidence, ClassSeparation, FeatureEvidence, Firing, Limits};
pub use moments::{BINS, Bar, ExactSum, Histogram, Moments, bin, edge};
pub use role::{FeatureRole, roles};
pub use sink::{HarvestHeader, Part, Saved, Sink, Vocabulary};
