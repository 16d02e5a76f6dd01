//! The view of a training in progress: a bar, then the metrics of the only run or one line for each of several.

use std::cell::RefCell;
use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use saescope::direction::Pair;
use saescope::runs::MetricsLine;
use saescope::show::number::{bytes, duration, significant, whole_percent};
use saescope::train::Metrics;

use super::bar::{Counted, bar};
use super::{cut, note};

/// Columns of a sparkline.
const SPARKLINE: usize = 32;

/// The way in which training is shown on standard error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewMode {
    /// As lines that change.
    Live,
    /// As a line for each log step.
    Log,
    Nothing,
}

impl ViewMode {
    /// The mode that fits standard error; nothing is shown with JSON.
    pub(crate) fn fitting(json: bool) -> ViewMode {
        if json {
            ViewMode::Nothing
        } else if std::io::stderr().is_terminal() {
            ViewMode::Live
        } else {
            ViewMode::Log
        }
    }
}

/// The view of all runs of a training.
pub(crate) struct LiveView {
    mode: ViewMode,
    steps: u64,
    progress: ProgressBar,
    runs: RefCell<Vec<RunHistory>>,
    /// The line of speed and memory.
    speed: ProgressBar,
    bars: MultiProgress,
}

/// The metrics of one run so far, and its rows in the view.
struct RunHistory {
    name: String,
    lines: Vec<MetricsLine>,
    rows: Vec<ProgressBar>,
}

