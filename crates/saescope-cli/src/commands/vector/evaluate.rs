//! `saescope vector evaluate`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saescope::origin::Origin;
use saescope::site::Site;
use saescope::vector::Vector;
use saescope::vector::evaluate::{
    ChosenSite, Evaluation, Outcome, Positions, Trial, chart, evaluate,
};
use saescope::vector::question::{Question, Style, halves};
use serde::Serialize;

use super::{DrawArgs, QuestionArgs, file_name, only, pairs, progress};
use crate::args::edits::EditsArgs;
use crate::args::model::{ModelArgs, finite, last_of};
use crate::args::output::{Written, check_output, save_svg};
use crate::args::value::one_of;
use crate::print::{self, Align, Table};
use saescope::session::Edits;
use saescope::session::LanguageModel;

/// Measure how far a vector moves the answers to questions, per site and multiplier
///
/// Each site is tried alone. The measure is the logit of the letter whose answer shows the behaviour
/// minus that of the other, at the position of the letter, as a mean over the questions; the difference
/// of their log-probabilities is the same number. `rises` is `yes` if every larger multiplier gives a
/// larger number. By default the questions are balanced: as many match with either letter.
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
    /// A JSON list or JSON Lines of {question, answer_matching_behavior, answer_not_matching_behavior}
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    #[command(flatten)]
    format: QuestionArgs,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// A site of the vector [default: all]. May be given several times
    #[arg(long, value_name = "SITE")]
    site: Vec<Site>,
    /// Multipliers of the direction, separated by commas
    #[arg(
        long,
        value_name = "M,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    #[arg(default_value = "-2,-1,0,1,2", value_parser = finite)]
    multipliers: Vec<f32>,
    /// Choose the best site on every other question, and report the rest
    #[arg(long)]
    held_out: bool,
    /// Tokens to which it is added: those after the question, as in CAA, or all, the first included
    #[arg(long, value_parser = one_of::<Positions>(Positions::ALL.map(Positions::name)), default_value_t)]
    positions: Positions,
    /// Draw the result to this SVG file: over the multipliers for one site, else over the layers
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The JSON of a call.
#[derive(Serialize)]
struct EvaluationReport<'a> {
    #[serde(flatten)]
    origin: Origin,
    vector: String,
    questions: String,
    n_questions: usize,
    balanced: bool,
    prompt: Style,
    positions: Positions,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

/// A vector on an opened model, at the sites to try.
struct Subject<'a> {
    opened: &'a LanguageModel,
    edits: &'a Edits,
    vector: &'a Vector,
    sites: &'a [Site],
}

pub(super) fn run(mut args: Args) -> anyhow::Result<()> {
    let path = last_of(&mut args.model.model.model, args.vector.take(), "vector");
    if let Some(plot) = &args.plot {
        check_output(plot, Written::Svg)?;
    }
    let questions = args.draw.questions(&args.questions, &args.format)?;
    let opened = args.model.open()?;
    let n_layers = opened.model.config().n_layers();
    let vector = Vector::open_at(&path, only(&args.site), Some(n_layers))?;
    vector.check_sites(&args.site)?;
    vector
        .check(&opened.model)
        .with_context(|| path.display().to_string())?;
    let wanted = |site: &Site| args.site.is_empty() || args.site.contains(site);
    let sites: Vec<Site> = vector.directions.keys().copied().filter(wanted).collect();
    let edits = args.edits.open(&opened)?;
    let subject = Subject {
        opened: &opened,
        edits: &edits,
        vector: &vector,
        sites: &sites,
    };
    let (reported, chosen) = if args.held_out {
        let [choosing, reported] = halves(questions);
        let outcomes = args.outcomes(&choosing, &subject)?;
        (reported, Some(ChosenSite::of(outcomes, choosing.len())?))
    } else {
        (questions, None)
    };
    let outcomes = args.outcomes(&reported, &subject)?;
    let evaluation = Evaluation::new(&sites, outcomes, chosen);
    if let Some(plot) = &args.plot {
        args.draw_plot(plot, reported.len(), &evaluation.outcomes)?;
    }
    if !args.json {
        return args.print(&sites, reported.len(), &evaluation);
    }
    print::json(&EvaluationReport {
        origin: Origin {
            edits: edits.edits.clone(),
            seed: args.draw.seed(!args.format.unbalanced),
            ..opened.origin()
        },
        vector: file_name(&path),
        questions: file_name(&args.questions),
        n_questions: reported.len(),
        balanced: !args.format.unbalanced,
        prompt: args.format.style(&opened.tokenizer),
        positions: args.positions,
        evaluation: &evaluation,
    })
}

impl Args {
    /// Outcomes at each site on `questions`.
    fn outcomes(&self, questions: &[Question], subject: &Subject) -> anyhow::Result<Vec<Outcome>> {
        let tokenizer = &subject.opened.tokenizer;
        let style = self.format.style(tokenizer);
        let trial = Trial {
            pairs: &pairs(questions, style, tokenizer, self.model.bos())?,
            sites: subject.sites,
            multipliers: &self.multipliers,
            positions: self.positions,
        };
        let mut hook = subject.edits.hook()?;
        let bar = progress(questions.len());
        let mut done = |n: usize| bar.inc(n as u64);
        let model = &subject.opened.model;
        let outcomes = evaluate(model, subject.vector, &trial, &mut hook, &mut done);
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
        save_svg(path, &svg, self.json)
    }

    fn print(
        &self,
        sites: &[Site],
        questions: usize,
        evaluation: &Evaluation,
    ) -> anyhow::Result<()> {
        let mut out = print::styled_stdout();
        let place = match self.positions {
            Positions::Answer => "after the question",
            Positions::All => "at every token",
        };
        writeln!(
            out,
            "logit of the matching letter minus the other, mean of {questions} questions; added \
             {place}\n"
        )?;
        self.table(sites, evaluation)
            .write(&mut out, print::terminal_width())?;
        if let Some(chosen) = &evaluation.chosen {
            let ChosenSite {
                site, n_questions, ..
            } = chosen;
            writeln!(out, "\nbest on the other {n_questions} questions: {site}")?;
        }
        Ok(())
    }

    fn table(&self, sites: &[Site], evaluation: &Evaluation) -> Table {
        let mut columns = vec![Align::Left];
        columns.extend(self.multipliers.iter().map(|_| Align::Right));
        columns.push(Align::Left);
        let mut table = Table::new(columns);
        let names = self.multipliers.iter().map(|m| format!("x {m}"));
        let site = std::iter::once("site".to_owned());
        table.header(site.chain(names).chain(["rises".to_owned()]));
        for &site in sites {
            let outcomes = evaluation.outcomes.iter();
            let of_site = outcomes.filter(|outcome| outcome.site == site);
            let mut row = vec![site.to_string().into()];
            row.extend(of_site.map(|outcome| format!("{:+.3}", outcome.logit_difference).into()));
            let rises = evaluation.rises.contains(&site);
            row.push(if rises { "yes" } else { "no" }.into());
            table.row(row);
        }
        table
    }
}

/// The last `parts` components of a path, short enough for a title.
fn end(path: &Path, parts: usize) -> String {
    let all: Vec<_> = path.iter().collect();
    let last: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    last.display().to_string()
}
