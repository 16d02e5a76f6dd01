//! Charts as SVG: lines with points over common axes, and bars.
//!
//! A chart is drawn either as a document of its own, with title, legend and colours, or for a page
//! whose style sheet colours it ([`style_sheet`]) and whose text has the title and the names.

use std::fmt::Write as _;

use super::escaped;
use super::number::short;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), on a light and on a dark
/// background.
const COLOURS: [(&str, &str); 7] = [
    ("#0072b2", "#4fa9e0"),
    ("#d55e00", "#f08a45"),
    ("#009e73", "#3cc9a0"),
    ("#cc79a7", "#cc79a7"),
    ("#e69f00", "#e69f00"),
    ("#56b4e9", "#56b4e9"),
    ("#555", "#aaa"),
];

/// Largest number of points of a line on a page: more are not visible.
const MAX_POINTS: usize = 400;

/// Ratio of the largest to the smallest value from which a curve needs a logarithmic scale.
const LOG_FROM: f64 = 30.0;

/// A chart of some series.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// The name of the horizontal axis.
    pub x: String,
    /// The name of the vertical axis.
    pub y: String,
    /// The series, each with a colour of its own.
    pub series: Vec<Series>,
}

/// The points of one series, joined by a line.
#[derive(Clone, Debug)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// The points, x and y, in the order of the line.
    pub points: Vec<(f64, f64)>,
    /// A tooltip for each point; if there are any, points are marked on a page too.
    pub labels: Vec<String>,
}

impl Series {
    /// A series without labels.
    pub fn new(name: String, points: Vec<(f64, f64)>) -> Series {
        Series {
            name,
            points,
            labels: Vec::new(),
        }
    }
}

/// The size of a chart, and its margins.
struct Frame {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Approximate number of ticks of an axis.
    ticks: f64,
    /// Distance from the horizontal axis down to its numbers.
    drop: f64,
}

const DOCUMENT: Frame = Frame {
    width: 760.0,
    height: 440.0,
    left: 70.0,
    right: 150.0,
    top: 50.0,
    bottom: 60.0,
    ticks: 6.0,
    drop: 20.0,
};

const PAGE: Frame = Frame {
    width: 380.0,
    height: 210.0,
    left: 52.0,
    right: 12.0,
    top: 10.0,
    bottom: 34.0,
    ticks: 4.0,
    drop: 14.0,
};

/// The ends of an axis on the drawing.
#[derive(Clone, Copy)]
struct Extent {
    from: f64,
    to: f64,
}

impl Frame {
    fn across(&self) -> Extent {
        Extent {
            from: self.left,
            to: self.width - self.right,
        }
    }

    fn upwards(&self) -> Extent {
        Extent {
            from: self.height - self.bottom,
            to: self.top,
        }
    }
}

impl Chart {
    /// The chart as a document.
    pub fn to_svg(&self) -> String {
        stack(std::slice::from_ref(self))
    }

    /// The chart for a page, without title and legend. The vertical axis is logarithmic where the values
    /// span decades.
    pub fn to_page_svg(&self) -> String {
        let frame = &PAGE;
        let x = Axis::linear(self.values(|p| p.0), frame.across(), frame.ticks);
        let y = Axis::fitting(self.values(|p| p.1), frame.upwards(), frame.ticks);
        let mut svg = page_opening();
        rules(&mut svg, frame, &y, Paint::Classes);
        numbers_below(&mut svg, frame, &x);
        axis_name(&mut svg, frame, &self.x, frame.height - 4.0);
        for (number, series) in self.series.iter().enumerate() {
            let class = number % COLOURS.len();
            if series.labels.is_empty() {
                let path = path(&places(&thinned(&series.points), &x, &y));
                let _ = writeln!(svg, "<polyline class=\"s{class}\" points=\"{path}\"/>");
                continue;
            }
            let places = places(&series.points, &x, &y);
            let path = path(&places);
            let _ = writeln!(svg, "<polyline class=\"s{class} thin\" points=\"{path}\"/>");
            for ((x, y), label) in places.iter().zip(&series.labels) {
                let label = escaped(label);
                let _ = writeln!(
                    svg,
                    "<circle class=\"s{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{label}</title></circle>"
                );
            }
        }
        svg.push_str("</svg>");
        svg
    }

