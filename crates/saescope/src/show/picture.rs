//! Texts coloured by the activations of their tokens, as an SVG.

use std::fmt::Write as _;

use super::escaped;

/// Columns of a line.
const COLUMNS: usize = 90;
/// Width of a column at 14 px in a monospaced font.
const COLUMN: f64 = 8.43;
const LINE: f64 = 24.0;
const MARGIN: f64 = 16.0;

/// A piece of text with the activations of its tokens.
pub struct Stretch<'a> {
    /// The text, without control characters.
    pub text: String,
    /// Columns that the text takes in a monospaced font.
    pub columns: usize,
    /// One activation for each token of the text.
    pub activations: &'a [f32],
}

/// The place of a stretch in the grid of the picture.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

/// Draws the texts below each other. The background of a stretch has the strength of its largest
/// activation relative to `strongest`; a tooltip shows its activations.
pub fn picture(title: &str, texts: &[Vec<Stretch>], strongest: f32) -> String {
    let mut body = String::new();
    let mut line = 1;
    for text in texts {
        line += 1;
        let mut column = 0;
        for stretch in text {
            if column > 0 && column + stretch.columns > COLUMNS {
                (line, column) = (line + 1, 0);
            }
            draw(&mut body, stretch, strongest, Place { line, column });
            column += stretch.columns;
        }
    }
    let width = 2.0 * MARGIN + COLUMN * COLUMNS as f64;
    let height = LINE * (line + 1) as f64;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"14\" \
         font-family=\"ui-monospace,monospace\" fill=\"#222\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{LINE}\" font-family=\"sans-serif\" font-size=\"15\">{}</text>\n{body}</svg>\n",
        escaped(title)
    )
}

fn draw(svg: &mut String, stretch: &Stretch, strongest: f32, place: Place) {
    let (x, y) = (
        MARGIN + COLUMN * place.column as f64,
        LINE * place.line as f64,
    );
    let width = COLUMN * stretch.columns as f64;
    let largest = stretch.activations.iter().copied().fold(0.0, f32::max);
    let activations = stretch.activations.iter().map(|a| format!("{a:.2}"));
    let activations: Vec<String> = activations.collect();
    let _ = write!(svg, "<g><title>{}</title>", activations.join(" "));
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
