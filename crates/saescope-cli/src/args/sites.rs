//! Sites by name or by pattern.

use std::str::FromStr;

use anyhow::bail;
use saescope::model::Model;
use saescope::site::Site;

/// What `--site` accepts.
#[derive(Clone)]
pub(crate) enum Sites {
    All,
    /// One in every layer, by its name without the layer.
    InEveryLayer(String),
    One(Site),
}

impl FromStr for Sites {
    type Err = saescope::Error;

    fn from_str(text: &str) -> saescope::Result<Sites> {
        match text.strip_suffix(".*") {
            None if text == "all" => Ok(Sites::All),
            None => Ok(Sites::One(text.parse()?)),
            Some(kind) => {
                let known = format!("{kind}.0").parse::<Site>();
                known.map_err(|_| saescope::Error::UnknownSite(text.to_owned()))?;
                Ok(Sites::InEveryLayer(kind.to_owned()))
            }
        }
    }
}

/// The sites asked for, in the order of the forward pass, each once.
pub(crate) fn chosen(model: &Model, patterns: &[Sites]) -> anyhow::Result<Vec<Site>> {
    let mut sites = Vec::new();
    for pattern in patterns {
        let before = sites.len();
        match pattern {
            Sites::All => sites.extend(model.sites()),
            Sites::InEveryLayer(kind) => sites.extend(model.sites().filter(|site| {
                site.to_string()
                    .rsplit_once('.')
                    .is_some_and(|(of, _)| of == kind.as_str())
            })),
            Sites::One(site) => {
                model.check_site(*site)?;
                sites.push(*site);
            }
        }
        if let (Sites::InEveryLayer(kind), true) = (pattern, sites.len() == before) {
            bail!("this model has no site `{kind}`; `saescope info` lists those it has");
        }
    }
    let wanted = sites;
    Ok(model.sites().filter(|site| wanted.contains(site)).collect())
}
