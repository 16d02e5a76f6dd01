//! What is seen of training while it goes on, and the sink that keeps it.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use saescope::Result;
use saescope::direction::Pair;
use saescope::runs::{Line, Writer};
use saescope::train::{Metrics, Sink, State};

use super::stop::Stop;
use crate::print;
use crate::print::rss;

/// Columns of a sparkline.
const SPARK: usize = 32;
/// Columns of the bar.
const BAR: usize = 30;
/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(120);

/// What all runs of a training share.
pub(crate) struct Session<'a> {
    stop: &'a Stop,
    view: RefCell<View>,
}

impl<'a> Session<'a> {
    /// `names` tell the runs apart, `steps` is what they have to do.
    pub(crate) fn new(stop: &'a Stop, names: Vec<String>, steps: u64, shown: Shown) -> Session<'a> {
        Session {
            stop,
            view: RefCell::new(View {
                shown,
                steps,
                step: 0,
                since: None,
                runs: names.into_iter().map(Seen::new).collect(),
                lines: 0,
                drawn: Instant::now(),
            }),
        }
    }

    /// Takes the view off the screen, all but its last state.
    pub(crate) fn end(&self) {
        self.view.borrow_mut().draw(true);
    }
}

/// How training is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As a picture that changes.
    Live,
    /// A line for each log step.
    Lines,
    /// Not at all.
    Nothing,
}

impl Shown {
    /// What standard error can take.
    pub(crate) fn fitting(json: bool) -> Shown {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Live,
            (false, false) => Shown::Lines,
        }
    }
}

/// Keeps what one run tells, and shows it.
pub(crate) struct Watched<'a> {
    session: &'a Session<'a>,
    writer: Writer,
    /// Which of the runs.
    number: usize,
    steps: u64,
    /// Tokens trained on since this began or went on, and the seconds that they took.
    done: (f64, f64),
}

impl<'a> Watched<'a> {
    pub(crate) fn new(
        session: &'a Session<'a>,
        writer: Writer,
        number: usize,
        steps: u64,
    ) -> Watched<'a> {
        Watched {
            session,
            writer,
            number,
            steps,
            done: (0.0, 0.0),
        }
    }

    pub(crate) fn into_writer(self) -> Writer {
        self.writer
    }
}

impl Sink for Watched<'_> {
    fn step(&mut self, step: u64) -> ControlFlow<()> {
        self.session.view.borrow_mut().step(step);
        if self.session.stop.behind(step) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let per_step = metrics.tokens as f64 / metrics.step.max(1) as f64;
        let left = self.steps.saturating_sub(metrics.step) as f64 * per_step;
        // Over all lines: a single one has a fill of the buffer in it or none.
        let seconds = metrics.seconds_batches + metrics.seconds_train;
        self.done.0 += metrics.tokens_per_s * seconds;
        self.done.1 += seconds;
        let speed = self.done.0 / self.done.1;
        let line = Line {
            memory_mb: rss::held_mb(),
            seconds_left: if speed > 0.0 { left / speed } else { 0.0 },
            ..Line::new(metrics)
        };
        self.writer.line(&line)?;
        self.session.view.borrow_mut().line(self.number, line);
        Ok(())
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        self.writer.checkpoint(state)
    }
}

/// What was seen of a run.
struct Seen {
    name: String,
    lines: Vec<Line>,
}

impl Seen {
    fn new(name: String) -> Seen {
        Seen {
            name,
            lines: Vec::new(),
        }
    }
}

struct View {
    shown: Shown,
    steps: u64,
    step: u64,
    /// When the first step was done, and which it was.
    since: Option<(Instant, u64)>,
    runs: Vec<Seen>,
    /// Lines on the screen.
    lines: usize,
    drawn: Instant,
}

impl View {
    fn step(&mut self, step: u64) {
        self.step = step;
        self.since.get_or_insert_with(|| (Instant::now(), step));
        if self.drawn.elapsed() >= REDRAW {
            self.draw(false);
        }
    }

    fn line(&mut self, number: usize, line: Line) {
        let run = &mut self.runs[number];
        if self.shown == Shown::Lines {
            let name = match run.name.as_str() {
                "" => String::new(),
                name => format!("{name}  "),
            };
            eprintln!("{name}{}", plain(&line, self.steps));
        }
        run.lines.push(line);
    }

