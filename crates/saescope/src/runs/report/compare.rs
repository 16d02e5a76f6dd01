//! The comparison of several runs: a table, and charts of quality over sparsity and size.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::page::{Figure, kind, render, style_sheet};
use crate::error::Result;
use crate::runs::folder;
use crate::runs::saved::SavedRun;
use crate::runs::verdict::{Level, verdict};
use crate::show::chart::{Chart, Series};
use crate::show::number::{percent, short};

/// The numbers of a run in a comparison; those of held-out texts if they were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// Name of its folder.
    pub name: String,
    /// The kind of autoencoder, in words.
    pub kind: String,
    /// Number of features.
    pub d_sae: usize,
    /// Features for each component of the activations that it reads.
    pub expansion: f64,
    /// Mean number of active features.
    pub l0: f64,
    /// Explained variance.
    pub explained_variance: f64,
    /// Increase of cross-entropy with the reconstruction in place, in nats per token.
    pub ce_increase: Option<f64>,
    /// Share of the cross-entropy lost to zeros that the reconstruction recovers.
    pub ce_recovered: Option<f64>,
    /// Share of dead features.
    pub dead: f64,
    /// Mean |cosine| of two different decoder rows.
    pub off_diag_mean: f64,
    /// The level of its verdict.
    pub level: Level,
}

impl ComparisonRow {
    /// The numbers of a run; `None` if it logged no step.
    pub fn of(run: &SavedRun) -> Option<ComparisonRow> {
        let metrics = &run.lines.last()?.metrics;
        let measured = run.held_out();
        let all = &measured.all;
        let (config, train) = (&run.config, &run.config.train);
        let name = run.folder().file_name().unwrap_or_default();
        Some(ComparisonRow {
            name: name.to_string_lossy().into_owned(),
            kind: kind(train),
            d_sae: train.d_sae,
            expansion: train.d_sae as f64 / config.d_in as f64,
            l0: all.l0.unwrap_or(metrics.l0),
            explained_variance: all.explained_variance.unwrap_or(metrics.explained_variance),
            ce_increase: measured.ce_increase(),
            ce_recovered: all.ce_recovered,
            dead: metrics.dead as f64 / train.d_sae as f64,
            off_diag_mean: metrics.off_diag_mean,
            level: verdict(run).level,
        })
    }
}

impl ComparisonRow {
    /// The names of [`cells`](ComparisonRow::cells).
    pub const COLUMNS: [&'static str; 7] = [
        "features",
        "L0",
        "explained",
        "CE rise",
        "recovered",
        "dead",
        "mean |cos|",
    ];

    /// The numbers as text, one for each of [`COLUMNS`](ComparisonRow::COLUMNS).
    pub fn cells(&self) -> [String; 7] {
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
        [
            self.d_sae.to_string(),
            format!("{:.1}", self.l0),
            format!("{:.4}", self.explained_variance),
            optional(self.ce_increase),
            optional(self.ce_recovered),
            percent(self.dead),
            format!("{:.4}", self.off_diag_mean),
        ]
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: String,
    level: Level,
    values: [String; 7],
}

#[derive(Serialize)]
struct Page {
    css: String,
    title: String,
    columns: [&'static str; 7],
    rows: Vec<Row>,
    charts: Vec<Figure>,
}

/// Writes a comparison of runs next to their folders; returns the path of the page.
///
/// # Errors
/// When a file cannot be written.
pub fn write_comparison(folder: &Path, title: &str, runs: &[ComparisonRow]) -> Result<PathBuf> {
    let path = folder.join("comparison.json");
    folder::write_json(&path, &runs)?;
    let path = folder.join("comparison.html");
    folder::write(&path, &comparison_html(title, runs)?)?;
    Ok(path)
}

/// The comparison of runs as a page.
fn comparison_html(title: &str, runs: &[ComparisonRow]) -> Result<String> {
    let rows = runs.iter().map(|run| Row {
        name: run.name.clone(),
        kind: run.kind.clone(),
        level: run.level,
        values: run.cells(),
    });
    let page = Page {
        css: style_sheet(),
        title: title.to_owned(),
        columns: ComparisonRow::COLUMNS,
        rows: rows.collect(),
        charts: charts(runs),
    };
    render("compare.html", include_str!("compare.html"), &page)
}

fn charts(runs: &[ComparisonRow]) -> Vec<Figure> {
    let explained = |run: &ComparisonRow| Some(run.explained_variance);
    let increase = |run: &ComparisonRow| run.ce_increase;
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

/// A chart over L0 with a line for each size.
fn over_l0(
    title: &str,
    runs: &[ComparisonRow],
    read: impl Fn(&ComparisonRow) -> Option<f64>,
) -> Figure {
    let mut sizes: Vec<usize> = runs.iter().map(|run| run.d_sae).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let series = sizes.iter().map(|&size| {
        let runs = runs.iter().filter(|run| run.d_sae == size);
        let points = runs.filter_map(|run| Some(point(run, run.l0, read(run)?)));
        (format!("{size} features"), points.collect())
    });
    figure(title, "active features of a token (L0)", series.collect())
}

/// A chart over size with a line for each target sparsity: the runs of one kind.
fn over_size(
    title: &str,
    runs: &[ComparisonRow],
    read: impl Fn(&ComparisonRow) -> Option<f64>,
) -> Figure {
    let mut kinds: Vec<&str> = Vec::new();
    for run in runs {
        if !kinds.contains(&run.kind.as_str()) {
            kinds.push(&run.kind);
        }
    }
    let series = kinds.iter().map(|kind| {
        let runs = runs.iter().filter(|run| run.kind == *kind);
        let points = runs.filter_map(|run| Some(point(run, run.expansion, read(run)?)));
        ((*kind).to_owned(), points.collect())
    });
    figure(
        title,
        "features for each component (expansion)",
        series.collect(),
    )
}

fn point(run: &ComparisonRow, x: f64, y: f64) -> NamedPoint {
    NamedPoint {
        x,
        y,
        run: run.name.clone(),
    }
}

/// A point with the name of its run.
struct NamedPoint {
    x: f64,
    y: f64,
    run: String,
}

fn figure(title: &str, x_name: &str, series: Vec<(String, Vec<NamedPoint>)>) -> Figure {
    let series = series.into_iter().map(|(name, mut points)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let label = |p: &NamedPoint| format!("{}: {} at {}", p.run, short(p.y), short(p.x));
        Series {
            name,
            labels: points.iter().map(label).collect(),
            points: points.iter().map(|p| (p.x, p.y)).collect(),
        }
    });
    Figure::of(&Chart {
        title: title.to_owned(),
        x: x_name.to_owned(),
        y: String::new(),
        series: series.collect(),
    })
}
