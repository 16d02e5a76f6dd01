//! A sweep as a picture.

use saescope::plot::{Chart, Line, stack};
use saescope::steer::{Comparison, Steered};

use super::Args;
use super::setting::{Setting, Slot};

/// What a chart reads of a steered text.
type Read = fn(&Steered) -> Option<f64>;

/// Divergence, perplexity and repetition over the scales, one under another: a line for each set of features and
/// slot, each point the mean of its samples.
pub(super) fn plot(args: &Args, settings: &[Setting], comparison: &Comparison) -> String {
    let charts: [(&str, Read); 3] = [
        ("KL(steered || plain), nats per token", |s| {
            Some(s.mean().kl)
        }),
        ("perplexity under the plain model", |s| s.text.perplexity),
        ("repetition", |s| s.text.repetition),
    ];
    let charts = charts.map(|(y, read)| Chart {
        title: format!("{y} over the scale"),
        x: format!("scale, unit {}", args.unit().name()),
        y: y.to_owned(),
        lines: lines(settings, comparison, read),
    });
    stack(&charts)
}

fn lines(settings: &[Setting], comparison: &Comparison, read: Read) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (setting, texts) in settings.iter().zip(&comparison.steered) {
        let values: Vec<f64> = texts.iter().filter_map(read).collect();
        let (Some(scale), false) = (setting.scale, values.is_empty()) else {
            continue;
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let (name, point) = (name(setting), (f64::from(scale), mean));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name,
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

/// What tells a line from the others.
fn name(setting: &Setting) -> String {
    let features: Vec<String> = setting.features.iter().map(u32::to_string).collect();
    let features = match features.is_empty() {
        true => "vector".to_owned(),
        false => features.join("+"),
    };
    match setting.slot {
        Slot::One => features,
        Slot::Actual => format!("{features}, actual"),
    }
}