    /// Draws over what was drawn before.
    fn draw(&mut self, last: bool) {
        self.drawn = Instant::now();
        if self.shown != Shown::Live {
            return;
        }
        let text = self.text();
        let mut out = anstream::stderr().lock();
        if self.lines > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
        }
        // A picture that cannot be drawn is no reason to end.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        self.lines = if last { 0 } else { text.lines().count() };
    }

    fn text(&self) -> String {
        let size = terminal_size::terminal_size_of(std::io::stderr());
        let size = size.map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        let (width, height) = size.unwrap_or((80, 24));
        let mut lines = vec![self.progress()];
        match self.runs.as_slice() {
            [run] => lines.extend(alone(run)),
            // What has left the screen cannot be drawn over.
            runs => lines.extend(
                runs.iter()
                    .filter_map(beside)
                    .take(height.saturating_sub(4)),
            ),
        }
        lines.extend(self.runs.last().and_then(|run| time(&run.lines)));
        let cut = lines.iter().map(|line| print::cut(line, width));
        cut.collect::<Vec<_>>().join("\n")
    }

    fn progress(&self) -> String {
        let share = self.step as f64 / self.steps.max(1) as f64;
        let full = (share * BAR as f64) as usize;
        let bar = "█".repeat(full) + &"░".repeat(BAR - full.min(BAR));
        let left = self.since.and_then(|(since, first)| {
            let done = self.step.checked_sub(first).filter(|done| *done > 0)?;
            let each = since.elapsed().as_secs_f64() / done as f64;
            Some(each * self.steps.saturating_sub(self.step) as f64)
        });
        let left = left.map_or(String::new(), |left| format!("  {} left", duration(left)));
        format!(
            "step {} of {}  {bar}  {:.0} %{left}",
            self.step,
            self.steps,
            share * 100.0
        )
    }
}

/// What is shown of the only run.
fn alone(run: &Seen) -> Vec<String> {
    let Some(last) = run.lines.last() else {
        return Vec::new();
    };
    let metrics = &last.metrics;
    let features: usize = metrics.density_histogram.iter().sum();
    let curve = |read: fn(&Metrics) -> f64| sparkline(&run.lines, read);
    let row =
        |name: &str, value: String, curve: String| format!("  {name:<20}{value:>12}  {curve}");
    vec![
        row("loss", number(metrics.loss), curve(|m| m.loss)),
        format!("  {:<20}  {}", "", parts(metrics)),
        row(
            "explained variance",
            format!("{:.4}", metrics.explained_variance),
            curve(|m| m.explained_variance),
        ),
        row("L0", format!("{:.1}", metrics.l0), curve(|m| m.l0)),
        row(
            "dead",
            format!("{} of {features}", metrics.dead),
            curve(|m| m.dead as f64),
        ),
        row(
            "dense",
            format!("{} of {features}", metrics.dense),
            curve(|m| m.dense as f64),
        ),
        row(
            "gradient norm",
            number(metrics.grad_norm),
            curve(|m| m.grad_norm),
        ),
        row(
            "mean |cosine|",
            format!("{:.4}", metrics.off_diag_mean),
            curve(|m| m.off_diag_mean),
        ),
        format!("  {:<20}  {}", "closest directions", closest(metrics)),
        format!(
            "  {:<20}  {}  from never to always active",
            "features by density",
            density(metrics)
        ),
    ]
}

/// How many features there are of each density, as a row of bars.
fn density(metrics: &Metrics) -> String {
    let counts = metrics.density_histogram.iter();
    bars(&counts.map(|&count| count as f64).collect::<Vec<f64>>())
}

/// The pairs of features whose directions are most alike.
fn closest(metrics: &Metrics) -> String {
    let pair = |p: &Pair| format!("{} and {} {:+.3}", p.a, p.b, p.cosine);
    let pairs: Vec<String> = metrics.off_diag_pairs.iter().map(pair).collect();
    pairs.join(", ")
}

/// The parts of the loss that there are.
fn parts(metrics: &Metrics) -> String {
    let parts = [
        ("error", metrics.loss_reconstruction),
        ("sparsity", metrics.loss_sparsity),
        ("aux", metrics.loss_aux),
    ];
    let there = parts.iter().filter(|(_, part)| *part != 0.0);
    let said: Vec<String> = there
        .map(|(name, part)| format!("{name} {}", number(*part)))
        .collect();
    said.join(", ")
}