impl LiveView {
    /// A view of runs of `steps` steps; `names` distinguish them, and a single run may have an empty one.
    pub(crate) fn new(mode: ViewMode, names: Vec<String>, steps: u64) -> LiveView {
        let bars = MultiProgress::new();
        if mode != ViewMode::Live {
            bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let progress = bars.add(bar("training", Counted::Items("steps"), steps));
        // Rows that have left the screen cannot be redrawn. The bar, the speed and the prompt take three.
        let height = terminal_size::terminal_size_of(std::io::stderr());
        let mut room = height
            .map_or(24, |(_, height)| usize::from(height.0))
            .saturating_sub(3);
        let rows_of_run = if names.len() == 1 { DETAILS } else { 1 };
        let runs = names.into_iter().map(|name| {
            let rows = rows_of_run.min(room);
            room -= rows;
            RunHistory {
                name,
                lines: Vec::new(),
                rows: (0..rows).map(|_| bars.add(message())).collect(),
            }
        });
        let runs = RefCell::new(runs.collect());
        LiveView {
            mode,
            steps,
            progress,
            runs,
            speed: bars.add(message()),
            bars,
        }
    }

    /// Shows that a step is done.
    pub(crate) fn step(&self, step: u64) {
        if self.progress.position() == 0 {
            // Steps before a resumption took no time now.
            self.progress.set_position(step);
            self.progress.reset_eta();
        }
        self.progress.set_position(step);
    }

    /// Shows the metrics of run `number`.
    pub(crate) fn line(&self, number: usize, line: MetricsLine) {
        let mut runs = self.runs.borrow_mut();
        let alone = runs.len() == 1;
        let run = &mut runs[number];
        if self.mode == ViewMode::Log {
            let gap = if run.name.is_empty() { "" } else { "  " };
            note!("{}{gap}{}", run.name, log_line(&line, self.steps));
        }
        run.lines.push(line);
        let texts = if alone {
            details(&run.lines).to_vec()
        } else {
            vec![summary(&run.name, &run.lines)]
        };
        for (row, text) in run.rows.iter().zip(texts) {
            row.set_message(text);
        }
        if let Some(speed) = speed(&run.lines) {
            self.speed.set_message(speed);
        }
    }

    /// Replaces the view by its last state, as plain lines. A second call does nothing.
    pub(crate) fn end(&self) {
        if self.mode != ViewMode::Live || self.progress.is_finished() {
            return;
        }
        // Finished bars would be redrawn above each other.
        self.progress.finish_and_clear();
        let _ = self.bars.clear();
        note!(
            "trained {} of {} steps",
            self.progress.position(),
            self.steps
        );
        let size = terminal_size::terminal_size_of(std::io::stderr());
        let width = size.map_or(80, |(width, _)| usize::from(width.0));
        let runs = self.runs.borrow();
        for row in runs.iter().flat_map(|run| &run.rows).chain([&self.speed]) {
            let text = row.message();
            if !text.is_empty() {
                note!("{}", cut(&format!("  {text}"), width));
            }
        }
    }
}

/// Rows of [`details`].
const DETAILS: usize = 10;

/// The metrics of the only run: the last value of each, and its curve.
fn details(lines: &[MetricsLine]) -> [String; DETAILS] {
    let Some(MetricsLine { metrics, .. }) = lines.last() else {
        return Default::default();
    };
    let features: usize = metrics.density_histogram.iter().sum();
    let curve = |name: &str, value: String, read: fn(&Metrics) -> f64| {
        format!("{name:<20}{value:>14}  {}", sparkline(lines, read))
    };
    let of_all = |count: usize| format!("{count} of {features}");
    [
        curve("loss", significant(metrics.loss), |m| m.loss),
        format!("{:<20}{}", "", loss_parts(metrics)),
        curve(
            "explained variance",
            format!("{:.4}", metrics.explained_variance),
            |m| m.explained_variance,
        ),
        curve("L0", format!("{:.1}", metrics.l0), |m| m.l0),
        curve("dead", of_all(metrics.dead), |m| m.dead as f64),
        curve("dense", of_all(metrics.dense), |m| m.dense as f64),
        curve("gradient norm", significant(metrics.grad_norm), |m| {
            m.grad_norm
        }),
        curve(
            "mean |cosine|",
            format!("{:.4}", metrics.off_diag_mean),
            |m| m.off_diag_mean,
        ),
        format!("{:<20}{}", "closest directions", closest(metrics)),
        format!(
            "{:<20}{}  from never to always active",
            "features by density",
            density(metrics)
        ),
    ]
}

/// The parts of the loss that are not zero.
fn loss_parts(metrics: &Metrics) -> String {
    let parts = [
        ("error", metrics.loss_reconstruction),
        ("sparsity", metrics.loss_sparsity),
        ("aux", metrics.loss_aux),
    ];
    let parts = parts.into_iter().filter(|(_, part)| *part != 0.0);
    let parts: Vec<String> = parts
        .map(|(name, part)| format!("{name} {}", significant(part)))
        .collect();
    parts.join(", ")
}

/// The pairs of features whose directions are most alike.
fn closest(metrics: &Metrics) -> String {
    let pair = |pair: &Pair| format!("{} and {} {:+.3}", pair.a, pair.b, pair.cosine);
    let pairs: Vec<String> = metrics.off_diag_pairs.iter().map(pair).collect();
    pairs.join(", ")
}

/// The number of features of each density, a block for each bin.
fn density(metrics: &Metrics) -> String {
    let counts = metrics.density_histogram.iter();
    levels(&counts.map(|&count| count as f64).collect::<Vec<f64>>())
}

/// One of several runs in a line.
fn summary(name: &str, lines: &[MetricsLine]) -> String {
    let Some(MetricsLine { metrics, .. }) = lines.last() else {
        return String::new();
    };
    format!(
        "{:<24}  explained {:.4}  L0 {:.1}  dead {}  dense {}  loss {}  {}",
        cut(name, 24),
        metrics.explained_variance,
        metrics.l0,
        metrics.dead,
        metrics.dense,
        significant(metrics.loss),
        sparkline(lines, |m| m.explained_variance)
    )
}

/// A line of the view that holds a text.
fn message() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// The mean speed, and the shares of the time. They are means over all lines: a buffer is filled at once,
/// so that a single line has all of a fill or nothing of it.
fn speed(lines: &[MetricsLine]) -> Option<String> {
    let last = lines.last()?;
    let sum = |read: fn(&Metrics) -> f64| lines.iter().map(|line| read(&line.metrics)).sum::<f64>();
    let seconds = |m: &Metrics| m.seconds_train + m.seconds_batches;
    let all = sum(seconds).max(1e-9);
    let tokens = sum(|m| m.tokens_per_s * (m.seconds_train + m.seconds_batches));
    let memory = last.memory_mb.map_or(String::new(), |mb| {
        format!("  memory {}", bytes((mb * 1e6) as u64))
    });
    Some(format!(
        "{:.0} tokens/s: model {}, buffer {}, autoencoder {}{memory}",
        tokens / all,
        whole_percent(sum(|m| m.seconds_model) / all),
        whole_percent(sum(|m| m.seconds_buffer) / all),
        whole_percent(sum(|m| m.seconds_train) / all)
    ))
}

/// A log step in one line.
fn log_line(line: &MetricsLine, steps: u64) -> String {
    let metrics = &line.metrics;
    format!(
        "step {}/{steps}  loss {}  explained {:.4}  L0 {:.1}  dead {}  {:.0} tokens/s  {} left",
        metrics.step,
        significant(metrics.loss),
        metrics.explained_variance,
        metrics.l0,
        metrics.dead,
        metrics.tokens_per_s,
        duration(line.seconds_left)
    )
}

/// A curve in one line; each column is the mean of its part of the lines.
fn sparkline(lines: &[MetricsLine], read: fn(&Metrics) -> f64) -> String {
    let columns = lines.len().min(SPARKLINE);
    let mean = |column: usize| {
        let start = |column: usize| column * lines.len() / columns;
        let part = &lines[start(column)..start(column + 1)];
        part.iter().map(|line| read(&line.metrics)).sum::<f64>() / part.len() as f64
    };
    levels(&(0..columns).map(mean).collect::<Vec<f64>>())
}

/// A block for each value, as high as the value lies between the lowest and the highest.
fn levels(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: &f64| {
        let share = (value - low) / (high - low);
        // Equal values have no range.
        let level = if share.is_finite() { share * 7.0 } else { 0.0 };
        LEVELS[(level.round() as usize).min(7)]
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64) -> MetricsLine {
        MetricsLine::new(&Metrics {
            step,
            loss,
            ..Metrics::default()
        })
    }

    #[test]
    fn a_sparkline_rises_from_the_lowest_to_the_highest_value() {
        let lines: Vec<MetricsLine> = (0..4).map(|i| line(i, i as f64)).collect();
        assert_eq!(sparkline(&lines, |m| m.loss), "▁▃▆█");
        assert_eq!(sparkline(&[line(0, 3.0)], |m| m.loss), "▁");
        assert_eq!(sparkline(&[], |m| m.loss), "");
        let many: Vec<MetricsLine> = (0..1000).map(|i| line(i, -(i as f64))).collect();
        let curve = sparkline(&many, |m| m.loss);
        assert_eq!(curve.chars().count(), SPARKLINE);
        assert!(curve.starts_with('█') && curve.ends_with('▁'));
    }
}
