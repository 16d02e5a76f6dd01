//! The picture of a sweep.

use saescope::show::chart::{Chart, Series, stack};
use saescope::steer::{Comparison, ScaleUnit, Setting, Slot, Steered};

/// Reads the number of a chart from a steered text.
type Measure = fn(&Steered) -> Option<f64>;

/// Charts of divergence, perplexity and repetition over the scales, one below another. Each set of
/// features and slot has a line, and each point is the mean of its samples.
pub(super) fn plot(unit: ScaleUnit, settings: &[Setting], comparison: &Comparison) -> String {
    let charts: [(&str, Measure); 3] = [
        ("KL(steered || plain), nats per token", |s| {
            Some(s.mean().kl)
        }),
        ("perplexity under the plain model", |s| s.text.perplexity),
        ("repetition", |s| s.text.repetition),
    ];
    let charts = charts.map(|(y, measure)| Chart {
        title: format!("{y} over the scale"),
        x: format!("scale, unit {unit}"),
        y: y.to_owned(),
        series: lines(settings, comparison, measure),
    });
    stack(&charts)
}

fn lines(settings: &[Setting], comparison: &Comparison, measure: Measure) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for (setting, texts) in settings.iter().zip(&comparison.steered) {
        let values: Vec<f64> = texts.iter().filter_map(measure).collect();
        let (Some(scale), false) = (setting.name.scale, values.is_empty()) else {
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

/// Name of the line on which a setting lies.
fn name(setting: &Setting) -> String {
    let features: Vec<String> = setting.name.features.iter().map(u32::to_string).collect();
    let features = if features.is_empty() {
        "vector".to_owned()
    } else {
        features.join("+")
    };
    match setting.name.slot {
        Slot::One => features,
        Slot::Actual => format!("{features}, actual"),
    }
}
