//! The activations that training reads, and those that are held out for the evaluation.

use std::path::{Path, PathBuf};

use super::TrainRequest;
use crate::activations::Shards;
use crate::corpus::{self, Corpus, CorpusConfig};
use crate::error::{Error, Result};
use crate::session::LanguageModel;

/// Default number of tokens to evaluate on.
const EVAL_TOKENS: u64 = 65_536;

/// The source of activations as it is asked for.
#[derive(Clone, Debug)]
pub enum ActivationSource {
    /// Texts, read through the model.
    Texts(CorpusConfig),
    /// A folder of shards that was captured before.
    Shards(PathBuf),
}

/// The source of activations, opened.
pub(super) enum TrainingData {
    Texts(CorpusConfig, Corpus),
    Shards(Shards),
}

/// Data that training does not read.
pub(super) enum HeldOut {
    /// Texts, and how many of their tokens are read.
    Texts {
        files: Vec<PathBuf>,
        corpus: Corpus,
        tokens: u64,
    },
    /// Rows of shards.
    Rows(Shards),
}

/// Data of a training in its two parts.
pub(super) struct Data {
    pub(super) training: TrainingData,
    pub(super) held_out: Option<HeldOut>,
    /// Tokens of the training data that are held out.
    pub(super) held_out_tokens: Option<u64>,
}

/// Opens corpora; the tokens of texts are kept in a cache.
pub(super) struct Opener<'a> {
    pub(super) lm: &'a LanguageModel,
    pub(super) cache: Option<&'a Path>,
    pub(super) on_reading: &'a mut dyn FnMut(corpus::Progress),
}

impl Opener<'_> {
    fn corpus(&mut self, config: &CorpusConfig) -> Result<Corpus> {
        self.lm.check_context(config.context)?;
        Corpus::open(config, &self.lm.tokenizer, self.cache, self.on_reading)
    }
}

impl Data {
    pub(super) fn open(request: &TrainRequest, opener: &mut Opener) -> Result<Data> {
        if request.eval_corpus.is_some() && request.eval_tokens == Some(0) {
            return Err(Error::Argument(
                "`eval_tokens` is 0, and `eval_corpus` names texts to evaluate on; omit one of them"
                    .to_owned(),
            ));
        }
        let training = match &request.activations {
            ActivationSource::Shards(folder) => TrainingData::Shards(Shards::open(folder)?),
            ActivationSource::Texts(config) => {
                TrainingData::Texts(config.clone(), opener.corpus(config)?)
            }
        };
        if request.eval_tokens == Some(0) {
            return Ok(Data::without_evaluation(training));
        }
        let Some(other) = &request.eval_corpus else {
            return training.split(request.eval_tokens);
        };
        let mut other = other.clone();
        if let (TrainingData::Shards(shards), true) = (&training, request.context_of_shards) {
            other.context = shards.manifest().origin.context;
        }
        let corpus = opener
            .corpus(&other)
            .map_err(|error| error.at("the texts to evaluate on"))?;
        if corpus.digest() == training.digest() {
            return Err(Error::Argument(
                "the texts to evaluate on are the very texts that are trained on; name other files, \
                 or omit them to hold a part out"
                    .to_owned(),
            ));
        }
        Ok(Data {
            training,
            held_out: Some(HeldOut::Texts {
                files: other.files,
                corpus,
                tokens: request.eval_tokens.unwrap_or(EVAL_TOKENS),
            }),
            held_out_tokens: None,
        })
    }

    fn without_evaluation(training: TrainingData) -> Data {
        Data {
            training,
            held_out: None,
            held_out_tokens: None,
        }
    }
}

impl TrainingData {
    /// [`Corpus::digest`] of the texts that all of it comes from.
    pub(super) fn digest(&self) -> &str {
        match self {
            TrainingData::Texts(_, corpus) => corpus.digest(),
            TrainingData::Shards(shards) => &shards.manifest().origin.corpus,
        }
    }

    /// Tokens of its sequences.
    pub(super) fn context(&self) -> usize {
        match self {
            TrainingData::Texts(config, _) => config.context,
            TrainingData::Shards(shards) => shards.manifest().origin.context,
        }
    }

    /// Holds out so many tokens, by default a tenth and at most [`EVAL_TOKENS`].
    fn split(self, tokens: Option<u64>) -> Result<Data> {
        let available = match &self {
            TrainingData::Texts(_, corpus) => corpus.tokens(),
            TrainingData::Shards(shards) => shards.tokens(),
        };
        let tokens = tokens.unwrap_or(EVAL_TOKENS.min(available / 10));
        if tokens == 0 {
            return Ok(Data::without_evaluation(self));
        }
        let (training, held_out) = match self {
            TrainingData::Texts(config, corpus) => {
                let (train, corpus) = corpus.split_held_out(tokens)?;
                let held_out = HeldOut::Texts {
                    files: config.files.clone(),
                    corpus,
                    tokens,
                };
                (TrainingData::Texts(config, train), held_out)
            }
            TrainingData::Shards(shards) => {
                let (train, held_out) = shards.split_held_out(tokens)?;
                (TrainingData::Shards(train), HeldOut::Rows(held_out))
            }
        };
        Ok(Data {
            training,
            held_out: Some(held_out),
            held_out_tokens: Some(tokens),
        })
    }
}
