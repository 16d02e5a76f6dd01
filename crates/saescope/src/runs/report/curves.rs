//! The metrics of a run over its steps, as charts.

use super::page::Figure;
use crate::runs::line::MetricsLine;
use crate::show::chart::{Chart, Series, bars_for_page};
use crate::show::number::short;

/// The decade at which the second bin of the density histogram begins, and the number of bins in each.
const FIRST_DECADE: f64 = -6.0;
const BINS_PER_DECADE: f64 = 2.0;

/// Reads one number of a line.
type Read = fn(&MetricsLine) -> f64;

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

pub(super) fn charts(lines: &[MetricsLine]) -> Vec<Figure> {
    let mut charts = vec![losses(lines)];
    let curves = CURVES.iter();
    charts.extend(curves.map(|(title, named)| over_steps(title, lines, named)));
    charts.extend(lines.last().map(densities));
    charts
}

fn over_steps(title: &str, lines: &[MetricsLine], named: &[(&str, Read)]) -> Figure {
    let series = named.iter().map(|(name, read)| {
        let points = lines.iter();
        let points = points.map(|line| (line.metrics.step as f64, read(line)));
        Series::new((*name).to_owned(), points.collect())
    });
    Figure::of(&Chart {
        title: title.to_owned(),
        x: "step".to_owned(),
        y: String::new(),
        series: series.collect(),
    })
}

/// The loss, and its parts that are not zero throughout.
fn losses(lines: &[MetricsLine]) -> Figure {
    let parts: [(&str, Read); 3] = [
        ("reconstruction", |line| line.metrics.loss_reconstruction),
        ("sparsity", |line| line.metrics.loss_sparsity),
        ("dead features or gate", |line| line.metrics.loss_aux),
    ];
    let is_used = |(_, read): &(&str, Read)| lines.iter().any(|line| read(line) != 0.0);
    let parts: Vec<(&str, Read)> = parts.into_iter().filter(is_used).collect();
    let all: Read = |line| line.metrics.loss;
    match parts.as_slice() {
        [] | [_] => over_steps("Loss: the error of the reconstruction", lines, &[("", all)]),
        parts => over_steps("Loss", lines, &[&[("all", all)], parts].concat()),
    }
}

fn densities(last: &MetricsLine) -> Figure {
    let bars = last.metrics.density_histogram.iter().enumerate();
    let bars: Vec<(String, f64)> = bars
        .map(|(bin, count)| {
            let name = match bin {
                0 => "less".to_owned(),
                bin => {
                    let from = FIRST_DECADE + (bin - 1) as f64 / BINS_PER_DECADE;
                    short(10f64.powf(from))
                }
            };
            (name, *count as f64)
        })
        .collect();
    Figure {
        title: "Features by their density, at the end".to_owned(),
        names: Vec::new(),
        svg: bars_for_page("share of the tokens on which a feature is active", &bars),
    }
}
