//! `saescope vector evaluate`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::checkpoint::save_whole;
use saescope::site::Site;
use saescope::vector::Vector;
use saescope::vector::evaluate::{Outcome, Positions, Trial, chart, evaluate, rises};
use saescope::vector::question::Style;
use serde::Serialize;

use super::{DrawArgs, StyleArgs, VectorArg, file_name, pairs, progress};
use crate::capture::check_output;
use crate::open::ModelArgs;
use crate::output::{self, Align, Table};

/// Measure how far a vector moves the answers to questions, per site and multiplier
///
/// Each site is tried alone. The measure is the logit of the letter whose answer shows the behaviour
/// minus that of the other, where the letter comes, as a mean over the questions; the difference of
/// their log-probabilities is the same number. `rises` says whether every larger multiplier gives a
/// larger one.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector evaluate tests/data/stories260K tests/data/caa/refusal.safetensors \\
      --questions tests/data/caa/refusal.json
  saescope vector evaluate tests/data/stories260K tests/data/caa/refusal.safetensors \\
      --questions tests/data/caa/refusal.json --site resid_post.3 --multipliers=-8,0,8 \\
      --limit 5 --plot refusal.svg --json
")]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    file: VectorArg,
    /// A JSON list of {question, answer_matching_behavior, answer_not_matching_behavior}
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    #[command(flatten)]
    style: StyleArgs,
    #[command(flatten)]
    draw: DrawArgs,
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
    seed: Option<u64>,
    prompt: Style,
    positions: Positions,
    outcomes: &'a [Outcome],
    /// Sites at which every larger multiplier gives a larger difference.
    rises: Vec<Site>,
}

fn finite(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.trim().parse().ok();
    let finite = number.filter(|number| number.is_finite());
    finite.ok_or_else(|| "expected a finite number".to_owned())
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        check_output(path)?;
    }
    let vector = Vector::open(&args.file.vector)?;
    vector.check_sites(&args.site)?;
    let opened = args.model.open()?;
    let style = args.style.of(&opened.tokenizer);
    let pairs = pairs(&args.questions, &args.draw, style, (&args.model, &opened))?;
    let sites: Vec<Site> = vector.directions.keys().copied().collect();
    let chosen = |site: &Site| args.site.is_empty() || args.site.contains(site);
    let sites: Vec<Site> = sites.into_iter().filter(chosen).collect();
    let trial = Trial {
        pairs: &pairs,
        sites: &sites,
        multipliers: &args.multipliers,
        positions: match args.positions {
            PositionsArg::Answer => Positions::Answer,
            PositionsArg::All => Positions::All,
        },
    };
    let bar = progress(pairs.len());
    let outcomes = evaluate(&opened.model, &vector, &trial, &mut |n| bar.inc(n as u64));
    bar.finish_and_clear();
    let outcomes = outcomes?;
    if let Some(path) = &args.plot {
        let title = format!(
            "{}: {} questions of {}",
            end(Path::new(args.model.reference()), 1),
            pairs.len(),
            end(&args.questions, 2)
        );
        let svg = chart(&title, &outcomes).to_svg();
        save_whole(path, |file| file.write_all(svg.as_bytes()))?;
    }
    if args.json {
        let rises = sites.iter().copied().filter(|&site| rises(&outcomes, site));
        return output::json(&Report {
            model: args.model.reference(),
            dtype: args.model.dtype().name(),
            bos: args.model.bos_name(),
            vector: file_name(&args.file.vector),
            questions: file_name(&args.questions),
            n_questions: pairs.len(),
            seed: args.draw.seed(),
            prompt: style,
            positions: trial.positions,
            outcomes: &outcomes,
            rises: rises.collect(),
        });
    }
    print(&trial, &outcomes)
}

/// The last parts of a path, as many as a title has room for.
fn end(path: &Path, parts: usize) -> String {
    let all: Vec<_> = path.iter().collect();
    let last: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    last.display().to_string()
}

fn print(trial: &Trial, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut out = output::styled_stdout();
    let count = trial.pairs.len();
    let place = match trial.positions {
        Positions::Answer => "behind the question",
        Positions::All => "at every token",
    };
    writeln!(
        out,
        "logit of the matching letter minus the other, mean of {count} questions; added {place}\n"
    )?;
    let mut columns = vec![Align::Left];
    columns.extend(trial.multipliers.iter().map(|_| Align::Right));
    columns.push(Align::Left);
    let mut table = Table::new(columns);
    let names = trial.multipliers.iter().map(|m| format!("x {m}"));
    let site = std::iter::once("site".to_owned());
    table.header(site.chain(names).chain(["rises".to_owned()]));
    for &site in trial.sites {
        let of_site = outcomes.iter().filter(|outcome| outcome.site == site);
        let mut row = vec![site.to_string().into()];
        row.extend(of_site.map(|outcome| format!("{:+.3}", outcome.logit_difference).into()));
        row.push(if rises(outcomes, site) { "yes" } else { "no" }.into());
        table.row(row);
    }
    table.write(&mut out, output::terminal_width())?;
    Ok(())
}
