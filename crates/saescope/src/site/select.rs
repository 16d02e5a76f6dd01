//! Patterns that select sites: `all`, one kind in every layer as `mlp_out.*`, or a single site.

use std::fmt;
use std::str::FromStr;

use super::Site;
use crate::error::{Error, Result};

/// A pattern that selects sites of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// Every site of the model.
    All,
    /// The sites of this one's kind in every layer; its own layer has no meaning.
    EveryLayer(Site),
    /// A single site.
    One(Site),
}

impl Sites {
    /// True if the pattern selects `site`.
    pub fn contains(self, site: Site) -> bool {
        match self {
            Sites::All => true,
            Sites::EveryLayer(example) => example.kind() == site.kind(),
            Sites::One(one) => one == site,
        }
    }
}

/// The sites that any of `patterns` selects among those of a model, in the order of `sites`, each once.
///
/// # Errors
/// [`Error::Site`] for a pattern that selects none.
pub fn select(patterns: &[Sites], sites: impl Iterator<Item = Site>) -> Result<Vec<Site>> {
    let sites: Vec<Site> = sites.collect();
    for pattern in patterns {
        if !sites.iter().any(|&site| pattern.contains(site)) {
            return Err(Error::Site {
                site: pattern.to_string(),
                reason: "the model has no such site".to_owned(),
            });
        }
    }
    let selected = |site: &Site| patterns.iter().any(|pattern| pattern.contains(*site));
    Ok(sites.into_iter().filter(selected).collect())
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sites::All => f.write_str("all"),
            Sites::EveryLayer(example) => write!(f, "{}.*", example.kind()),
            Sites::One(site) => site.fmt(f),
        }
    }
}

impl FromStr for Sites {
    type Err = Error;

    fn from_str(pattern: &str) -> Result<Sites> {
        match pattern.strip_suffix(".*") {
            None if pattern == "all" => Ok(Sites::All),
            None => pattern.parse().map(Sites::One),
            Some(kind) => {
                let first = format!("{kind}.0").parse::<Site>();
                let unknown = |_| Error::UnknownSite(pattern.to_owned());
                first.map(Sites::EveryLayer).map_err(unknown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(names: &[&str]) -> Vec<Sites> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn patterns_print_as_they_parse() {
        for pattern in ["all", "mlp_out.*", "resid_post.8", "embed"] {
            assert_eq!(pattern.parse::<Sites>().unwrap().to_string(), pattern);
        }
        for pattern in ["", "*", "embed.*", "blocks.*", "resid_post.8.*", "mlp_out"] {
            let parsed = pattern.parse::<Sites>();
            assert!(matches!(parsed, Err(Error::UnknownSite(_))), "{pattern}");
        }
    }

    #[test]
    fn sites_are_selected_once_and_in_the_order_of_the_model() {
        let of = |names: &[&str]| select(&patterns(names), Site::all(2)).unwrap();
        assert_eq!(
            of(&["mlp_out.*", "embed", "mlp_out.0"]),
            [Site::Embed, Site::MlpOut(0), Site::MlpOut(1)]
        );
        assert!(of(&["all"]).into_iter().eq(Site::all(2)));
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn a_pattern_that_selects_nothing_is_refused_by_name() {
        for pattern in ["mlp_out.2", "resid_mid.*"] {
            let sites = Site::all(2).filter(|site| !matches!(site, Site::ResidMid(_)));
            let refused = select(&patterns(&["embed", pattern]), sites);
            assert!(
                matches!(&refused, Err(Error::Site { site, .. }) if site == pattern),
                "{refused:?}"
            );
        }
    }
}
