//! Small charts for a page: lines over steps, bars, and points, as SVG that a style sheet colours.

use std::fmt::Write as _;

use crate::plot::{escaped, round_step};

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;

/// More points than the page has room for show nothing more.
const MAX_POINTS: usize = 400;

/// Largest over smallest value from which a curve needs a logarithmic scale to be read.
const LOG_FROM: f64 = 30.0;

/// A line, or the points of a series.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a value axis counts.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
}

/// Values as places on the page.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn linear(values: impl Iterator<Item = f64>, (from, to): (f64, f64), ticks: f64) -> Axis {
        let (low, high) = range(values);
        let step = round_step((high - low) / ticks);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step);
        Axis {
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            from,
            to,
            ticks: ticks.collect(),
        }
    }

    /// An axis in decades; `values` are positive.
    fn log(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Axis {
        let (low, high) = range(values.map(f64::log10));
        let (first, last) = (low.floor(), high.ceil().max(low.floor() + 1.0));
        let every = ((last - first) / 6.0).ceil().max(1.0);
        let ticks = (0..=(last - first) as usize).step_by(every as usize);
        Axis {
            scale: Scale::Log,
            low: first,
            high: last,
            from,
            to,
            ticks: ticks.map(|i| 10f64.powf(first + i as f64)).collect(),
        }
    }

    /// Logarithmic where the values ask for it.
    fn fitting(values: &[f64], place: (f64, f64)) -> Axis {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        match low > 0.0 && high / low >= LOG_FROM && high.is_finite() {
            true => Axis::log(finite(), place),
            false => Axis::linear(finite(), place, 4.0),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
        };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// Smallest and largest of the finite values, some way apart.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match (low <= high, low < high) {
        (true, true) => (low, high),
        (true, false) => {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low - room, high + room)
        }
        _ => (0.0, 1.0),
    }
}