/// A number that may be of any size.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e6).contains(&size) => format!("{x:.4}"),
        _ => format!("{x:.3e}"),
    }
}

/// What is shown of one of several runs.
fn beside(run: &Seen) -> Option<String> {
    let metrics = &run.lines.last()?.metrics;
    Some(format!(
        "  {:<24} explained {:.4}  L0 {:>6.1}  dead {:>6}  {}",
        print::cut(&run.name, 24),
        metrics.explained_variance,
        metrics.l0,
        metrics.dead,
        sparkline(&run.lines, |m| m.explained_variance)
    ))
}

/// The pace so far, and where the time went: a buffer is filled in one stretch, so that single lines
/// would tell of the model alone or not at all.
fn time(lines: &[Line]) -> Option<String> {
    let last = lines.last()?;
    let sum = |read: fn(&Line) -> f64| lines.iter().map(read).sum::<f64>();
    let took = |line: &Line| line.metrics.seconds_train + line.metrics.seconds_batches;
    let all = sum(took).max(1e-9);
    let tokens = lines
        .iter()
        .map(|line| line.metrics.tokens_per_s * took(line));
    let share = |seconds: f64| format!("{:.0} %", 100.0 * seconds / all);
    let memory = last.memory_mb.map_or(String::new(), |mb| {
        format!("  memory {}", print::bytes((mb * 1e6) as u64))
    });
    Some(format!(
        "  {:.0} tokens/s: model {}, buffer {}, autoencoder {}{memory}",
        tokens.sum::<f64>() / all,
        share(sum(|line| line.metrics.seconds_model)),
        share(sum(|line| line.metrics.seconds_buffer)),
        share(sum(|line| line.metrics.seconds_train))
    ))
}

/// A log step in one line.
fn plain(line: &Line, steps: u64) -> String {
    let metrics = &line.metrics;
    format!(
        "step {}/{steps}  loss {}  explained {:.4}  L0 {:.1}  dead {}  {:.0} tokens/s  {} left",
        metrics.step,
        number(metrics.loss),
        metrics.explained_variance,
        metrics.l0,
        metrics.dead,
        metrics.tokens_per_s,
        duration(line.seconds_left)
    )
}

/// A curve in one line, each column the mean of its share of the lines.
fn sparkline(lines: &[Line], read: fn(&Metrics) -> f64) -> String {
    let columns = lines.len().min(SPARK);
    let mean = |column: usize| {
        let of = |column: usize| column * lines.len() / columns;
        let part = &lines[of(column)..of(column + 1)];
        part.iter().map(|line| read(&line.metrics)).sum::<f64>() / part.len() as f64
    };
    bars(&(0..columns).map(mean).collect::<Vec<f64>>())
}

/// A bar for each value, from the lowest to the highest.
fn bars(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: &f64| {
        let share = (value - low) / (high - low);
        // Of a flat line nothing is high or low.
        let level = if share.is_finite() { share * 7.0 } else { 0.0 };
        LEVELS[(level.round() as usize).min(7)]
    };
    values.iter().map(level).collect()
}

/// Seconds for people.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64) -> Line {
        Line::new(&Metrics {
            step,
            loss,
            ..Metrics::default()
        })
    }

    #[test]
    fn a_curve_goes_from_low_to_high() {
        let lines: Vec<Line> = (0..4).map(|i| line(i, i as f64)).collect();
        assert_eq!(sparkline(&lines, |m| m.loss), "▁▃▆█");
        assert_eq!(sparkline(&[line(0, 3.0)], |m| m.loss), "▁");
        assert_eq!(sparkline(&[], |m| m.loss), "");
        let many: Vec<Line> = (0..1000).map(|i| line(i, -(i as f64))).collect();
        let curve = sparkline(&many, |m| m.loss);
        assert_eq!(curve.chars().count(), SPARK);
        assert!(curve.starts_with('█') && curve.ends_with('▁'));
    }

    #[test]
    fn seconds_are_said_in_larger_units() {
        assert_eq!(duration(7.4), "7 s");
        assert_eq!(duration(67.0), "1 min 07 s");
        assert_eq!(duration(3725.0), "1 h 02 min");
    }
}
