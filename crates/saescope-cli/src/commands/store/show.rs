//! `saescope store show`

use std::io::Write;

use saescope::show::number::percent;
use saescope_store::{ContextToken, Example, FeatureReport, ReportOptions, RoleToken, Window};

use super::StoreArg;
use crate::args::store;
use crate::print::{self, Align, Cell, Table, Terminal, cut, visible};

/// Show the evidence of a feature: how often it fires, on what, and what it does
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope store show store.db 93
  saescope store show store.db 93 --top 50 --window 8 --json
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArg,
    /// The feature, from 0
    #[arg(value_name = "FEATURE")]
    feature: u32,
    /// Number of the strongest examples
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: u32,
    /// Number of random examples of each other group
    #[arg(long, value_name = "K", default_value_t = 3)]
    per_group: u32,
    /// Tokens to show before an example; half as many are shown after it
    #[arg(long, value_name = "N", default_value_t = 24)]
    window: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let store = store::open(args.store.path())?;
    let options = ReportOptions {
        top: args.top as usize,
        per_group: args.per_group as usize,
        window: Window {
            before: args.window,
            after: args.window.div_ceil(2),
        },
        ..ReportOptions::default()
    };
    let report = store.feature(args.feature, &options)?;
    if args.json {
        return print::json(&report);
    }
    print(&report, &mut print::styled_stdout())
}

/// Columns to which a token is cut.
const PIECE_WIDTH: usize = 16;

fn print(report: &FeatureReport, out: &mut Terminal<impl Write>) -> anyhow::Result<()> {
    write!(out, "feature {}", report.feature)?;
    if let Some(label) = &report.label {
        write!(out, "  {}", label.label)?;
        if let Some(note) = &label.note {
            write!(out, " ({note})")?;
        }
    }
    writeln!(out)?;
    if report.count == 0 {
        writeln!(
            out,
            "it fires on none of the {} tokens that count",
            report.tokens
        )?;
    } else {
        let median = report.quantiles.iter().find(|(q, _)| *q == 0.5);
        writeln!(
            out,
            "fires on {} of {} tokens ({}): mean {:.3}, median {:.3}, largest {:.3}",
            report.count,
            report.tokens,
            percent(report.density),
            report.mean,
            median.map_or(0.0, |(_, value)| *value),
            report.max
        )?;
    }
    if report.left_out.count > 0 {
        let left_out = &report.left_out;
        writeln!(
            out,
            "left out: {} firings at beginnings of texts and extreme norms, largest {:.3}",
            left_out.count, left_out.max
        )?;
    }
    writeln!(out)?;
    tokens(report).write(out, None)?;
    if !report.classes.is_empty() {
        writeln!(out)?;
        classes(report).write(out, None)?;
    }
    examples(out, "strongest", &report.top, report.max)?;
    for group in &report.intervals {
        if group.examples.is_empty() {
            continue;
        }
        let title = format!(
            "{:.2} to {:.2} ({} of its activations)",
            group.from,
            group.to,
            percent(group.contains)
        );
        examples(out, &title, &group.examples, report.max)?;
    }
    examples(out, "does not fire", &report.silent, report.max)
}

/// Lists of tokens and features, side by side.
fn tokens(report: &FeatureReport) -> Table {
    let mut table = Table::new(vec![
        Align::Left,
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
    ]);
    table.header([
        "fires on",
        "share",
        "promotes",
        "logit",
        "suppresses",
        "logit",
        "nearest",
        "cosine",
    ]);
    let context = |token: Option<&ContextToken>| -> [Cell; 2] {
        token.map_or_else(Default::default, |token| {
            let piece = cut(&visible(&token.piece), PIECE_WIDTH);
            [piece.into(), percent(token.recall).into()]
        })
    };
    let role = |token: Option<&RoleToken>| -> [Cell; 2] {
        token.map_or_else(Default::default, |token| {
            let piece = cut(&visible(&token.piece), PIECE_WIDTH);
            [piece.into(), format!("{:+.3}", token.effect).into()]
        })
    };
    let lists = [
        report.contexts.here.len(),
        report.promoted.len(),
        report.suppressed.len(),
        report.nearest.len(),
    ];
    for at in 0..lists.into_iter().max().unwrap_or(0) {
        let near = report.nearest.get(at);
        let near: [Cell; 2] = near.map_or_else(Default::default, |near| {
            [
                near.feature.to_string().into(),
                format!("{:.3}", near.cosine).into(),
            ]
        });
        let cells = [
            context(report.contexts.here.get(at)),
            role(report.promoted.get(at)),
            role(report.suppressed.get(at)),
            near,
        ];
        table.row(cells.into_iter().flatten().collect());
    }
    table
}

fn classes(report: &FeatureReport) -> Table {
    let mut table = Table::new(vec![
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ]);
    table.header([
        "class",
        "texts",
        "AUROC",
        "mean",
        "mean of others",
        "fires on",
    ]);
    for class in &report.classes {
        table.row(vec![
            class.class.as_str().into(),
            class.texts.to_string().into(),
            format!("{:.3}", class.auroc).into(),
            format!("{:.3}", class.mean).into(),
            format!("{:.3}", class.mean_rest).into(),
            percent(class.fires).into(),
        ]);
    }
    table
}

fn examples(
    out: &mut Terminal<impl Write>,
    title: &str,
    examples: &[Example],
    strongest: f32,
) -> anyhow::Result<()> {
    if examples.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    for example in examples {
        write!(out, "{:>7.3}  ", example.activation)?;
        for (text, activations) in example.pieces() {
            out.painted(text, activations, strongest)?;
        }
        if example.folded > 0 {
            write!(out, "  (and {} alike)", example.folded)?;
        }
        let labels = match example.labels.as_slice() {
            [] => String::new(),
            labels => format!(", {}", labels.join(" ")),
        };
        writeln!(out, "  [{} {}{labels}]", example.source, example.number)?;
    }
    Ok(())
}
