//! Pages for people: the report of a run, and the comparison of several. A page is one file without
//! scripts that loads nothing.

mod compare;
mod curves;
mod held_out;
mod page;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use self::held_out::HeldOut;
use self::page::{Figure, kind, render, style_sheet};
use super::folder;
use super::line::MetricsLine;
use super::saved::SavedRun;
use super::verdict::{Verdict, verdict};
use crate::error::{Error, Result};
use crate::show::number::{percent, short};

pub use compare::{ComparisonRow, write_comparison};

/// A name and its value.
#[derive(Serialize)]
struct Tile {
    name: String,
    value: String,
}

/// A table of names and values.
#[derive(Serialize)]
struct Listing {
    title: String,
    rows: Vec<Tile>,
}

#[derive(Serialize)]
struct Page {
    css: String,
    model: String,
    place: String,
    folder: String,
    summary: String,
    tiles: Vec<Tile>,
    verdict: Verdict,
    charts: Vec<Figure>,
    evaluation: HeldOut,
    tables: Vec<Listing>,
}

impl SavedRun {
    /// Writes the report and returns its path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_report(&self) -> Result<PathBuf> {
        let path = self.folder.report();
        folder::write(&path, &report_html(self)?)?;
        Ok(path)
    }
}

/// A run as a page.
pub(super) fn report_html(run: &SavedRun) -> Result<String> {
    let config = &run.config;
    let page = Page {
        css: style_sheet(),
        model: config.model.reference.clone(),
        place: place(run),
        folder: run.folder().display().to_string(),
        summary: summary(run),
        tiles: tiles(run),
        verdict: verdict(run),
        charts: curves::charts(&run.lines),
        evaluation: HeldOut::of(&run.held_out()),
        tables: tables(run)?,
    };
    render("report.html", include_str!("report.html"), &page)
}

fn place(run: &SavedRun) -> String {
    match run.config.out_site {
        Some(out) => format!("{} → {out}", run.config.site),
        None => run.config.site.to_string(),
    }
}

fn summary(run: &SavedRun) -> String {
    let config = &run.config;
    let train = &config.train;
    format!(
        "{} · {} → {} features ({}x) · {} steps of {} tokens · seed {} · saescope {}",
        kind(train),
        config.d_in,
        train.d_sae,
        short(train.d_sae as f64 / config.d_in as f64),
        train.steps,
        train.batch_tokens,
        train.seed,
        config.saescope
    )
}

fn tiles(run: &SavedRun) -> Vec<Tile> {
    let Some(last) = run.lines.last() else {
        return Vec::new();
    };
    let measured = run.held_out();
    let tile = |name: &str, value: String| Tile {
        name: name.to_owned(),
        value,
    };
    let metrics = &last.metrics;
    let explained = measured.all.explained_variance;
    let explained = explained.unwrap_or(metrics.explained_variance);
    let l0 = measured.all.l0.unwrap_or(metrics.l0);
    let dead = metrics.dead as f64 / run.config.train.d_sae as f64;
    let mut tiles = vec![
        tile("explained variance", format!("{explained:.3}")),
        tile("active features (L0)", format!("{l0:.1}")),
        tile("dead features", percent(dead)),
        tile("tokens", short(metrics.tokens as f64)),
    ];
    if let Some(speed) = tokens_per_s(&run.lines) {
        tiles.push(tile("tokens a second", short(speed)));
    }
    if let Some(increase) = measured.ce_increase() {
        let increase = tile("rise of cross-entropy", format!("{increase:.3}"));
        tiles.insert(2, increase);
    }
    tiles
}

/// Mean speed of the whole run.
fn tokens_per_s(lines: &[MetricsLine]) -> Option<f64> {
    let (mut before, mut seconds) = (0, 0.0);
    for MetricsLine { metrics, .. } in lines {
        let tokens = metrics.tokens.checked_sub(before)?;
        seconds += tokens as f64 / metrics.tokens_per_s;
        before = metrics.tokens;
    }
    let speed = before as f64 / seconds;
    speed.is_finite().then_some(speed)
}

fn tables(run: &SavedRun) -> Result<Vec<Listing>> {
    let config = serde_json::to_value(&run.config)
        .map_err(|e| Error::format(run.folder().join("config.json"), e.to_string()))?;
    let listing = |title: &str, keys: &[&str]| {
        let mut rows = Vec::new();
        for key in keys {
            flatten(key, &config[*key], &mut rows);
        }
        Listing {
            title: title.to_owned(),
            rows,
        }
    };
    Ok(vec![
        listing(
            "Corpus",
            &["corpus", "corpus_digest", "activations", "input"],
        ),
        listing(
            "Model and machine",
            &["model", "site", "out_site", "machine", "saescope"],
        ),
        listing("Configuration", &["train"]),
    ])
}

/// Every value of a configuration with its path, as in `adam.lr`.
fn flatten(path: &str, value: &Value, rows: &mut Vec<Tile>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(Tile {
            name: path.to_owned(),
            value: text.clone(),
        }),
        value => rows.push(Tile {
            name: path.to_owned(),
            value: value.to_string(),
        }),
    }
}