    fn values(&self, read: fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let points = self.series.iter().flat_map(|series| &series.points);
        points.map(read).collect()
    }

    /// Draws the chart as part of a document.
    fn draw(&self, svg: &mut String) {
        let frame = &DOCUMENT;
        let x = Axis::linear(self.values(|p| p.0), frame.across(), frame.ticks);
        let y = Axis::linear(self.values(|p| p.1), frame.upwards(), frame.ticks);
        let middle = (frame.left + frame.width - frame.right) / 2.0;
        let large = Text::at(middle, 28.0, "middle").with(" font-size=\"16\"");
        large.put(svg, &self.title);
        axis_name(svg, frame, &self.x, frame.height - 16.0);
        let centre = (frame.top + frame.height - frame.bottom) / 2.0;
        let turned = format!(" transform=\"rotate(-90 18 {centre})\"");
        let upright = Text::at(18.0, centre, "middle").with(&turned);
        upright.put(svg, &self.y);
        rules(svg, frame, &y, Paint::Inline);
        let (left, right, bottom) = (x.extent.from, x.extent.to, y.extent.from);
        for at in x.ticks.iter().map(|&tick| x.place(tick)) {
            line(svg, (at, bottom), (at, bottom + 5.0), " stroke=\"#222\"");
        }
        numbers_below(svg, frame, &x);
        line(svg, (left, bottom), (right, bottom), " stroke=\"#222\"");
        line(svg, (left, bottom), (left, y.extent.to), " stroke=\"#222\"");
        for (number, series) in self.series.iter().enumerate() {
            draw_series(svg, number, series, &places(&series.points, &x, &y));
        }
    }
}

/// Charts below each other, as one document.
pub fn stack(charts: &[Chart]) -> String {
    let Frame { width, height, .. } = DOCUMENT;
    let all = height * charts.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {all}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{width}\" height=\"{all}\" fill=\"#fff\"/>\n"
    );
    for (number, chart) in charts.iter().enumerate() {
        if number > 0 {
            let down = height * number as f64;
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

/// Bars side by side for a page, each with a name and a height. The first name stands below the middle
/// of its bar, those of the other bars at odd places below the left ends of theirs.
pub fn bars_for_page(x_name: &str, bars: &[(String, f64)]) -> String {
    let frame = &PAGE;
    let across = frame.across();
    let heights = bars.iter().map(|bar| bar.1).chain([0.0]).collect();
    let y = Axis::linear(heights, frame.upwards(), frame.ticks);
    let mut svg = page_opening();
    rules(&mut svg, frame, &y, Paint::Classes);
    let width = (across.to - across.from) / bars.len().max(1) as f64;
    let bottom = y.extent.from;
    for (number, (name, value)) in bars.iter().enumerate() {
        let left = across.from + width * number as f64;
        let top = y.place(*value);
        let _ = writeln!(
            svg,
            "<rect class=\"s0\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            left + 1.0,
            (width - 2.0).max(1.0),
            bottom - top
        );
        if number == 0 {
            Text::at(left + width / 2.0, bottom + frame.drop, "middle").put(&mut svg, name);
        } else if number % 2 == 1 && number > 1 {
            Text::at(left, bottom + frame.drop, "middle").put(&mut svg, name);
        }
    }
    axis_name(&mut svg, frame, x_name, frame.height - 4.0);
    svg.push_str("</svg>");
    svg
}

/// The rules of a style sheet for charts on a page. The classes `s0` to `s6` also colour an `i` as a key.
pub fn style_sheet() -> String {
    let variables = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        let colours = COLOURS.iter().map(pick).enumerate();
        let variables = colours.map(|(number, colour)| format!("--s{number}: {colour};"));
        variables.collect::<Vec<_>>().join(" ")
    };
    let mut css = format!(
        ":root {{ {} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {} }} }}\n",
        variables(|colours| colours.0),
        variables(|colours| colours.1)
    );
    for number in 0..COLOURS.len() {
        let _ = writeln!(
            css,
            "polyline.s{number} {{ stroke: var(--s{number}); }} \
             rect.s{number}, circle.s{number} {{ fill: var(--s{number}); }} \
             i.s{number} {{ background: var(--s{number}); }}"
        );
    }
    css
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
}

/// The mapping of values to places on the drawing.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    extent: Extent,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that spans all of `values`, between two round numbers.
    fn linear(values: Vec<f64>, extent: Extent, ticks: f64) -> Axis {
        let (low, high) = range(values.into_iter());
        let step = round_step((high - low) / ticks);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step);
        Axis {
            scale: Scale::Linear,
            low: first * step,
            high: last * step,
            extent,
            ticks: ticks.collect(),
        }
    }

    /// An axis in decades; `values` are positive.
    fn log(values: Vec<f64>, extent: Extent) -> Axis {
        let (low, high) = range(values.into_iter().map(f64::log10));
        let (first, last) = (low.floor(), high.ceil().max(low.floor() + 1.0));
        let every = ((last - first) / 6.0).ceil().max(1.0);
        let ticks = (0..=(last - first) as usize).step_by(every as usize);
        Axis {
            scale: Scale::Log,
            low: first,
            high: last,
            extent,
            ticks: ticks.map(|i| 10f64.powf(first + i as f64)).collect(),
        }
    }

    /// An axis that is logarithmic if the values are positive and span decades.
    fn fitting(mut values: Vec<f64>, extent: Extent, ticks: f64) -> Axis {
        values.retain(|value| value.is_finite());
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > 0.0 && high / low >= LOG_FROM && high.is_finite() {
            Axis::log(values, extent)
        } else {
            Axis::linear(values, extent, ticks)
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
        };
        let Extent { from, to } = self.extent;
        from + (value - self.low) / (self.high - self.low) * (to - from)
    }
}

