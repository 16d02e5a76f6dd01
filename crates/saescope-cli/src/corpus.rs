//! The texts that a command reads, many of them.

use std::path::{Path, PathBuf};

use saescope::corpus::{Corpus, CorpusConfig, Layout, TextUnit};
use saescope::tokenizer::{Bos, Tokenizer};

use crate::hub::locate_file;

/// The texts that training reads.
#[derive(clap::Args)]
pub(crate) struct CorpusArgs {
    /// A file of texts. May be given several times
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "store")]
    #[arg(value_parser = located)]
    pub(crate) corpus: Vec<PathBuf>,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) context: usize,
}

/// A file as given, or a bundled one.
fn located(text: &str) -> Result<PathBuf, String> {
    locate_file(Path::new(text)).map_err(|error| format!("{error:#}"))
}

impl CorpusArgs {
    pub(crate) fn config(&self, bos: Bos, seed: u64) -> CorpusConfig {
        CorpusConfig {
            files: self.corpus.clone(),
            template: None,
            text: TextUnit::Paragraph,
            layout: Layout::Packed,
            context: self.context,
            bos,
            seed,
        }
    }

    pub(crate) fn open(
        &self,
        tokenizer: &Tokenizer,
        bos: Bos,
        seed: u64,
    ) -> anyhow::Result<Corpus> {
        let config = self.config(bos, seed);
        Ok(Corpus::open(&config, tokenizer, None, &mut |_| ())?)
    }
}
