//! Parts of every page: the style sheet, charts with headings, the filling of templates.

use minijinja::Environment;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::train::{Objective, TrainConfig};

pub(super) const CSS: &str = include_str!("report.css");

/// A chart with its heading and the names of its lines.
#[derive(Serialize)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) names: Vec<String>,
    pub(super) svg: String,
}

/// Fills a template in. Every text in it is escaped, since the name ends in `.html`.
pub(super) fn render(name: &str, template: &str, page: &impl Serialize) -> Result<String> {
    let failed = |e: minijinja::Error| Error::Argument(format!("{name}: {e:#}"));
    let mut environment = Environment::new();
    environment.add_template(name, template).map_err(failed)?;
    let template = environment.get_template(name).map_err(failed)?;
    template.render(page).map_err(failed)
}

/// What kind of autoencoder a configuration trains.
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
