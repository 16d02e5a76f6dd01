//! Flags that name the data of a training.

use std::path::PathBuf;

use saescope::corpus::CorpusConfig;
use saescope::jobs::train::ActivationSource;
use saescope::tokenizer::Bos;

use crate::args::corpus::CorpusArgs;
use crate::usage::{ensure_usage, usage};

/// The activations that are read, and the texts that the result is evaluated on.
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

/// The data of a training as it is asked for.
pub(super) struct RequestedData {
    pub(super) activations: ActivationSource,
    pub(super) eval_corpus: Option<CorpusConfig>,
    pub(super) context_of_shards: bool,
    pub(super) eval_tokens: Option<u64>,
}

impl DataArgs {
    pub(super) fn request(&self, bos: Bos, seed: u64) -> anyhow::Result<RequestedData> {
        if self.shards.is_some() {
            ensure_usage!(
                bos == Bos::Auto,
                "--bos: the texts of shards began with the token or did not when they were captured"
            );
            ensure_usage!(
                self.corpus.context().is_none() || !self.eval_corpus.is_empty(),
                "--context: the texts of shards were cut when they were captured"
            );
            let ignored = self.corpus.reading_flags();
            ensure_usage!(
                ignored.is_empty() || !self.eval_corpus.is_empty(),
                "{}: the texts of shards were read when they were captured, and --eval-corpus names no \
                 others",
                ignored.join(", ")
            );
        }
        let (config, other) = self.corpus.configs(&self.eval_corpus, bos, seed)?;
        let activations = match &self.shards {
            Some(folder) => ActivationSource::Shards(folder.clone()),
            None if config.files.is_empty() => {
                usage!(
                    "there is no text to read; name files with --corpus, or a folder of shards with --shards"
                )
            }
            None => ActivationSource::Texts(config),
        };
        Ok(RequestedData {
            activations,
            eval_corpus: Some(other).filter(|other| !other.files.is_empty()),
            context_of_shards: self.corpus.context().is_none(),
            eval_tokens: self.eval_tokens,
        })
    }
}
