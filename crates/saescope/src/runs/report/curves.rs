//! What training said over its steps, as charts.

use super::Chart;
use super::chart::{self, Series};
use crate::runs::Line;

/// The decade at which the second bin of the density histogram begins, and how many there are in each.
const FIRST_DECADE: f64 = -6.0;
const BINS_PER_DECADE: f64 = 2.0;

pub(super) fn charts(lines: &[Line]) -> Vec<Chart> {
    let mut charts = vec![
        losses(lines),
        over_steps(
            "Explained variance",
            lines,
            &[("", |line| line.metrics.explained_variance)],
        ),
        over_steps(
            "Active features of a token (L0)",
            lines,
            &[("", |line| line.metrics.l0)],
        ),
        over_steps(
            "Features",
            lines,
            &[
                ("dead", |line| line.metrics.dead as f64),
                ("on more than a tenth of the tokens", |line| {
                    line.metrics.dense as f64
                }),
            ],
        ),
        over_steps(
            "Decoder: mean |cosine| of two rows",
            lines,
            &[("", |line| line.metrics.off_diag_mean)],
        ),
        over_steps(
            "Decoder: largest |cosine|",
            lines,
            &[("", |line| line.metrics.off_diag_max)],
        ),
        over_steps(
            "Norm of the gradient",
            lines,
            &[("", |line| line.metrics.grad_norm)],
        ),
        over_steps("Learning rate", lines, &[("", |line| line.metrics.lr)]),
        over_steps(
            "Tokens a second",
            lines,
            &[("", |line| line.metrics.tokens_per_s)],
        ),
    ];
    charts.extend(lines.last().map(densities));
    charts
}

type Read = fn(&Line) -> f64;

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
    let mut named: Vec<(&str, Read)> = vec![
        ("all", |line| line.metrics.loss),
        ("reconstruction", |line| line.metrics.loss_reconstruction),
    ];
    let parts: [(&str, Read); 2] = [
        ("sparsity", |line| line.metrics.loss_sparsity),
        ("dead features or gate", |line| line.metrics.loss_aux),
    ];
    named.extend(
        parts
            .into_iter()
            .filter(|(_, read)| lines.iter().any(|line| read(line) != 0.0)),
    );
    over_steps("Loss", lines, &named)
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
