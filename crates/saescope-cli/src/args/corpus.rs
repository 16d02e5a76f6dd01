//! Arguments of commands that read corpora of texts.

use std::mem::replace;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saescope::corpus::{Chats, Corpus, CorpusConfig, Layout, Progress, Templates, TextUnit};
use saescope::session::{LanguageModel, Warning};
use saescope::show::number::bytes;
use saescope::tokenizer::{Bos, Tokenizer};

use crate::args::hub;
use crate::args::value::one_of;
use crate::print;
use crate::print::bar::{Counted, bar};
use crate::usage::ensure_usage;

/// Bytes of texts whose reading takes long enough to be said.
const LARGE: u64 = 20_000_000;

/// Default number of tokens of a sequence.
const CONTEXT: usize = 128;

/// The texts, and the way from texts to sequences. Each command decides if they are required.
#[derive(clap::Args)]
pub(crate) struct CorpusArgs {
    /// Texts: plain text, JSON, CSV, TSV, Parquet or Arrow, also compressed with gzip or zstd, or a
    /// data set on the Hugging Face Hub, `org/name[@revision][:FILE-OR-FOLDER]`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    corpus: Vec<String>,
    /// The text of a record: a field, or fields such as '{instruction}\n{output}'; a field may be a
    /// chat or a list of token ids; once for all FILEs, or once for each in their order (`-` for
    /// plain text) [default: text]
    #[arg(long, value_name = "TEMPLATE")]
    template: Vec<String>,
    /// The unit of plain text that is a document
    #[arg(long, value_parser = one_of::<TextUnit>(TextUnit::ALL.map(TextUnit::name)), default_value_t)]
    document: TextUnit,
    /// Chats as text: by the model's chat template, or the texts of their turns alone; `auto`: by the
    /// template if the model has one, else plain
    #[arg(long, value_parser = one_of::<Chats>(Chats::ALL.map(Chats::name)), default_value_t)]
    chats: Chats,
    /// Arrangement of documents: sharing sequences, or one each
    #[arg(long, value_parser = one_of::<Layout>(Layout::ALL.map(Layout::name)), default_value_t)]
    layout: Layout,
    /// Tokens of a sequence [default: 128]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
}

impl CorpusArgs {
    /// The configuration of the corpus; data sets are downloaded if need be.
    pub(crate) fn config(&self, bos: Bos, seed: u64) -> anyhow::Result<CorpusConfig> {
        Ok(self.configs(&[], bos, seed)?.0)
    }

    /// The configurations of the texts of `--corpus` and of `more`, those of `--eval-corpus`, which are read
    /// alike. Templates of
    /// `more` follow those of `--corpus`.
    pub(crate) fn configs(
        &self,
        more: &[String],
        bos: Bos,
        seed: u64,
    ) -> anyhow::Result<(CorpusConfig, CorpusConfig)> {
        let templates = self.templates(self.corpus.len() + more.len())?;
        let own = self.corpus.iter().map(|reference| ("--corpus", reference));
        let more = more.iter().map(|reference| ("--eval-corpus", reference));
        let located: Vec<Vec<PathBuf>> = own
            .chain(more)
            .map(|(flag, reference)| locate(flag, reference))
            .collect::<anyhow::Result<_>>()?;
        let of = |range: Range<usize>| CorpusConfig {
            template: match templates.as_slice() {
                [] => None,
                [all] => Some(Templates::All(all.clone())),
                // A data set may have several files.
                each => Some(Templates::Each(
                    range
                        .clone()
                        .flat_map(|at| vec![each[at].clone(); located[at].len()])
                        .collect(),
                )),
            },
            labels: None,
            files: located[range].concat(),
            text: self.document,
            chats: self.chats,
            layout: self.layout,
            context: self.context.unwrap_or(CONTEXT),
            bos,
            seed,
        };
        let border = self.corpus.len();
        Ok((of(0..border), of(border..located.len())))
    }

    /// The templates: none, one, or one for each of `files`.
    fn templates(&self, files: usize) -> anyhow::Result<Vec<String>> {
        let given = self.template.len();
        ensure_usage!(
            given <= 1 || given == files,
            "--template is given {given} times for {files} FILEs; give it once for all, or once for \
             each in their order"
        );
        // A shell passes `\n` on as two characters.
        let template = |text: &String| text.replace("\\n", "\n");
        Ok(self.template.iter().map(template).collect())
    }

    /// The flags, besides --context, that say how texts are read and differ from their defaults.
    pub(crate) fn reading_flags(&self) -> Vec<&'static str> {
        let given = [
            ("--template", !self.template.is_empty()),
            ("--document", self.document != TextUnit::default()),
            ("--chats", self.chats != Chats::default()),
            ("--layout", self.layout != Layout::default()),
        ];
        given
            .iter()
            .filter(|flag| flag.1)
            .map(|flag| flag.0)
            .collect()
    }

    /// Tokens of a sequence, if the flag is given.
    pub(crate) fn context(&self) -> Option<usize> {
        self.context
    }

    /// The references as they were given.
    pub(crate) fn given(&self) -> &[String] {
        &self.corpus
    }

    /// The texts as sequences for a model; their tokens are kept for the next time.
    pub(crate) fn open(&self, lm: &LanguageModel, seed: u64) -> anyhow::Result<Corpus> {
        lm.check_context(self.context.unwrap_or(CONTEXT))?;
        open(&self.config(lm.bos, seed)?, &lm.tokenizer)
    }
}

/// The texts of a configuration as sequences.
pub(crate) fn open(config: &CorpusConfig, tokenizer: &Tokenizer) -> anyhow::Result<Corpus> {
    let cache = corpus_cache()?;
    let open = |on_reading: &mut dyn FnMut(Progress)| {
        Corpus::open(config, tokenizer, cache.as_deref(), on_reading)
    };
    Ok(reading(open)?)
}

/// The result of `open`, with a bar for the texts that it reads.
pub(crate) fn reading<T>(open: impl FnOnce(&mut dyn FnMut(Progress)) -> T) -> T {
    let bar = bar("reading texts", Counted::Bytes, 0);
    let mut said = !bar.is_hidden();
    let opened = open(&mut |progress| {
        // Where no bar is seen, a line says what takes the time.
        if progress.total_bytes >= LARGE && !replace(&mut said, true) {
            print::note!("reading texts: {}", bytes(progress.total_bytes));
        }
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    });
    bar.finish_and_clear();
    opened
}

/// The folder that keeps texts as tokens; none, with a warning, where it cannot be made.
pub(crate) fn corpus_cache() -> anyhow::Result<Option<PathBuf>> {
    let folder = hub::corpus_cache()?;
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(error) => {
            let reason = error.to_string();
            print::warnings([&Warning::NoCorpusCache { folder, reason }]);
            Ok(None)
        }
    }
}

/// The files that the reference of a flag names: a path, a bundled file or a data set.
fn locate(flag: &str, reference: &str) -> anyhow::Result<Vec<PathBuf>> {
    let path = Path::new(reference);
    let looks_like_path = reference.starts_with(['.', '/', '~']) || path.is_absolute();
    if looks_like_path || path.exists() {
        return Ok(vec![path.to_path_buf()]);
    }
    if let Some(bundled) = hub::bundled(path)? {
        return Ok(vec![bundled]);
    }
    hub::locate_dataset(reference).with_context(|| format!("{flag} {reference}"))
}
