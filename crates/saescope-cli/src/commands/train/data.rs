//! What training reads, and what is kept from it for the evaluation at the end.

use std::path::PathBuf;

use saescope::activations::Shards;
use saescope::corpus::{Corpus, CorpusConfig};
use saescope::tokenizer::{Bos, Tokenizer};

use crate::args::corpus::CorpusArgs;
use crate::usage::{ensure_usage, usage};

/// Tokens to evaluate on, unless told otherwise.
const EVAL_TOKENS: u64 = 65_536;

/// What is read, and on what the result is evaluated.
#[derive(clap::Args)]
pub(super) struct DataArgs {
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Read activations from a folder of shards that `saescope capture --shards` wrote, not from the model
    #[arg(long, value_name = "DIR", conflicts_with = "corpus")]
    shards: Option<PathBuf>,
    /// Texts for the evaluation at the end, which are not trained on. Without them a part of --corpus is
    /// held out; of --shards too, but on activations without texts no cross-entropy can be measured
    #[arg(long, value_name = "FILE", num_args = 1..)]
    eval_corpus: Vec<String>,
    /// Tokens to evaluate on at the end; 0 for no evaluation [default: 65,536, but of --corpus or
    /// --shards at most a tenth]
    #[arg(long, value_name = "N")]
    eval_tokens: Option<u64>,
}

/// What training reads.
pub(super) enum Training {
    /// Texts, through the model.
    Texts(CorpusConfig, Corpus),
    /// Activations on the disk.
    Shards(Shards),
}

/// What training does not read.
pub(super) enum HeldOut {
    /// Texts, and how many of their tokens are read.
    Texts {
        files: Vec<PathBuf>,
        corpus: Corpus,
        tokens: u64,
    },
    /// Other rows of the shards.
    Rows(Shards),
}

/// Where activations come from, in two parts.
pub(super) struct Data {
    pub(super) training: Training,
    pub(super) held_out: Option<HeldOut>,
    /// How many tokens of what there is to train on are held out.
    pub(super) kept_back: Option<u64>,
}

impl DataArgs {
    pub(super) fn open(&self, tokenizer: &Tokenizer, bos: Bos, seed: u64) -> anyhow::Result<Data> {
        if self.shards.is_some() {
            ensure_usage!(
                bos == Bos::Auto,
                "--bos: the texts of shards began with the token or without it when they were captured"
            );
            ensure_usage!(
                self.corpus.context().is_none() || !self.eval_corpus.is_empty(),
                "--context: the texts of shards were cut into sequences when they were captured"
            );
        }
        let (config, mut other) = self.corpus.configs(&self.eval_corpus, bos, seed)?;
        let training = match &self.shards {
            Some(folder) => Training::Shards(Shards::open(folder)?),
            None if config.files.is_empty() => {
                usage!(
                    "there is no text to read; name files with --corpus, or a folder of shards with --shards"
                )
            }
            None => {
                let corpus = crate::args::corpus::open(&config, tokenizer)?;
                Training::Texts(config, corpus)
            }
        };
        if self.eval_tokens == Some(0) {
            return Ok(Data::without_evaluation(training));
        }
        if other.files.is_empty() {
            return training.split(self.eval_tokens);
        }
        if let Training::Shards(shards) = &training {
            // What it was trained on, unless told otherwise.
            let context = self.corpus.context();
            other.context = context.unwrap_or(shards.manifest().origin.context);
        }
        let corpus = crate::args::corpus::open(&other, tokenizer)?;
        ensure_usage!(
            corpus.digest() != training.digest(),
            "--eval-corpus: these are the texts that are trained on; name other files, or omit --eval-corpus"
        );
        Ok(Data {
            training,
            held_out: Some(HeldOut::Texts {
                files: other.files,
                corpus,
                tokens: self.eval_tokens.unwrap_or(EVAL_TOKENS),
            }),
            kept_back: None,
        })
    }
}

impl Data {
    fn without_evaluation(training: Training) -> Data {
        Data {
            training,
            held_out: None,
            kept_back: None,
        }
    }
}

impl Training {
    /// [`Corpus::digest`] of the texts that all of it comes from.
    pub(super) fn digest(&self) -> &str {
        match self {
            Training::Texts(_, corpus) => corpus.digest(),
            Training::Shards(shards) => &shards.manifest().origin.corpus,
        }
    }

    /// Tokens of its sequences.
    pub(super) fn context(&self) -> usize {
        match self {
            Training::Texts(config, _) => config.context,
            Training::Shards(shards) => shards.manifest().origin.context,
        }
    }

    /// Parts it into what is trained on, and so many tokens that are not.
    fn split(self, tokens: Option<u64>) -> anyhow::Result<Data> {
        let there = match &self {
            Training::Texts(_, corpus) => corpus.tokens(),
            Training::Shards(shards) => shards.tokens(),
        };
        let tokens = tokens.unwrap_or(EVAL_TOKENS.min(there / 10));
        if tokens == 0 {
            return Ok(Data::without_evaluation(self));
        }
        let (training, held_out) = match self {
            Training::Texts(config, corpus) => {
                let (train, corpus) = corpus.split_held_out(tokens)?;
                let files = config.files.clone();
                let held_out = HeldOut::Texts {
                    files,
                    corpus,
                    tokens,
                };
                (Training::Texts(config, train), held_out)
            }
            Training::Shards(shards) => {
                let (train, held_out) = shards.split_held_out(tokens)?;
                (Training::Shards(train), HeldOut::Rows(held_out))
            }
        };
        Ok(Data {
            training,
            held_out: Some(held_out),
            kept_back: Some(tokens),
        })
    }
}
