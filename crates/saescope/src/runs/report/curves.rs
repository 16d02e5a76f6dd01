//! What training said over its steps, as charts.

use super::chart::{self, Series};
use super::page::Chart;
use crate::runs::line::Line;

/// The decade at which the second bin of the density histogram begins, and how many there are in each.
const FIRST_DECADE: f64 = -6.0;
const BINS_PER_DECADE: f64 = 2.0;

/// What a line says of something.
type Read = fn(&Line) -> f64;

/// Charts over steps: a heading, and the name of each curve in it.
const CURVES: [(&str, &[(&str, Read)]); 10] = [
    (
        "Explained variance",
        &[("", |line| line.metrics.explained_variance)],
    ),
    (
        "Active features of a token (L0)",
        &[("", |line| line.metrics.l0)],
    ),
    (
        "Features",
        &[
            ("dead", |line| line.metrics.dead as f64),
            ("dense", |line| line.metrics.dense as f64),
        ],
    ),
    (
        "Decoder: mean |cosine| of two rows",
        &[("", |line| line.metrics.off_diag_mean)],
    ),
    (
        "Decoder: largest |cosine|",
        &[("", |line| line.metrics.off_diag_max)],
    ),
    (
        "Norm of the gradient",
        &[("", |line| line.metrics.grad_norm)],
    ),
    ("Learning rate", &[("", |line| line.metrics.lr)]),
    ("Tokens a second", &[("", |line| line.metrics.tokens_per_s)]),
    (
        "Seconds between two lines",
        &[
            ("model", |line| line.metrics.seconds_model),
            ("buffer", |line| line.metrics.seconds_buffer),
            ("autoencoder", |line| line.metrics.seconds_train),
        ],
    ),
    (
        "Memory, MB",
        &[("", |line| line.memory_mb.unwrap_or(f64::NAN))],
    ),
];

pub(super) fn charts(lines: &[Line]) -> Vec<Chart> {
    let mut charts = vec![losses(lines)];
    let curves = CURVES.iter();
    charts.extend(curves.map(|(title, named)| over_steps(title, lines, named)));
    charts.extend(lines.last().map(densities));
    charts
}

fn over_steps(title: &str, lines: &[Line], named: &[(&str, Read)]) -> Chart {
    let series: Vec<Series> = named
        .iter()
        .map(|(name, read)| Series {
            name: (*name).to_owned(),
            points: lines
                .iter()
                .map(|line| (line.metrics.step as f64, read(line)))
                .collect(),
        })
        .collect();
    Chart {
        title: title.to_owned(),
        svg: chart::lines("step", &series),
        names: series
            .into_iter()
            .map(|series| series.name)
            .filter(|name| !name.is_empty())
            .collect(),
    }
}

/// The loss with those of its parts that are there.
fn losses(lines: &[Line]) -> Chart {
    let parts: [(&str, Read); 3] = [
        ("reconstruction", |line| line.metrics.loss_reconstruction),
        ("sparsity", |line| line.metrics.loss_sparsity),
        ("dead features or gate", |line| line.metrics.loss_aux),
    ];
    let is_there = |(_, read): &(&str, Read)| lines.iter().any(|line| read(line) != 0.0);
    let parts: Vec<(&str, Read)> = parts.into_iter().filter(is_there).collect();
    let all: Read = |line| line.metrics.loss;
    match parts.as_slice() {
        [] | [_] => over_steps("Loss: the error of the reconstruction", lines, &[("", all)]),
        parts => over_steps("Loss", lines, &[&[("all", all)], parts].concat()),
    }
}

fn densities(last: &Line) -> Chart {
    let bars = last.metrics.density_histogram.iter().enumerate();
    let bars: Vec<(String, f64)> = bars
        .map(|(bin, count)| {
            let name = match bin {
                0 => "less".to_owned(),
                bin => {
                    let from = FIRST_DECADE + (bin - 1) as f64 / BINS_PER_DECADE;
                    chart::short(10f64.powf(from))
                }
            };
            (name, *count as f64)
        })
        .collect();
    Chart {
        title: "Features by their density, at the end".to_owned(),
        names: Vec::new(),
        svg: chart::bars("share of the tokens on which a feature is active", &bars),
    }
}
