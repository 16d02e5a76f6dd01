//! An evaluation as a table and as charts.

use std::io::Write as _;

use saescope::eval::{EvalTexts, Evaluation, Quality};
use saescope::origin::Origin;
use saescope::show::chart::{Chart, Series, stack};
use saescope::show::number::{count_of, significant};

use crate::print::{self, Align, Cell, Table};

/// Largest number of autoencoders that have a column each; more have a row each.
const COLUMNS: usize = 4;

/// The name of a number of an evaluation, and its text.
type Number = (&'static str, fn(&Evaluation, &Quality) -> String);

/// The name of a number of the decoder, and its text.
type Direction = (&'static str, fn(&Evaluation) -> String);

/// The name of a choice of positions, and its numbers.
type Section = (&'static str, fn(&Evaluation) -> &Quality);

/// The numbers in the table for each choice of positions.
const NUMBERS: [Number; 20] = [
    ("tokens", |_, q| q.tokens.to_string()),
    ("L0", |_, q| format!("{:.1}", q.activity.l0)),
    ("explained variance", |_, q| {
        format!("{:.4}", q.reconstruction.explained_variance)
    }),
    ("MSE", |_, q| significant(q.reconstruction.mse)),
    ("cosine", |_, q| format!("{:.4}", q.reconstruction.cosine)),
    ("norm ratio", |_, q| {
        format!("{:.4}", q.reconstruction.norm_ratio)
    }),
    ("CE without SAE", |_, q| {
        format!("{:.4}", q.behaviour.ce_without_sae)
    }),
    ("CE with SAE", |_, q| {
        format!("{:.4}", q.behaviour.ce_with_sae)
    }),
    ("CE increase", |_, q| {
        format!("{:+.4}", q.behaviour.ce_increase)
    }),
    ("CE, zero ablation", |_, q| {
        format!("{:.4}", q.behaviour.ce_with_zero_ablation)
    }),
    ("CE, mean ablation", |_, q| {
        format!("{:.4}", q.behaviour.ce_with_mean_ablation)
    }),
    ("CE recovered", |_, q| share(q.behaviour.ce_recovered)),
    ("CE recovered, mean", |_, q| {
        share(q.behaviour.ce_recovered_from_mean)
    }),
    ("KL with SAE", |_, q| significant(q.behaviour.kl_with_sae)),
    ("KL, zero ablation", |_, q| {
        significant(q.behaviour.kl_with_zero_ablation)
    }),
    ("KL, mean ablation", |_, q| {
        significant(q.behaviour.kl_with_mean_ablation)
    }),
    ("KL score", |_, q| share(q.behaviour.kl_score)),
    ("features", |e, _| e.d_sae.to_string()),
    ("dead", |e, q| count_of(q.activity.dead, e.d_sae)),
    ("dense", |e, q| count_of(q.activity.dense, e.d_sae)),
];

/// The numbers of directions in the table.
const DIRECTIONS: [Direction; 5] = [
    ("site", place),
    ("mean |cosine|", |e| format!("{:.4}", e.decoder.mean)),
    ("largest |cosine|", |e| format!("{:.4}", e.decoder.max)),
    ("mean nearest", |e| format!("{:.4}", e.decoder.mean_nearest)),
    ("pairs compared", |e| {
        let sampled = if e.decoder.sampled { " (sample)" } else { "" };
        format!("{}{sampled}", e.decoder.pairs)
    }),
];

/// The numbers of a row, when every autoencoder has a row.
const IN_A_ROW: [&str; 8] = [
    "features",
    "L0",
    "explained variance",
    "CE increase",
    "CE recovered",
    "KL with SAE",
    "dead",
    "dense",
];

pub(super) fn table(
    names: &[String],
    origin: &Origin,
    texts: &EvalTexts,
    found: &[Evaluation],
) -> anyhow::Result<()> {
    let mut out = print::styled_stdout();
    let sequences = found.first().map_or(0, |found| found.sequences);
    writeln!(
        out,
        "{} ({}), {sequences} sequences of at most {} tokens; CE and KL in nats\n",
        origin.model, origin.dtype, texts.context
    )?;
    let shown = if found.len() > COLUMNS {
        rows(names, found)
    } else {
        columns(names, found)
    };
    shown.write(&mut out, print::terminal_width())?;
    Ok(())
}

/// The table with a column for each autoencoder.
fn columns(names: &[String], found: &[Evaluation]) -> Table {
    let mut sides = vec![Align::Left];
    sides.extend(found.iter().map(|_| Align::Right));
    let mut table = Table::new(sides);
    for (head, quality) in sections() {
        table.header(std::iter::once(head.to_owned()).chain(names.iter().cloned()));
        for (name, number) in NUMBERS {
            let values = found.iter().map(|e| number(e, quality(e)));
            table.row(row(name, values));
        }
        table.row(Vec::new());
    }
    table.header(["directions"]);
    for (name, value) in DIRECTIONS {
        table.row(row(name, found.iter().map(value)));
    }
    table
}

/// The table with a row for each autoencoder.
fn rows(names: &[String], found: &[Evaluation]) -> Table {
    let numbers = || NUMBERS.iter().filter(|(name, _)| IN_A_ROW.contains(name));
    let mut sides = vec![Align::Left, Align::Left];
    sides.extend(numbers().map(|_| Align::Right).chain([Align::Right]));
    let mut table = Table::new(sides);
    for (head, quality) in sections() {
        let heads = numbers().map(|(name, _)| *name);
        table.header(
            [head, "site"]
                .into_iter()
                .chain(heads)
                .chain(["mean |cosine|"]),
        );
        for (name, found) in names.iter().zip(found) {
            let values = numbers().map(|(_, number)| number(found, quality(found)));
            let cosine = format!("{:.4}", found.decoder.mean);
            table.row(row(
                name,
                [place(found)].into_iter().chain(values).chain([cosine]),
            ));
        }
        table.row(Vec::new());
    }
    table
}

/// The two choices of positions.
fn sections() -> [Section; 2] {
    [
        ("all positions", |e| &e.all),
        ("without first position", |e| &e.without_first),
    ]
}

fn row(name: &str, values: impl Iterator<Item = String>) -> Vec<Cell> {
    let name = std::iter::once(Cell::from(name));
    name.chain(values.map(Cell::from)).collect()
}

fn place(found: &Evaluation) -> String {
    if found.site == found.out_site {
        found.site.to_string()
    } else {
        format!("{} to {}", found.site, found.out_site)
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.4}"))
}

/// Charts of explained variance and of the increase of cross-entropy over L0, without first positions.
pub(super) fn plot(names: &[String], texts: &EvalTexts, found: &[Evaluation]) -> String {
    let chart = |y: &str, value: fn(&Quality) -> f64| {
        let series = names.iter().zip(found).map(|(name, found)| {
            let quality = &found.without_first;
            Series::new(name.clone(), vec![(quality.activity.l0, value(quality))])
        });
        Chart {
            title: format!("{y}, without first positions"),
            x: format!(
                "L0 ({} sequences of {} tokens)",
                found[0].sequences, texts.context
            ),
            y: y.to_owned(),
            series: series.collect(),
        }
    };
    stack(&[
        chart("explained variance", |q| {
            q.reconstruction.explained_variance
        }),
        chart("CE increase in nats", |q| q.behaviour.ce_increase),
    ])
}
