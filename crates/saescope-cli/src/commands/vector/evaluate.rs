//! `saescope vector evaluate`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saescope::checkpoint::save_whole;
use saescope::edit::Edit;
use saescope::site::Site;
use saescope::vector::Vector;
use saescope::vector::evaluate::{Outcome, Positions, Trial, best_site, chart, evaluate, rises};
use saescope::vector::question::{Question, Style, halves};
use serde::Serialize;

use super::{DrawArgs, QuestionArgs, file_name, pairs, progress};
use crate::args::edits::EditsArgs;
use crate::args::model::{ModelArgs, finite, last_of};
use crate::args::output::check_output;
use crate::print::{self, Align, Table};
use saescope::session::Edits;
use saescope::session::LanguageModel;

/// Measure how far a vector moves the answers to questions, per site and multiplier
///
/// Each site is tried alone. The measure is the logit of the letter whose answer shows the behaviour
/// minus that of the other, where the letter comes, as a mean over the questions; the difference of
/// their log-probabilities is the same number. `rises` says whether every larger multiplier gives a
/// larger one. As many questions are taken with either letter as the matching one.
#[derive(clap::Args)]
#[command(
    override_usage = "saescope vector evaluate [OPTIONS] --questions <FILE> [MODEL] <VECTOR>"
)]
#[command(after_help = "\
Examples:
  saescope vector evaluate tests/data/stories260K tests/data/caa/refusal.safetensors \\
      --questions tests/data/caa/refusal.json
  saescope vector evaluate tests/data/stories260K tests/data/caa/refusal.safetensors \\
      --questions tests/data/caa/refusal.json --site resid_post.3 --multipliers=-8,0,8 \\
      --limit 6 --plot refusal.svg --json
  saescope vector evaluate tests/data/stories260K tests/data/caa/refusal.safetensors \\
      --questions tests/data/caa/refusal.json --held-out
")]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A vector: safetensors, or a control vector as GGUF
    #[arg(value_name = "VECTOR")]
    vector: Option<PathBuf>,
    /// A JSON list of {question, answer_matching_behavior, answer_not_matching_behavior}
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    #[command(flatten)]
    how: QuestionArgs,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// A site of the vector [default: all]. May be given several times
    #[arg(long, value_name = "SITE")]
    site: Vec<Site>,
    /// What the direction is multiplied with, several separated by commas
    #[arg(
        long,
        value_name = "M,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    #[arg(default_value = "-2,-1,0,1,2", value_parser = finite)]
    multipliers: Vec<f32>,
    /// Choose the best site on every other question, and report on the rest
    #[arg(long)]
    held_out: bool,
    /// At which tokens it is added: those behind the question, as CAA does, or all
    #[arg(long, value_enum, default_value_t = PositionsArg::Answer)]
    positions: PositionsArg,
    /// Draw the result to this SVG file: over the multipliers for one site, else over the layers
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum PositionsArg {
    Answer,
    All,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    dtype: &'a str,
    bos: &'a str,
    vector: String,
    questions: String,
    n_questions: usize,
    balanced: bool,
    seed: Option<u64>,
    prompt: Style,
    positions: Positions,
    #[serde(skip_serializing_if = "<[Edit]>::is_empty")]
    edits: &'a [Edit],
    outcomes: &'a [Outcome],
    /// Sites at which every larger multiplier gives a larger difference.
    rises: Vec<Site>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<Choice>,
}

/// The site that did best on other questions than those that are reported.
#[derive(Serialize)]
struct Choice {
    site: Site,
    /// How many questions chose it.
    n_questions: usize,
    /// What came out on them, at every site.
    outcomes: Vec<Outcome>,
}

