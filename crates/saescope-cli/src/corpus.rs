//! The texts that a command reads, many of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use saescope::corpus::{Corpus, CorpusConfig, Layout, Templates, TextUnit};
use saescope::tokenizer::{Bos, Tokenizer};

use crate::hub;

/// Which texts, and how they become sequences. Whoever takes them says whether they are required.
#[derive(clap::Args)]
pub(crate) struct CorpusArgs {
    /// Texts: plain text, JSON Lines or Parquet, also compressed with gzip or zstd, or a data set on
    /// the Hugging Face Hub, `org/name[@revision][:FILE-OR-FOLDER]`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    corpus: Vec<String>,
    /// What of a record is its text: a field, or fields such as '{instruction}\n{output}'; once for
    /// all FILEs, or once for each in their order (whatever you say for plain text is passed over)
    /// [default: text]
    #[arg(long, value_name = "TEMPLATE")]
    template: Vec<String>,
    /// What a document is in plain text
    #[arg(long, value_enum, default_value_t = UnitArg::Paragraph)]
    document: UnitArg,
    /// Whether documents share sequences or have one each
    #[arg(long, value_enum, default_value_t = LayoutArg::Packed)]
    layout: LayoutArg,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    context: usize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum UnitArg {
    Paragraph,
    Line,
    File,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LayoutArg {
    Packed,
    Rows,
}

impl CorpusArgs {
    /// What the texts are, data sets downloaded if need be.
    pub(crate) fn config(&self, bos: Bos, seed: u64) -> anyhow::Result<CorpusConfig> {
        let mut located = Vec::new();
        for given in &self.corpus {
            located.push(locate(given)?);
        }
        Ok(CorpusConfig {
            template: self.templates(&located)?,
            files: located.concat(),
            text: match self.document {
                UnitArg::Paragraph => TextUnit::Paragraph,
                UnitArg::Line => TextUnit::Line,
                UnitArg::File => TextUnit::File,
            },
            layout: match self.layout {
                LayoutArg::Packed => Layout::Packed,
                LayoutArg::Rows => Layout::Rows,
            },
            context: self.context,
            bos,
            seed,
        })
    }

    /// The templates of the files that every argument stands for: a data set may have several.
    fn templates(&self, located: &[Vec<PathBuf>]) -> anyhow::Result<Option<Templates>> {
        // A shell passes the two characters on.
        let template = |text: &String| text.replace("\\n", "\n");
        let given = &self.template;
        Ok(match given.as_slice() {
            [] => None,
            [all] => Some(Templates::All(template(all))),
            each if each.len() == located.len() => {
                let each = each.iter().zip(located);
                let of_files = each.flat_map(|(one, files)| vec![template(one); files.len()]);
                Some(Templates::Each(of_files.collect()))
            }
            each => bail!(
                "--template is given {} times for {} FILEs; give it once for all, or once for each in \
                 the order of --corpus",
                each.len(),
                located.len()
            ),
        })
    }

    /// What was given, as it was given.
    pub(crate) fn given(&self) -> &[String] {
        &self.corpus
    }

    /// The texts as sequences; what they become is kept for the next time.
    pub(crate) fn open(
        &self,
        tokenizer: &Tokenizer,
        bos: Bos,
        seed: u64,
    ) -> anyhow::Result<Corpus> {
        open(&self.config(bos, seed)?, tokenizer)
    }
}

/// The texts of a configuration as sequences.
pub(crate) fn open(config: &CorpusConfig, tokenizer: &Tokenizer) -> anyhow::Result<Corpus> {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("reading texts  {bar:30} {bytes}/{total_bytes}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let cache = hub::corpus_cache()?;
    let writable = std::fs::create_dir_all(&cache);
    if let Err(error) = &writable {
        let cache = cache.display();
        eprintln!("texts are not kept as tokens for the next time: {cache}: {error}");
    }
    let cache = writable.is_ok().then_some(cache.as_path());
    let corpus = Corpus::open(config, tokenizer, cache, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    });
    bar.finish_and_clear();
    Ok(corpus?)
}

/// The files that a person means.
fn locate(given: &str) -> anyhow::Result<Vec<PathBuf>> {
    let path = Path::new(given);
    let looks_like_path = given.starts_with(['.', '/', '~']) || path.is_absolute();
    if looks_like_path || path.exists() {
        return Ok(vec![path.to_path_buf()]);
    }
    if let Some(bundled) = hub::bundled(path)? {
        return Ok(vec![bundled]);
    }
    hub::locate_dataset(given).with_context(|| format!("--corpus {given}"))
}