/// Lines over a common axis.
pub(super) fn lines(x_name: &str, series: &[Series]) -> String {
    let thinned: Vec<(usize, Vec<(f64, f64)>)> = series
        .iter()
        .map(|series| thin(&series.points))
        .enumerate()
        .collect();
    let points = || thinned.iter().flat_map(|(_, points)| points);
    let (x, y) = axes(points().copied());
    let mut svg = opening();
    grid(&mut svg, &x, &y, x_name);
    for (number, points) in &thinned {
        let drawable = points.iter().filter(|(_, value)| value.is_finite());
        let path: Vec<String> = drawable
            .map(|&(at, value)| format!("{:.1},{:.1}", x.place(at), y.place(value)))
            .collect();
        let path = path.join(" ");
        let _ = writeln!(svg, "<polyline class=\"s{number}\" points=\"{path}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Points with a line through those of each series, in order, and a label at each.
pub(super) fn points(x_name: &str, series: &[(Series, Vec<String>)]) -> String {
    let all = || series.iter().flat_map(|(series, _)| &series.points);
    let (x, y) = axes(all().copied());
    let mut svg = opening();
    grid(&mut svg, &x, &y, x_name);
    for (number, (series, labels)) in series.iter().enumerate() {
        let places: Vec<(f64, f64)> = series
            .points
            .iter()
            .filter(|(at, value)| at.is_finite() && value.is_finite())
            .map(|&(at, value)| (x.place(at), y.place(value)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let path = path.join(" ");
        let class = number % COLOURS;
        let _ = writeln!(svg, "<polyline class=\"s{class} thin\" points=\"{path}\"/>");
        for ((x, y), label) in places.iter().zip(labels) {
            let _ = writeln!(
                svg,
                "<circle class=\"s{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                escaped(label)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Colours that the style sheet has.
pub(super) const COLOURS: usize = 7;

/// Bars side by side; the names of those at odd places stand under their left ends, that of the first in
/// its middle.
pub(super) fn bars(x_name: &str, values: &[(String, f64)]) -> String {
    let across = (LEFT, WIDTH - RIGHT);
    let heights = values.iter().map(|bar| bar.1).chain([0.0]);
    let y = Axis::linear(heights, (HEIGHT - BOTTOM, TOP), 4.0);
    let mut svg = opening();
    rules(&mut svg, &y);
    let width = (across.1 - across.0) / values.len().max(1) as f64;
    for (number, (name, value)) in values.iter().enumerate() {
        let left = across.0 + width * number as f64;
        let top = y.place(*value);
        let height = HEIGHT - BOTTOM - top;
        let _ = writeln!(
            svg,
            "<rect class=\"s0\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            left + 1.0,
            (width - 2.0).max(1.0)
        );
        let under = HEIGHT - BOTTOM + 14.0;
        if number == 0 {
            text(&mut svg, (left + width / 2.0, under), "middle", name);
        } else if number % 2 == 1 && number > 1 {
            text(&mut svg, (left, under), "middle", name);
        }
    }
    text(
        &mut svg,
        ((across.0 + across.1) / 2.0, HEIGHT - 4.0),
        "middle",
        x_name,
    );
    svg.push_str("</svg>");
    svg
}

fn axes(points: impl Iterator<Item = (f64, f64)>) -> (Axis, Axis) {
    let (x, y): (Vec<f64>, Vec<f64>) = points.unzip();
    let x = Axis::linear(x.into_iter(), (LEFT, WIDTH - RIGHT), 4.0);
    (x, Axis::fitting(&y, (HEIGHT - BOTTOM, TOP)))
}

fn opening() -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n")
}

fn grid(svg: &mut String, x: &Axis, y: &Axis, x_name: &str) {
    rules(svg, y);
    for &tick in &x.ticks {
        let at = x.place(tick);
        if at <= WIDTH - RIGHT + 0.5 {
            text(svg, (at, HEIGHT - BOTTOM + 14.0), "middle", &short(tick));
        }
    }
    text(svg, ((x.from + x.to) / 2.0, HEIGHT - 4.0), "middle", x_name);
}

/// A line across the chart for each tick of the value axis.
fn rules(svg: &mut String, y: &Axis) {
    for &tick in &y.ticks {
        let at = y.place(tick);
        let _ = writeln!(
            svg,
            "<line class=\"rule\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        );
        text(svg, (LEFT - 6.0, at + 3.5), "end", &short(tick));
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// Every so manieth point and the last.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_POINTS).max(1);
    let mut kept: Vec<(f64, f64)> = points.iter().copied().step_by(every).collect();
    if let Some(last) = points.last()
        && kept.last() != Some(last)
    {
        kept.push(*last);
    }
    kept
}

/// A number in few characters: `1.5M`, `20k`, `0.03`, `1e-5`.
pub(super) fn short(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, unit) = match magnitude {
        m if m >= 1e12 || (m > 0.0 && m < 1e-3) => return tidy(&format!("{value:.1e}")),
        m if m >= 1e9 => (value / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        m if m >= 100.0 => 0,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    let mut text = format!("{scaled:.digits$}");
    if text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    if text == "-0" {
        text = "0".to_owned();
    }
    text + unit
}

/// `1.0e-5` as `1e-5`.
fn tidy(text: &str) -> String {
    text.replace(".0e", "e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.03, "0.03"),
            (1e-5, "1e-5"),
            (5.25, "5.25"),
            (1500.0, "1500"),
            (20_000.0, "20k"),
            (1_500_000.0, "1.5M"),
            (-2.5, "-2.5"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected, "{value}");
        }
    }

    #[test]
    fn values_that_span_decades_get_a_logarithmic_scale() {
        let axis = Axis::fitting(&[0.02, 3.0, f64::NAN], (100.0, 0.0));
        assert!(axis.scale == Scale::Log);
        assert_eq!((axis.place(0.01), axis.place(10.0)), (100.0, 0.0));
        let axis = Axis::fitting(&[0.0, 3.0], (100.0, 0.0));
        assert!(axis.scale == Scale::Linear);
    }

    #[test]
    fn every_chart_survives_nothing_and_nan() {
        let series = |points: &[(f64, f64)]| {
            let series = [Series {
                name: String::new(),
                points: points.to_vec(),
            }];
            lines("step", &series)
        };
        for points in [&[][..], &[(0.0, f64::NAN)], &[(1.0, 2.0)]] {
            let svg = series(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!bars("density", &[]).contains("NaN"));
    }

    #[test]
    fn many_points_are_thinned_and_the_last_stays() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        let kept = thin(&points);
        assert!(kept.len() <= MAX_POINTS + 1);
        assert_eq!(kept.last(), points.last());
    }

    #[test]
    fn a_label_is_text() {
        let series = Series {
            name: String::new(),
            points: vec![(0.0, 1.0)],
        };
        let svg = points("x", &[(series, vec!["<script>".to_owned()])]);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"));
    }
}
