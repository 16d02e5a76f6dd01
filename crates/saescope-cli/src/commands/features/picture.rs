//! Texts coloured by a feature, as an SVG.

use std::fmt::Write as _;

use saescope::plot::escaped;
use unicode_width::UnicodeWidthStr as _;

/// Columns of a line.
const COLUMNS: usize = 90;
/// Width of a column of 14 px in a monospaced font.
const COLUMN: f64 = 8.43;
const LINE: f64 = 24.0;
const MARGIN: f64 = 16.0;

/// A stretch of text with the activations of its tokens.
pub(super) struct Stretch<'a> {
    pub(super) text: String,
    pub(super) activations: &'a [f32],
}

/// The texts one under another, each stretch the stronger coloured the more active its strongest token is;
/// `strongest` has the full colour. Activations are told where the pointer rests.
pub(super) fn picture(title: &str, texts: &[Vec<Stretch>], strongest: f32) -> String {
    let mut body = String::new();
    let mut line = 1;
    for text in texts {
        line += 1;
        let mut column = 0;
        for stretch in text {
            let width = stretch.text.width();
            if column > 0 && column + width > COLUMNS {
                (line, column) = (line + 1, 0);
            }
            draw(&mut body, stretch, strongest, (line, column));
            column += width;
        }
    }
    let (width, height) = (
        2.0 * MARGIN + COLUMN * COLUMNS as f64,
        LINE * (line + 1) as f64,
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"14\" \
         font-family=\"ui-monospace,monospace\" fill=\"#222\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{LINE}\" font-family=\"sans-serif\" font-size=\"15\">{}</text>\n{body}</svg>\n",
        escaped(title)
    )
}

fn draw(svg: &mut String, stretch: &Stretch, strongest: f32, (line, column): (usize, usize)) {
    let (x, y) = (MARGIN + COLUMN * column as f64, LINE * line as f64);
    let width = COLUMN * stretch.text.width() as f64;
    let largest = stretch.activations.iter().copied().fold(0.0, f32::max);
    let values: Vec<String> = stretch
        .activations
        .iter()
        .map(|a| format!("{a:.2}"))
        .collect();
    let _ = write!(svg, "<g><title>{}</title>", values.join(" "));
    if largest > 0.0 {
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" fill=\"#e69f00\" \
             fill-opacity=\"{:.2}\"/>",
            y - 15.0,
            largest / strongest
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{width:.1}\" xml:space=\"preserve\">{}</text></g>",
        escaped(&stretch.text)
    );
}