/// The smallest and the largest of the finite values, some distance apart.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low < high {
        (low, high)
    } else if low == high {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        (low - room, high + room)
    } else {
        (0.0, 1.0)
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

/// The way in which colours are given.
#[derive(Clone, Copy)]
enum Paint {
    Inline,
    Classes,
}

/// A line across the chart for each tick of the vertical axis, with its number.
fn rules(svg: &mut String, frame: &Frame, y: &Axis, paint: Paint) {
    let Extent { from, to } = frame.across();
    for &tick in &y.ticks {
        let at = y.place(tick);
        let colour = match paint {
            Paint::Classes => " class=\"rule\"",
            // The line of zero stands out.
            Paint::Inline if tick == 0.0 => " stroke=\"#888\"",
            Paint::Inline => " stroke=\"#e4e4e4\"",
        };
        line(svg, (from, at), (to, at), colour);
        Text::at(from - 7.0, at + 4.0, "end").put(svg, &short(tick));
    }
}

fn numbers_below(svg: &mut String, frame: &Frame, x: &Axis) {
    let y = frame.height - frame.bottom + frame.drop;
    for &tick in &x.ticks {
        Text::at(x.place(tick), y, "middle").put(svg, &short(tick));
    }
}

fn axis_name(svg: &mut String, frame: &Frame, name: &str, y: f64) {
    let Extent { from, to } = frame.across();
    Text::at((from + to) / 2.0, y, "middle").put(svg, name);
}

fn draw_series(svg: &mut String, number: usize, series: &Series, places: &[(f64, f64)]) {
    let colour = COLOURS[number % COLOURS.len()].0;
    // After the last colour, dashes distinguish lines.
    let dash = match number / COLOURS.len() {
        0 => String::new(),
        round => format!(" stroke-dasharray=\"{} 3\"", 9 / round.min(9)),
    };
    let stroke = format!(" stroke=\"{colour}\" stroke-width=\"2\"{dash}");
    let path = path(places);
    let _ = writeln!(svg, "<polyline points=\"{path}\" fill=\"none\"{stroke}/>");
    for (x, y) in places {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        );
    }
    let y = DOCUMENT.top + 8.0 + 20.0 * number as f64;
    let left = DOCUMENT.width - DOCUMENT.right + 16.0;
    let right = left + 22.0;
    line(svg, (left, y), (right, y), &stroke);
    Text::at(right + 6.0, y + 4.0, "start").put(svg, &series.name);
}

