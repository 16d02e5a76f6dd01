//! `saescope vector`

mod build;
mod evaluate;
mod show;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use indicatif::ProgressBar;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use saescope::vector::question::{self, Pair, Question, Style};
use saescope::vector::text::sample;

use crate::args::model::ModelArgs;
use crate::print::bar::{Counted, bar};
use saescope::session::LanguageModel;

/// Build steering vectors, measure them and look into them
///
/// A steering vector holds one direction at each of some sites. A file that ends in `.gguf` is a
/// control vector as llama.cpp and repeng read and write it; any other is safetensors.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Caa(Box<build::CaaArgs>),
    Difference(Box<build::DifferenceArgs>),
    Pca(Box<build::PcaArgs>),
    Evaluate(Box<evaluate::Args>),
    Edits(show::EditsArgs),
    Info(show::InfoArgs),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Caa(args) => build::caa(&args),
        What::Difference(args) => build::difference(&args),
        What::Pca(args) => build::pca(&args),
        What::Evaluate(args) => evaluate::run(*args),
        What::Edits(args) => show::edits(&args),
        What::Info(args) => show::info(&args),
    }
}

/// How many of the texts or questions are taken.
#[derive(clap::Args)]
struct DrawArgs {
    /// Take only so many of each set, or so many questions, drawn at random [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Seed of that draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl DrawArgs {
    fn questions(&self, path: &Path, how: &QuestionArgs) -> anyhow::Result<Vec<Question>> {
        let all = question::read(path)?;
        if how.unbalanced {
            return Ok(self.draw(all));
        }
        let drawn = question::balanced(all, self.limit.map(|limit| limit as usize), self.seed);
        drawn.map_err(|error| {
            let file = path.display();
            anyhow!("{file}: {error}; --unbalanced takes the questions as they come")
        })
    }

    fn draw<T>(&self, all: Vec<T>) -> Vec<T> {
        match self.limit {
            Some(limit) => sample(all, limit as usize, self.seed),
            None => all,
        }
    }

    /// The seed, where something is drawn: where not all are taken, or as many of either letter.
    fn seed(&self, balanced: bool) -> Option<u64> {
        (balanced || self.limit.is_some()).then_some(self.seed)
    }
}

/// Which questions are taken, and how they are put.
#[derive(clap::Args)]
struct QuestionArgs {
    /// Take the questions as they come, even where one letter matches more often than the other
    /// [default: as many of either, so that the letter itself does not count]
    #[arg(long)]
    unbalanced: bool,
    /// Put questions in the model's chat template, or plain, followed by `Answer:` [default: chat
    /// where there is a template]
    #[arg(long, value_enum)]
    style: Option<StyleArg>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum StyleArg {
    Chat,
    Plain,
}

impl QuestionArgs {
    fn style(&self, tokenizer: &Tokenizer) -> Style {
        match self.style {
            None => Style::of(tokenizer),
            Some(StyleArg::Chat) => Style::Chat,
            Some(StyleArg::Plain) => Style::Plain,
        }
    }
}

/// Questions as tokens.
fn pairs(
    questions: &[Question],
    style: Style,
    (model, opened): (&ModelArgs, &LanguageModel),
) -> anyhow::Result<Vec<Pair>> {
    let pairs = questions
        .iter()
        .map(|question| question.pair(&opened.tokenizer, style, model.bos()));
    Ok(pairs.collect::<saescope::Result<_>>()?)
}

/// A bar for `total` texts.
fn progress(total: usize) -> ProgressBar {
    bar("reading", Counted::Items("texts"), total as u64)
}

/// What is known of a direction besides its numbers.
#[derive(serde::Serialize)]
struct SiteRecord {
    site: Site,
    width: usize,
    norm: f64,
}

fn site_records(vector: &saescope::vector::Vector) -> Vec<SiteRecord> {
    let directions = vector.directions.iter();
    directions
        .map(|(&site, direction)| SiteRecord {
            site,
            width: direction.len(),
            norm: saescope::vector::norm(direction),
        })
        .collect()
}

/// A file as it is written in records.
fn file_name(path: &Path) -> String {
    path.display().to_string()
}

/// A vector that has been made or read, and where.
#[derive(clap::Args)]
struct VectorArg {
    /// A vector: safetensors, or a control vector as GGUF
    #[arg(value_name = "VECTOR")]
    vector: PathBuf,
}
