//! Lines in an SVG: what a table of outcomes looks like.

use std::fmt::Write as _;

use super::evaluate::Outcome;
use crate::site::Site;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 7] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000",
];

/// A chart of some lines.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What stands along the bottom.
    pub x: String,
    /// What stands along the side.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, x and y, from left to right.
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The logit differences of an evaluation: over the multipliers when it tried one site, else
    /// over the layers, a line for each multiplier.
    pub fn of_outcomes(title: &str, outcomes: &[Outcome]) -> Chart {
        let mut sites: Vec<Site> = outcomes.iter().map(|o| o.site).collect();
        sites.dedup();
        let mut multipliers: Vec<f32> = outcomes.iter().map(|o| o.multiplier).collect();
        multipliers.sort_by(f32::total_cmp);
        multipliers.dedup();
        let layer = |o: &Outcome| o.site.layer().unwrap_or(0) as f64;
        let line = |name: String, points: &mut dyn Iterator<Item = (f64, f64)>| {
            let mut points: Vec<(f64, f64)> = points.collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name, points }
        };
        let all = outcomes.iter();
        let (x, lines) = if let [site] = &sites[..] {
            let mut points = all.map(|o| (f64::from(o.multiplier), o.logit_difference));
            ("multiplier", vec![line(site.to_string(), &mut points)])
        } else {
            let lines = multipliers.iter().rev().map(|&multiplier| {
                let of_it = outcomes.iter().filter(|o| o.multiplier == multiplier);
                let mut points = of_it.map(|o| (layer(o), o.logit_difference));
                line(format!("multiplier {multiplier}"), &mut points)
            });
            ("layer", lines.collect())
        };
        Chart {
            title: title.to_owned(),
            x: x.to_owned(),
            y: "mean logit difference".to_owned(),
            lines,
        }
    }

    /// The chart as a standalone SVG document.
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::around(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
        let y = Axis::around(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        put_text(
            &mut svg,
            (middle, 28.0),
            "middle",
            " font-size=\"16\"",
            &self.title,
        );
        put_text(&mut svg, (middle, HEIGHT - 16.0), "middle", "", &self.x);
        let centre = (TOP + HEIGHT - BOTTOM) / 2.0;
        let turned = format!(" transform=\"rotate(-90 18 {centre})\"");
        put_text(&mut svg, (18.0, centre), "middle", &turned, &self.y);
        draw_axes(&mut svg, &x, &y);
        for (number, line) in self.lines.iter().enumerate() {
            draw_line(&mut svg, number, line, (&x, &y));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Values as places on the page.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds all of `values`, between two round numbers.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = match (low <= high, low < high) {
            (true, true) => (low, high),
            (true, false) => (low - 1.0, high + 1.0),
            _ => (0.0, 1.0),
        };
        let step = round_step((high - low) / 6.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let count = (last - first) as usize;
        let ticks = (0..=count).map(|i| (first + i as f64) * step).collect();
        Axis {
            low: first * step,
            high: last * step,
            from,
            to,
            ticks,
        }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    // A step that is a round number itself may lie a rounding error above it.
    let fits = |round: &f64| *round >= step * (1.0 - 1e-9);
    rounds.into_iter().find(fits).unwrap_or(10.0 * power)
}

fn draw_axes(svg: &mut String, x: &Axis, y: &Axis) {
    let line = |svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str| {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        );
    };
    for &tick in &y.ticks {
        let at = y.place(tick);
        // The line where neither answer leads stands out.
        let colour = if tick == 0.0 { "#888" } else { "#e4e4e4" };
        line(svg, (x.from, at), (x.to, at), colour);
        put_text(svg, (x.from - 8.0, at + 4.0), "end", "", &number(tick));
    }
    for &tick in &x.ticks {
        let at = x.place(tick);
        line(svg, (at, y.from), (at, y.from + 5.0), "#222");
        put_text(svg, (at, y.from + 20.0), "middle", "", &number(tick));
    }
    line(svg, (x.from, y.from), (x.to, y.from), "#222");
    line(svg, (x.from, y.from), (x.from, y.to), "#222");
}

fn draw_line(svg: &mut String, number: usize, line: &Line, (x, y): (&Axis, &Axis)) {
    let colour = COLOURS[number % COLOURS.len()];
    // Past the colours, dashes tell lines apart.
    let dash = match number / COLOURS.len() {
        0 => String::new(),
        round => format!(" stroke-dasharray=\"{} 3\"", 9 / round.min(9)),
    };
    let places: Vec<(f64, f64)> = line
        .points
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|&(at, value)| (x.place(at), y.place(value)))
        .collect();
    let path: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let path = path.join(" ");
    let _ = writeln!(
        svg,
        "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"
    );
    for (x, y) in places {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        );
    }
    let (at, left) = (TOP + 8.0 + 20.0 * number as f64, WIDTH - RIGHT + 16.0);
    let right = left + 22.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{left}\" y1=\"{at}\" x2=\"{right}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"
    );
    put_text(svg, (right + 6.0, at + 4.0), "start", "", &line.name);
}

/// Writes a text; `more` are further attributes.
fn put_text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, text: &str) {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{text}</text>"
    );
}

/// A tick without the digits that rounding leaves, and no minus before zero.
fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{}", rounded + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_around_all_values() {
        let axis = Axis::around([-1.3, 2.2].into_iter(), 0.0, 100.0);
        assert_eq!((axis.low, axis.high), (-2.0, 3.0));
        assert_eq!(axis.ticks, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!((axis.place(-2.0), axis.place(3.0)), (0.0, 100.0));
    }

    #[test]
    fn nothing_and_one_value_have_an_axis_too() {
        for values in [vec![], vec![f64::NAN], vec![4.0]] {
            let axis = Axis::around(values.into_iter(), 0.0, 1.0);
            assert!(axis.low < axis.high && axis.ticks.len() > 1);
        }
    }

    #[test]
    fn texts_are_escaped() {
        let chart = Chart {
            title: "a <b> & c".to_owned(),
            x: String::new(),
            y: String::new(),
            lines: Vec::new(),
        };
        assert!(chart.to_svg().contains("a &lt;b&gt; &amp; c"));
    }

    #[test]
    fn one_site_is_drawn_over_multipliers_and_several_over_layers() {
        let outcome = |layer, multiplier| Outcome {
            site: Site::ResidPost(layer),
            multiplier,
            logit_difference: f64::from(multiplier) * layer as f64,
            probability: 0.5,
            preferred: 0.5,
        };
        let one = Chart::of_outcomes("t", &[outcome(2, 1.0), outcome(2, -1.0)]);
        assert_eq!(one.x, "multiplier");
        assert_eq!(one.lines[0].points, [(-1.0, -2.0), (1.0, 2.0)]);
        let two = Chart::of_outcomes("t", &[outcome(1, 1.0), outcome(2, 1.0)]);
        assert_eq!(two.x, "layer");
        assert_eq!(two.lines[0].points, [(1.0, 1.0), (2.0, 2.0)]);
    }
}
