//! Lines in an SVG: what a table looks like.

use std::fmt::Write as _;

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
    /// The chart as a standalone SVG document.
    pub fn to_svg(&self) -> String {
        stack(std::slice::from_ref(self))
    }

    fn draw(&self, svg: &mut String) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::around(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
        let y = Axis::around(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let large = " font-size=\"16\"";
        put_text(svg, (middle, 28.0), "middle", large, &self.title);
        put_text(svg, (middle, HEIGHT - 16.0), "middle", "", &self.x);
        let centre = (TOP + HEIGHT - BOTTOM) / 2.0;
        let turned = format!(" transform=\"rotate(-90 18 {centre})\"");
        put_text(svg, (18.0, centre), "middle", &turned, &self.y);
        draw_axes(svg, &x, &y);
        for (number, line) in self.lines.iter().enumerate() {
            draw_line(svg, number, line, (&x, &y));
        }
    }
}

/// Charts one under another, as a standalone SVG document.
pub fn stack(charts: &[Chart]) -> String {
    let height = HEIGHT * charts.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, chart) in charts.iter().enumerate() {
        if number > 0 {
            let down = HEIGHT * number as f64;
            let _ = writeln!(svg, "<g transform=\"translate(0 {down})\">");
        }
        chart.draw(&mut svg);
        if number > 0 {
            svg.push_str("</g>\n");
        }
    }
    svg.push_str("</svg>\n");
    svg
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
pub(crate) fn round_step(step: f64) -> f64 {
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
    let text = escaped(text);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{text}</text>"
    );
}

/// Text that is nothing but text in SVG and HTML.
pub fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;")
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
        let two = stack(&[chart.clone(), chart]);
        assert_eq!(two.matches("a &lt;b&gt; &amp; c").count(), 2);
        assert!(two.contains("viewBox=\"0 0 760 880\"") && two.ends_with("</g>\n</svg>\n"));
    }
}