fn page_opening() -> String {
    let Frame { width, height, .. } = PAGE;
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\">\n")
}

/// The places of the points that can be drawn.
fn places(points: &[(f64, f64)], x: &Axis, y: &Axis) -> Vec<(f64, f64)> {
    let finite = points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
    finite.map(|p| (x.place(p.0), y.place(p.1))).collect()
}

fn path(places: &[(f64, f64)]) -> String {
    let points = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
    points.collect::<Vec<_>>().join(" ")
}

/// Every n-th point, and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_POINTS).max(1);
    let mut kept: Vec<(f64, f64)> = points.iter().copied().step_by(every).collect();
    if let Some(last) = points.last()
        && kept.last() != Some(last)
    {
        kept.push(*last);
    }
    kept
}

/// Writes a line; `attributes` colour it.
fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), attributes: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"{attributes}/>"
    );
}

/// The place and the attributes of a text.
struct Text<'a> {
    x: f64,
    y: f64,
    anchor: &'static str,
    attributes: &'a str,
}

impl<'a> Text<'a> {
    fn at(x: f64, y: f64, anchor: &'static str) -> Text<'a> {
        Text {
            x,
            y,
            anchor,
            attributes: "",
        }
    }

    fn with(self, attributes: &'a str) -> Text<'a> {
        Text { attributes, ..self }
    }

    fn put(&self, svg: &mut String, text: &str) {
        let Text {
            x,
            y,
            anchor,
            attributes,
        } = self;
        let text = escaped(text);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{attributes}>{text}</text>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Extent = Extent {
        from: 100.0,
        to: 0.0,
    };
    const UP: Extent = Extent {
        from: 0.0,
        to: 100.0,
    };

    fn chart(points: &[(f64, f64)], labels: &[&str]) -> Chart {
        Chart {
            title: "a <b> & c".to_owned(),
            x: "x".to_owned(),
            y: "y".to_owned(),
            series: vec![Series {
                name: "one".to_owned(),
                points: points.to_vec(),
                labels: labels.iter().map(|&label| label.to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn axes_end_at_round_numbers_around_all_values() {
        let axis = Axis::linear(vec![-1.3, 2.2], UP, 6.0);
        assert_eq!((axis.low, axis.high), (-2.0, 3.0));
        assert_eq!(axis.ticks, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!((axis.place(-2.0), axis.place(3.0)), (0.0, 100.0));
    }

    #[test]
    fn no_value_and_one_value_have_an_axis_too() {
        for values in [vec![], vec![f64::NAN], vec![4.0]] {
            let axis = Axis::linear(values, UP, 6.0);
            assert!(axis.low < axis.high && axis.ticks.len() > 1);
        }
    }

    #[test]
    fn values_that_span_decades_get_a_logarithmic_scale() {
        let axis = Axis::fitting(vec![0.02, 3.0, f64::NAN], DOWN, 4.0);
        assert!(axis.scale == Scale::Log);
        assert_eq!((axis.place(0.01), axis.place(10.0)), (100.0, 0.0));
        let axis = Axis::fitting(vec![0.0, 3.0], DOWN, 4.0);
        assert!(axis.scale == Scale::Linear);
    }

    #[test]
    fn every_chart_survives_no_points_and_nan() {
        for points in [&[][..], &[(0.0, f64::NAN)], &[(1.0, 2.0)]] {
            let chart = chart(points, &[]);
            for svg in [chart.to_page_svg(), chart.to_svg()] {
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        assert!(!bars_for_page("density", &[]).contains("NaN"));
    }

    #[test]
    fn many_points_are_thinned_and_the_last_remains() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= MAX_POINTS + 1);
        assert_eq!(kept.last(), points.last());
    }

    #[test]
    fn texts_are_escaped() {
        let chart = chart(&[(0.0, 1.0)], &["<script>"]);
        assert!(chart.to_svg().contains("a &lt;b&gt; &amp; c"));
        let page = chart.to_page_svg();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        let two = stack(&[chart.clone(), chart]);
        assert_eq!(two.matches("a &lt;b&gt; &amp; c").count(), 2);
        assert!(two.contains("viewBox=\"0 0 760 880\"") && two.ends_with("</g>\n</svg>\n"));
    }
}
