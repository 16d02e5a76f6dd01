//! `saescope contrast`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::features::{self, FeatureContrast, Position, PromptSets, Rank, Reading};
use saescope::origin::Origin;
use saescope::pooling::Pooling;
use saescope::show::number::whole_percent;
use saescope::tokenizer::Text;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::pooling::FirstArg;
use crate::args::sae::{SaeArgs, encode, lines, slices};
use crate::args::value::one_of;
use crate::print::{self, Align, Table};

/// Show which features separate two sets of texts
///
/// Each text counts once, by its last token or with its tokens pooled. The AUROC is the probability that
/// a random positive text activates the feature more than a random negative one: 1 and 0 separate the
/// sets, 0.5 does not.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope contrast tests/data/sae --positive tests/data/happy.txt --negative tests/data/sad.txt
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    /// A file with one text per line
    #[arg(long, value_name = "FILE")]
    positive: PathBuf,
    /// A file of texts to compare with, one per line
    #[arg(long, value_name = "FILE")]
    negative: PathBuf,
    #[command(flatten)]
    edits: EditsArgs,
    /// The measure that ranks the features: the further from 0.5, or from 0, the earlier
    #[arg(long, default_value_t, value_parser = one_of::<Rank>(Rank::ALL.map(Rank::name)))]
    by: Rank,
    /// The row of a text: that of its `last` token, or each feature's `max` or `mean` over its tokens
    #[arg(long, value_name = "HOW", default_value_t)]
    pooling: Pooling,
    #[command(flatten)]
    first: FirstArg,
    /// Number of features to show
    #[arg(long, value_name = "K", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct ContrastReport<'a> {
    #[serde(flatten)]
    origin: Origin,
    by: Rank,
    pooling: Pooling,
    first: bool,
    positive: TextSet<'a>,
    negative: TextSet<'a>,
    /// Number of features that are active on some text.
    active: usize,
    features: &'a [FeatureContrast],
}

#[derive(Serialize)]
struct TextSet<'a> {
    file: &'a PathBuf,
    texts: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (positive, negative) = (
        lines("--positive", &args.positive)?,
        lines("--negative", &args.negative)?,
    );
    let opened = args.sae.open()?;
    let both: Vec<Text> = [positive.as_slice(), &negative]
        .concat()
        .into_iter()
        .map(Text::from)
        .collect();
    let encoded = encode(&opened.lm, Some(&opened.sae), &both)?;
    let ids = slices(&encoded.ids);
    let (positive_ids, negative_ids) = ids.split_at(positive.len());
    let sets = PromptSets {
        positive: positive_ids,
        negative: negative_ids,
    };
    let (model, sae) = (&opened.lm.model, &opened.sae.sae);
    let reading = Reading {
        position: Position::Pooled(args.pooling),
        count_first: args.first.counts(args.pooling.omits_first())?,
    };
    let edits = args.edits.open(&opened.lm)?;
    print::warnings(edits.check_read_at(model, sae.site()?).as_ref());
    let all = features::contrast(model, sae, sets, reading, args.by, &mut edits.hook()?)?;
    let report = ContrastReport {
        origin: Origin {
            edits: edits.edits,
            ..opened.origin.clone()
        },
        by: args.by,
        pooling: args.pooling,
        first: reading.count_first,
        positive: TextSet {
            file: &args.positive,
            texts: positive.len(),
        },
        negative: TextSet {
            file: &args.negative,
            texts: negative.len(),
        },
        active: all.len(),
        features: &all[..all.len().min(args.top as usize)],
    };
    if args.json {
        return print::json(&report);
    }
    print(&report)
}

fn print(report: &ContrastReport) -> anyhow::Result<()> {
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
    for feature in report.features {
        let cells = [
            feature.feature.to_string(),
            format!("{:.3}", feature.auroc),
            format!("{:+.3}", feature.difference),
            format!("{:.3}", feature.mean_positive),
            format!("{:.3}", feature.mean_negative),
            whole_percent(feature.fires_positive),
            whole_percent(feature.fires_negative),
        ];
        table.row(cells.into_iter().map(Into::into).collect());
    }
    let tokens = match report.pooling {
        Pooling::Last => "last token".to_owned(),
        pooling => format!("{pooling} over tokens"),
    };
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(
        out,
        "{} positive and {} negative texts, {tokens}, {} features active",
        report.positive.texts, report.negative.texts, report.active
    )?;
    Ok(())
}
