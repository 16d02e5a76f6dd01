//! The parts that pages share: the style sheet, figures, and templates.

use minijinja::Environment;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::show::chart::{self, Chart};
use crate::train::{Objective, TrainConfig};

/// The style sheet of every page.
pub(super) fn style_sheet() -> String {
    include_str!("report.css").to_owned() + &chart::style_sheet()
}

/// A chart with its heading and the names of its series.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) names: Vec<String>,
    pub(super) svg: String,
}

impl Figure {
    /// The chart under its title, with the names that its series have.
    pub(super) fn of(chart: &Chart) -> Figure {
        let names = chart.series.iter().map(|series| series.name.clone());
        Figure {
            title: chart.title.clone(),
            names: names.filter(|name| !name.is_empty()).collect(),
            svg: chart.to_page_svg(),
        }
    }
}

/// Fills in a template. Every text in it is escaped, since the name ends in `.html`.
pub(super) fn render(name: &str, template: &str, page: &impl Serialize) -> Result<String> {
    let failed = |error: minijinja::Error| Error::Page {
        name: name.to_owned(),
        reason: format!("{error:#}"),
    };
    let mut environment = Environment::new();
    environment.add_template(name, template).map_err(failed)?;
    let template = environment.get_template(name).map_err(failed)?;
    template.render(page).map_err(failed)
}

/// The kind of autoencoder that a configuration trains, in words.
pub(super) fn kind(config: &TrainConfig) -> String {
    match &config.objective {
        Objective::L1 { coefficient, .. } => format!("ReLU + L1, coefficient {coefficient}"),
        Objective::TopK { k, .. } => format!("TopK, k {k}"),
        Objective::BatchTopK { k, .. } => format!("BatchTopK, k {k}"),
        Objective::Matryoshka { k, prefixes, .. } => {
            format!("Matryoshka BatchTopK, k {k}, {} prefixes", prefixes.len())
        }
        Objective::JumpRelu { .. } => "JumpReLU".to_owned(),
        Objective::Gated { coefficient, .. } => format!("gated, coefficient {coefficient}"),
    }
}
