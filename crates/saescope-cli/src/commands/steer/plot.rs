//! A sweep as charts.

use saescope::show::chart::{Chart, Series, stack};
use saescope::steer::{Comparison, Steered};

use super::Args;
use super::setting::{Setting, Slot};

/// Reads one number of a steered text.
type Read = fn(&Steered) -> Option<f64>;

/// Charts of divergence, perplexity and repetition over the scales. Each set of features and slot has a
/// line, whose points are means over samples.
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
        series: lines(settings, comparison, read),
    });
    stack(&charts)
}

fn lines(settings: &[Setting], comparison: &Comparison, read: Read) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for (setting, texts) in settings.iter().zip(&comparison.steered) {
        let values: Vec<f64> = texts.iter().filter_map(read).collect();
        let (Some(scale), false) = (setting.scale, values.is_empty()) else {
            continue;
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let (name, point) = (name(setting), (f64::from(scale), mean));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series::new(name, vec![point])),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

/// The name of a setting's line.
fn name(setting: &Setting) -> String {
    let features: Vec<String> = setting.features.iter().map(u32::to_string).collect();
    let features = if features.is_empty() {
        "vector".to_owned()
    } else {
        features.join("+")
    };
    match setting.slot {
        Slot::One => features,
        Slot::Actual => format!("{features}, actual"),
    }
}
