//! One page of HTML with everything in it: no server, no script, no other file.

use minijinja::Environment;
use saescope::show::number::percent;
use saescope::{Error, Result};
use serde::Serialize;

use crate::open::Store;
use crate::report::{Example, FeatureReport, RoleToken};

/// A page of features, as HTML that needs nothing else.
///
/// # Errors
/// When the template fails.
pub fn feature_page(store: &Store, title: &str, reports: &[FeatureReport]) -> Result<String> {
    let failed = |error: minijinja::Error| Error::Page {
        name: "features.html".to_owned(),
        reason: format!("{error:#}"),
    };
    let header = store.header();
    let origin = &header.origin;
    let page = Page {
        title,
        css: include_str!("page.css"),
        model: &origin.model,
        sae: origin.sae.as_deref().unwrap_or_default(),
        site: origin
            .site
            .map_or_else(String::new, |site| site.to_string()),
        tokens: reports.first().map_or(0, |report| report.tokens),
        saescope: &header.saescope,
        features: reports.iter().map(PageFeature::of).collect(),
    };
    let mut environment = Environment::new();
    // The name ends in `.html`: every text of the page is escaped.
    let template = include_str!("page.html");
    environment
        .add_template("features.html", template)
        .map_err(failed)?;
    let template = environment.get_template("features.html").map_err(failed)?;
    template.render(page).map_err(failed)
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    css: &'a str,
    model: &'a str,
    sae: &'a str,
    site: String,
    tokens: u64,
    saescope: &'a str,
    features: Vec<PageFeature<'a>>,
}

#[derive(Serialize)]
struct PageFeature<'a> {
    #[serde(flatten)]
    report: &'a FeatureReport,
    numbers: Vec<(&'static str, String)>,
    bars: Vec<PageBar>,
    reads: Vec<(String, String)>,
    promoted: Vec<(String, String)>,
    suppressed: Vec<(String, String)>,
    classes: Vec<(&'a str, String)>,
    groups: Vec<PageGroup>,
}

#[derive(Serialize)]
struct PageBar {
    height: f64,
    text: String,
}

#[derive(Serialize)]
struct PageGroup {
    title: String,
    examples: Vec<PageExample>,
}

#[derive(Serialize)]
struct PageExample {
    activation: String,
    source: String,
    pieces: Vec<PagePiece>,
    folded: usize,
}

#[derive(Serialize)]
struct PagePiece {
    text: String,
    /// Strength of the background, from 0 to 1; none where the feature does not fire.
    strength: Option<String>,
    values: String,
}

impl<'a> PageFeature<'a> {
    fn of(report: &'a FeatureReport) -> PageFeature<'a> {
        let most = report
            .histogram
            .iter()
            .map(|bar| bar.count)
            .max()
            .unwrap_or(1);
        PageFeature {
            report,
            numbers: vec![
                ("density", percent(report.density)),
                ("firings", report.count.to_string()),
                ("mean", format!("{:.3}", report.mean)),
                ("largest", format!("{:.3}", report.max)),
            ],
            bars: report
                .histogram
                .iter()
                .map(|bar| PageBar {
                    height: 100.0 * f64::from(bar.count) / f64::from(most),
                    text: format!("{:.3} to {:.3}: {}", bar.from, bar.to, bar.count),
                })
                .collect(),
            reads: report
                .contexts
                .here
                .iter()
                .map(|token| (shown(&token.piece), percent(token.recall)))
                .collect(),
            promoted: role(&report.promoted),
            suppressed: role(&report.suppressed),
            classes: report
                .classes
                .iter()
                .map(|class| (class.class.as_str(), format!("{:.3}", class.auroc)))
                .collect(),
            groups: groups(report),
        }
    }
}

/// The text of a token with its spaces and line breaks visible.
fn shown(text: &str) -> String {
    text.replace(' ', "\u{a0}").replace('\n', "↵")
}

fn role(list: &[RoleToken]) -> Vec<(String, String)> {
    let list = list.iter();
    list.map(|token| (shown(&token.piece), format!("{:+.2}", token.effect)))
        .collect()
}

/// The groups of examples that are not empty.
fn groups(report: &FeatureReport) -> Vec<PageGroup> {
    let mut groups = vec![PageGroup::of(
        "Strongest".to_owned(),
        &report.top,
        report.max,
    )];
    for group in &report.intervals {
        let title = format!(
            "{:.2} to {:.2}: {} of its activations",
            group.from,
            group.to,
            percent(group.contains)
        );
        groups.push(PageGroup::of(title, &group.examples, report.max));
    }
    groups.push(PageGroup::of(
        "Does not fire".to_owned(),
        &report.silent,
        report.max,
    ));
    groups.retain(|group| !group.examples.is_empty());
    groups
}

impl PageGroup {
    fn of(title: String, examples: &[Example], strongest: f32) -> PageGroup {
        PageGroup {
            title,
            examples: examples
                .iter()
                .map(|e| PageExample::of(e, strongest))
                .collect(),
        }
    }
}

impl PageExample {
    fn of(example: &Example, strongest: f32) -> PageExample {
        let pieces = example.pieces().map(|(text, values)| {
            let largest = values.iter().copied().fold(0.0, f32::max);
            let share = f64::from(largest / strongest.max(f32::MIN_POSITIVE));
            let list: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
            PagePiece {
                text: text.replace('\n', "↵"),
                // The logarithm lets weak activations be seen beside strong ones.
                strength: (largest > 0.0)
                    .then(|| format!("{:.2}", 0.1 + 0.9 * (1.0 + 9.0 * share).log10())),
                values: list.join(" "),
            }
        });
        let pieces = pieces.collect();
        let labels = match example.labels.as_slice() {
            [] => String::new(),
            labels => format!(" · {}", labels.join(" ")),
        };
        PageExample {
            activation: format!("{:.2}", example.activation),
            source: format!("{} {}{labels}", example.source, example.number),
            pieces,
            folded: example.folded,
        }
    }
}
