//! `saescope vector`

mod build;
mod evaluate;
mod show;

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use saescope::site::Site;
use saescope::tokenizer::{Bos, Tokenizer};
use saescope::vector::Vector;
use saescope::vector::question::{self, Pair, Question, Style};
use saescope::vector::text::sample;

use crate::args::value::one_of;
use crate::print::bar::{Counted, bar};

/// Build, measure and inspect steering vectors
///
/// A steering vector holds one direction for each of its sites. A file that ends in `.gguf` is a
/// control vector as llama.cpp and repeng read and write it; any other file is safetensors.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Caa(Box<build::CaaArgs>),
    Difference(Box<build::DifferenceArgs>),
    Pca(Box<build::PcaArgs>),
    Evaluate(Box<evaluate::Args>),
    Edits(show::EditsArgs),
    Info(show::InfoArgs),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Caa(args) => build::caa(&args),
        Action::Difference(args) => build::difference(&args),
        Action::Pca(args) => build::pca(&args),
        Action::Evaluate(args) => evaluate::run(*args),
        Action::Edits(args) => show::edits(&args),
        Action::Info(args) => show::info(&args),
    }
}

/// The number of texts or questions to take.
#[derive(clap::Args)]
struct DrawArgs {
    /// Take only N texts of each set, or N questions, drawn at random [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Seed of that draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl DrawArgs {
    fn questions(&self, path: &Path, format: &QuestionArgs) -> anyhow::Result<Vec<Question>> {
        let all = question::read(path)?;
        if format.unbalanced {
            return Ok(self.draw(all));
        }
        let drawn = question::balanced(all, self.limit.map(|limit| limit as usize), self.seed);
        Ok(drawn.map_err(|error| error.at(path.display().to_string()))?)
    }

    fn draw<T>(&self, all: Vec<T>) -> Vec<T> {
        match self.limit {
            Some(limit) => sample(all, limit as usize, self.seed),
            None => all,
        }
    }

    /// The seed if something is drawn: some of the texts, or questions balanced by letter.
    fn seed(&self, balanced: bool) -> Option<u64> {
        (balanced || self.limit.is_some()).then_some(self.seed)
    }
}

/// The choice and the format of questions.
#[derive(clap::Args)]
struct QuestionArgs {
    /// Take the questions as they come, even if one letter matches more often than the other
    /// [default: as many of either letter, so that the letter itself does not count]
    #[arg(long)]
    unbalanced: bool,
    /// Put questions in the model's chat template, or plain, followed by `Answer:` [default: chat if
    /// there is a template]
    #[arg(long, value_parser = one_of::<Style>(Style::ALL.map(Style::name)))]
    style: Option<Style>,
}

impl QuestionArgs {
    /// True if no flag was given.
    fn is_default(&self) -> bool {
        !self.unbalanced && self.style.is_none()
    }

    fn style(&self, tokenizer: &Tokenizer) -> Style {
        self.style.unwrap_or_else(|| Style::of(tokenizer))
    }
}

/// Questions as tokens.
fn pairs(
    questions: &[Question],
    style: Style,
    tokenizer: &Tokenizer,
    bos: Bos,
) -> anyhow::Result<Vec<Pair>> {
    let pairs = questions
        .iter()
        .map(|question| question.pair(tokenizer, style, bos));
    Ok(pairs.collect::<saescope::Result<_>>()?)
}

/// A progress bar over `total` texts or questions, on standard error if that is a terminal.
fn progress(total: usize) -> ProgressBar {
    bar("reading", Counted::Items("texts"), total as u64)
}

/// Name of a file in records.
fn file_name(path: &Path) -> String {
    path.display().to_string()
}

/// The argument that names a vector's file.
#[derive(clap::Args)]
struct VectorArg {
    /// A vector: safetensors, or a control vector as GGUF; or with --site a direction alone, as safetensors,
    /// .pt or .npy
    #[arg(value_name = "VECTOR")]
    vector: PathBuf,
    /// Number of the model's layers, for a file of directions by layer
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
}

impl VectorArg {
    /// The vector. A direction that states no site is at that of `sites`, if it is the only one.
    fn open(&self, sites: &[Site]) -> anyhow::Result<Vector> {
        Ok(Vector::open_at(&self.vector, only(sites), self.layers)?)
    }
}

/// The only one of the sites.
fn only(sites: &[Site]) -> Option<Site> {
    match sites {
        [site] => Some(*site),
        _ => None,
    }
}
