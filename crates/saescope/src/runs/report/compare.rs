//! Several runs on one page: a table, and how quality goes with sparsity and size.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::chart::{self, Series, short};
use super::page::{CSS, Chart, kind, render};
use crate::error::Result;
use crate::runs::folder;
use crate::runs::saved::SavedRun;
use crate::runs::verdict::{Level, verdict};

/// A run's numbers as a comparison shows them; held-out ones where they were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its folder's name.
    pub name: String,
    /// What kind of autoencoder it is.
    pub kind: String,
    /// Number of features.
    pub d_sae: usize,
    /// Features for each component of what is read.
    pub expansion: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Explained variance.
    pub explained_variance: f64,
    /// What the model loses with the reconstruction in place, in nats a token.
    pub ce_increase: Option<f64>,
    /// The share of what zeros cost that comes back.
    pub ce_recovered: Option<f64>,
    /// Share of dead features.
    pub dead: f64,
    /// Mean |cosine| of two different decoder rows.
    pub off_diag_mean: f64,
    /// Its verdict.
    pub level: Level,
}

impl Compared {
    /// The numbers of a run; `None` where it logged no step.
    pub fn of(run: &SavedRun) -> Option<Compared> {
        let metrics = &run.lines.last()?.metrics;
        let measured = |key: &str| run.evaluation.as_ref().and_then(|found| found.get(key));
        let measured = |key: &str| measured(key).and_then(Value::as_f64);
        let (config, train) = (&run.config, &run.config.train);
        let name = run.folder().file_name().unwrap_or_default();
        let with = measured("ce_with_sae");
        Some(Compared {
            name: name.to_string_lossy().into_owned(),
            kind: kind(train),
            d_sae: train.d_sae,
            expansion: train.d_sae as f64 / config.d_in as f64,
            l0: measured("l0").unwrap_or(metrics.l0),
            explained_variance: measured("explained_variance")
                .unwrap_or(metrics.explained_variance),
            ce_increase: with.and_then(|with| Some(with - measured("ce_without_sae")?)),
            ce_recovered: measured("ce_recovered"),
            dead: metrics.dead as f64 / train.d_sae as f64,
            off_diag_mean: metrics.off_diag_mean,
            level: verdict(run).level,
        })
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: String,
    level: Level,
    values: Vec<String>,
}

#[derive(Serialize)]
struct Page {
    css: &'static str,
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    charts: Vec<Chart>,
}

/// Writes a comparison of runs beside their folders; returns its file.
///
/// # Errors
/// When it cannot be written.
pub fn write_comparison(folder: &Path, title: &str, runs: &[Compared]) -> Result<PathBuf> {
    let path = folder.join("comparison.json");
    folder::write_json(&path, &runs)?;
    let path = folder.join("comparison.html");
    folder::write(&path, &comparison_html(title, runs)?)?;
    Ok(path)
}

/// A comparison of runs as a page.
fn comparison_html(title: &str, runs: &[Compared]) -> Result<String> {
    let page = Page {
        css: CSS,
        title: title.to_owned(),
        columns: vec![
            "features",
            "L0",
            "explained",
            "CE rise",
            "recovered",
            "dead",
            "mean |cos|",
        ],
        rows: runs.iter().map(row).collect(),
        charts: charts(runs),
    };
    render("compare.html", include_str!("compare.html"), &page)
}

fn row(run: &Compared) -> Row {
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    Row {
        name: run.name.clone(),
        kind: run.kind.clone(),
        level: run.level,
        values: vec![
            run.d_sae.to_string(),
            format!("{:.1}", run.l0),
            format!("{:.4}", run.explained_variance),
            optional(run.ce_increase, 4),
            optional(run.ce_recovered, 4),
            format!("{:.1} %", run.dead * 100.0),
            format!("{:.4}", run.off_diag_mean),
        ],
    }
}

fn charts(runs: &[Compared]) -> Vec<Chart> {
    let explained = |run: &Compared| Some(run.explained_variance);
    let increase = |run: &Compared| run.ce_increase;
    let mut charts = vec![
        over_l0("Explained variance over L0", runs, explained),
        over_size("Explained variance over size", runs, explained),
    ];
    if runs.iter().any(|run| run.ce_increase.is_some()) {
        charts.push(over_l0("Rise of cross-entropy over L0", runs, increase));
        charts.push(over_size("Rise of cross-entropy over size", runs, increase));
    }
    charts
}

/// A line for each size.
fn over_l0(title: &str, runs: &[Compared], read: impl Fn(&Compared) -> Option<f64>) -> Chart {
    let mut sizes: Vec<usize> = runs.iter().map(|run| run.d_sae).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let series = sizes.iter().map(|&size| {
        let of_it = runs.iter().filter(|run| run.d_sae == size);
        let points = of_it.filter_map(|run| Some((run.l0, read(run)?, run.name.clone())));
        (format!("{size} features"), points.collect())
    });
    chart(title, "active features of a token (L0)", series.collect())
}

/// A line for each sparsity that was asked for: runs whose kind is the same.
fn over_size(title: &str, runs: &[Compared], read: impl Fn(&Compared) -> Option<f64>) -> Chart {
    let mut kinds: Vec<&str> = Vec::new();
    for run in runs {
        if !kinds.contains(&run.kind.as_str()) {
            kinds.push(&run.kind);
        }
    }
    let series = kinds.iter().map(|kind| {
        let of_it = runs.iter().filter(|run| run.kind == *kind);
        let points = of_it.filter_map(|run| Some((run.expansion, read(run)?, run.name.clone())));
        ((*kind).to_owned(), points.collect())
    });
    chart(
        title,
        "features for each component (expansion)",
        series.collect(),
    )
}

type Labelled = (f64, f64, String);

fn chart(title: &str, x_name: &str, series: Vec<(String, Vec<Labelled>)>) -> Chart {
    let names = series.iter().map(|(name, _)| name.clone()).collect();
    let mut drawn = Vec::new();
    for (name, mut points) in series {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let label = |(x, y, name): &Labelled| format!("{name}: {} at {}", short(*y), short(*x));
        let labels = points.iter().map(label).collect();
        let points = points.into_iter().map(|(x, y, _)| (x, y)).collect();
        drawn.push((Series { name, points }, labels));
    }
    Chart {
        title: title.to_owned(),
        names,
        svg: chart::points(x_name, &drawn),
    }
}