pub(super) fn run(mut args: Args) -> anyhow::Result<()> {
    let path = last_of(&mut args.model.model.model, args.vector.take(), "vector");
    if let Some(plot) = &args.plot {
        check_output(plot)?;
    }
    let vector = Vector::open(&path)?;
    vector.check_sites(&args.site)?;
    let questions = args.draw.questions(&args.questions, &args.how)?;
    let opened = args.model.open()?;
    let chosen = |site: &Site| args.site.is_empty() || args.site.contains(site);
    let sites: Vec<Site> = vector.directions.keys().copied().filter(chosen).collect();
    let edits = args.edits.open(&opened)?;
    let try_on =
        |questions: &[Question]| args.try_on(questions, (&opened, &edits), &vector, &sites);
    let (reported, choice) = match args.held_out {
        false => (questions, None),
        true => {
            let [choosing, reported] = halves(questions);
            let outcomes = try_on(&choosing)?;
            let site =
                best_site(&outcomes).context("the vector has no direction to choose from")?;
            let n_questions = choosing.len();
            let choice = Choice {
                site,
                n_questions,
                outcomes,
            };
            (reported, Some(choice))
        }
    };
    let outcomes = try_on(&reported)?;
    if let Some(plot) = &args.plot {
        args.draw_plot(plot, reported.len(), &outcomes)?;
    }
    if !args.json {
        return args.print(&sites, reported.len(), &outcomes, choice.as_ref());
    }
    let rises = sites.iter().copied().filter(|&site| rises(&outcomes, site));
    print::json(&Report {
        model: args.model.reference(),
        dtype: args.model.dtype().name(),
        bos: args.model.bos_name(),
        vector: file_name(&path),
        questions: file_name(&args.questions),
        n_questions: reported.len(),
        balanced: !args.how.unbalanced,
        seed: args.draw.seed(!args.how.unbalanced),
        prompt: args.how.style(&opened.tokenizer),
        positions: args.positions(),
        edits: &edits.edits,
        outcomes: &outcomes,
        rises: rises.collect(),
        chosen: choice,
    })
}

impl Args {
    fn positions(&self) -> Positions {
        match self.positions {
            PositionsArg::Answer => Positions::Answer,
            PositionsArg::All => Positions::All,
        }
    }

    /// What the vector does at each site to the answers to `questions`.
    fn try_on(
        &self,
        questions: &[Question],
        (opened, edits): (&LanguageModel, &Edits),
        vector: &Vector,
        sites: &[Site],
    ) -> anyhow::Result<Vec<Outcome>> {
        let style = self.how.style(&opened.tokenizer);
        let trial = Trial {
            pairs: &pairs(questions, style, (&self.model, opened))?,
            sites,
            multipliers: &self.multipliers,
            positions: self.positions(),
        };
        let mut hook = edits.hook()?;
        let bar = progress(questions.len());
        let mut done = |n: usize| bar.inc(n as u64);
        let outcomes = evaluate(&opened.model, vector, &trial, &mut hook, &mut done);
        bar.finish_and_clear();
        Ok(outcomes?)
    }

    fn draw_plot(&self, path: &Path, questions: usize, outcomes: &[Outcome]) -> anyhow::Result<()> {
        let title = format!(
            "{}: {questions} questions of {}",
            end(Path::new(self.model.reference()), 1),
            end(&self.questions, 2)
        );
        let svg = chart(&title, outcomes).to_svg();
        Ok(save_whole(path, |file| file.write_all(svg.as_bytes()))?)
    }

    fn print(
        &self,
        sites: &[Site],
        questions: usize,
        outcomes: &[Outcome],
        choice: Option<&Choice>,
    ) -> anyhow::Result<()> {
        let mut out = print::styled_stdout();
        let place = match self.positions {
            PositionsArg::Answer => "behind the question",
            PositionsArg::All => "at every token",
        };
        writeln!(
            out,
            "logit of the matching letter minus the other, mean of {questions} questions; added \
             {place}\n"
        )?;
        self.table(sites, outcomes)
            .write(&mut out, print::terminal_width())?;
        if let Some(Choice {
            site, n_questions, ..
        }) = choice
        {
            writeln!(out, "\nbest on the other {n_questions} questions: {site}")?;
        }
        Ok(())
    }

    fn table(&self, sites: &[Site], outcomes: &[Outcome]) -> Table {
        let mut columns = vec![Align::Left];
        columns.extend(self.multipliers.iter().map(|_| Align::Right));
        columns.push(Align::Left);
        let mut table = Table::new(columns);
        let names = self.multipliers.iter().map(|m| format!("x {m}"));
        let site = std::iter::once("site".to_owned());
        table.header(site.chain(names).chain(["rises".to_owned()]));
        for &site in sites {
            let of_site = outcomes.iter().filter(|outcome| outcome.site == site);
            let mut row = vec![site.to_string().into()];
            row.extend(of_site.map(|outcome| format!("{:+.3}", outcome.logit_difference).into()));
            row.push(if rises(outcomes, site) { "yes" } else { "no" }.into());
            table.row(row);
        }
        table
    }
}

/// The last parts of a path, as many as a title has room for.
fn end(path: &Path, parts: usize) -> String {
    let all: Vec<_> = path.iter().collect();
    let last: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    last.display().to_string()
}
