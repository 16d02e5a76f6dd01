//! `saescope contrast`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::edit::Edit;
use saescope::features::{self, Contrasted, Pooling, Position, Rank, Reading};
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::sae::{Origin, SaeArgs, encode, lines, slices};
use crate::print::{self, Align, Table};

/// Show which features tell two sets of texts apart
///
/// Each text counts once, its tokens pooled. The AUROC is the chance that a positive text activates
/// the feature more than a negative one does: 1 and 0 tell the sets apart, 0.5 tells nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope contrast tests/data/sae --positive tests/data/happy.txt --negative tests/data/sad.txt
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    /// A file with a text on each line
    #[arg(long, value_name = "FILE")]
    positive: PathBuf,
    /// The same, of what is not like the positive texts
    #[arg(long, value_name = "FILE")]
    negative: PathBuf,
    #[command(flatten)]
    edits: EditsArgs,
    /// What features are ranked by: the further from 0.5, or from 0, the earlier
    #[arg(long, value_enum, default_value_t = By::Auroc)]
    by: By,
    /// How the tokens of a text become one: the `last`, or each feature's `max` or `mean`
    #[arg(long, value_name = "HOW", default_value_t)]
    pooling: Pooling,
    /// Count the first position in `max` and `mean` too; it is unlike all others, BOS or not
    #[arg(long)]
    first: bool,
    /// How many features
    #[arg(long, value_name = "K", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum By {
    Auroc,
    Difference,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    origin: &'a Origin,
    by: &'static str,
    pooling: String,
    first: bool,
    #[serde(skip_serializing_if = "<[Edit]>::is_empty")]
    edits: &'a [Edit],
    positive: Set<'a>,
    negative: Set<'a>,
    /// Features that are active on some text.
    active: usize,
    features: Vec<Feature>,
}

#[derive(Serialize)]
struct Set<'a> {
    file: &'a PathBuf,
    texts: usize,
}

#[derive(Serialize)]
struct Feature {
    feature: u32,
    auroc: f64,
    difference: f64,
    mean_positive: f64,
    mean_negative: f64,
    fires_positive: f64,
    fires_negative: f64,
}

impl From<&Contrasted> for Feature {
    fn from(c: &Contrasted) -> Feature {
        Feature {
            feature: c.feature,
            auroc: c.auroc,
            difference: c.difference,
            mean_positive: c.mean_positive,
            mean_negative: c.mean_negative,
            fires_positive: c.fires_positive,
            fires_negative: c.fires_negative,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (positive, negative) = (lines(&args.positive)?, lines(&args.negative)?);
    let opened = args.sae.open()?;
    let both = [positive.as_slice(), &negative].concat();
    let ids = encode(&opened.lm, Some(&opened.sae), &both)?;
    let (with, without) = ids.split_at(positive.len());
    let (rank, by) = match args.by {
        By::Auroc => (Rank::Auroc, "auroc"),
        By::Difference => (Rank::Difference, "difference"),
    };
    let (model, sae) = (&opened.lm.model, &opened.sae.sae);
    let sets = (slices(with), slices(without));
    let reading = Reading {
        position: Position::Pooled(args.pooling),
        count_first: args.first,
    };
    let edits = args.edits.open(&opened.lm)?;
    print::warnings(edits.check_read_at(model, sae.site()?).as_ref());
    let sets = (&sets.0[..], &sets.1[..]);
    let all = features::contrast(model, sae, sets, reading, rank, &mut edits.hook()?)?;
    let record = Record {
        origin: &opened.origin,
        by,
        pooling: args.pooling.to_string(),
        first: args.first,
        edits: &edits.edits,
        positive: Set {
            file: &args.positive,
            texts: positive.len(),
        },
        negative: Set {
            file: &args.negative,
            texts: negative.len(),
        },
        active: all.len(),
        features: all
            .iter()
            .take(args.top as usize)
            .map(Feature::from)
            .collect(),
    };
    if args.json {
        return print::json(&record);
    }
    print(&record)
}

fn print(record: &Record) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Right; 7]);
    table.header([
        "feature",
        "AUROC",
        "difference",
        "mean +",
        "mean -",
        "fires +",
        "fires -",
    ]);
    for feature in &record.features {
        let cells = [
            feature.feature.to_string(),
            format!("{:.3}", feature.auroc),
            format!("{:+.3}", feature.difference),
            format!("{:.3}", feature.mean_positive),
            format!("{:.3}", feature.mean_negative),
            format!("{:.0}%", feature.fires_positive * 100.0),
            format!("{:.0}%", feature.fires_negative * 100.0),
        ];
        table.row(cells.into_iter().map(Into::into).collect());
    }
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(
        out,
        "{} positive and {} negative texts, {} pooled over tokens, {} features active",
        record.positive.texts, record.negative.texts, record.pooling, record.active
    )?;
    Ok(())
}
