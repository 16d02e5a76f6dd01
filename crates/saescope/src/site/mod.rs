//! Named activations: the places of a forward pass that can be read and changed.
//!
//! A site prints and parses as `resid_post.8`; anything else is an error, never a guess.
//! Other people's names for the same places are known to [`transformer_lens`] and [`modules`] only.

pub mod modules;
mod select;
pub mod transformer_lens;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::select::{Sites, select};

use crate::error::{Error, Result};

/// A named activation. Layers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Site {
    /// Token embeddings, scaled as the family scales them, before learned positions: `[tokens, d_model]`.
    Embed,
    /// The residual stream as it enters a block: `[tokens, d_model]`.
    ResidPre(usize),
    /// Output of the norm before attention: `[tokens, d_model]`.
    AttnNorm(usize),
    /// Attention probabilities: `[tokens, n_heads * n_keys]`, head-major within a row.
    AttnPattern(usize),
    /// Every head's weighted values before the output projection: `[tokens, n_heads * d_head]`.
    AttnZ(usize),
    /// Output of attention, which is added to the residual stream: `[tokens, d_model]`.
    AttnOut(usize),
    /// The residual stream between attention and MLP: `[tokens, d_model]`. Parallel blocks have none.
    ResidMid(usize),
    /// Output of the norm before the MLP: `[tokens, d_model]`.
    MlpNorm(usize),
    /// The MLP's hidden activation, input of its last projection: `[tokens, d_mlp]`.
    MlpAct(usize),
    /// Output of the MLP, which is added to the residual stream: `[tokens, d_model]`.
    MlpOut(usize),
    /// The residual stream as it leaves a block: `[tokens, d_model]`.
    ResidPost(usize),
    /// Output of the last norm, input of the unembedding: `[tokens, d_model]`.
    FinalNorm,
}

/// The site of one kind in a given layer.
type OfLayer = fn(usize) -> Site;

/// Sites of one layer, in the order in which a sequential block computes them.
const LAYER_SITES: [(&str, OfLayer); 10] = [
    ("resid_pre", Site::ResidPre),
    ("attn_norm", Site::AttnNorm),
    ("attn_pattern", Site::AttnPattern),
    ("attn_z", Site::AttnZ),
    ("attn_out", Site::AttnOut),
    ("resid_mid", Site::ResidMid),
    ("mlp_norm", Site::MlpNorm),
    ("mlp_act", Site::MlpAct),
    ("mlp_out", Site::MlpOut),
    ("resid_post", Site::ResidPost),
];

impl Site {
    /// Every site of a model with `n_layers` layers, in the order of the forward pass.
    pub fn all(n_layers: usize) -> impl DoubleEndedIterator<Item = Site> {
        let of_layer = |layer| LAYER_SITES.iter().map(move |(_, site)| site(layer));
        std::iter::once(Site::Embed)
            .chain((0..n_layers).flat_map(of_layer))
            .chain(std::iter::once(Site::FinalNorm))
    }

    /// The layer, for sites that belong to one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Site::Embed | Site::FinalNorm => None,
            Site::ResidPre(layer)
            | Site::AttnNorm(layer)
            | Site::AttnPattern(layer)
            | Site::AttnZ(layer)
            | Site::AttnOut(layer)
            | Site::ResidMid(layer)
            | Site::MlpNorm(layer)
            | Site::MlpAct(layer)
            | Site::MlpOut(layer)
            | Site::ResidPost(layer) => Some(layer),
        }
    }

    /// True if it is a place in the residual stream between its writers: the rest of the pass depends on
    /// its value alone.
    pub fn is_residual(self) -> bool {
        matches!(
            self,
            Site::ResidPre(_) | Site::ResidMid(_) | Site::ResidPost(_)
        )
    }

    fn kind(self) -> &'static str {
        match self {
            Site::Embed => "embed",
            Site::ResidPre(_) => "resid_pre",
            Site::AttnNorm(_) => "attn_norm",
            Site::AttnPattern(_) => "attn_pattern",
            Site::AttnZ(_) => "attn_z",
            Site::AttnOut(_) => "attn_out",
            Site::ResidMid(_) => "resid_mid",
            Site::MlpNorm(_) => "mlp_norm",
            Site::MlpAct(_) => "mlp_act",
            Site::MlpOut(_) => "mlp_out",
            Site::ResidPost(_) => "resid_post",
            Site::FinalNorm => "final_norm",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer() {
            Some(layer) => write!(f, "{}.{layer}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(name: &str) -> Result<Site> {
        let unknown = || match transformer_lens::parse(name) {
            Ok(site) => Error::Site {
                site: name.to_owned(),
                reason: format!("this is the name in TransformerLens; the name here is `{site}`"),
            },
            Err(_) => Error::UnknownSite(name.to_owned()),
        };
        match name {
            "embed" => return Ok(Site::Embed),
            "final_norm" => return Ok(Site::FinalNorm),
            _ => {}
        }
        let (kind, layer) = name.split_once('.').ok_or_else(unknown)?;
        let (_, site) = LAYER_SITES
            .iter()
            .find(|(k, _)| *k == kind)
            .ok_or_else(unknown)?;
        let parsed = site(layer.parse().map_err(|_| unknown())?);
        // `resid_post.08` and `resid_post.+8` parse as numbers and are not printed forms of a site.
        if parsed.to_string() == name {
            Ok(parsed)
        } else {
            Err(unknown())
        }
    }
}

impl TryFrom<String> for Site {
    type Error = Error;

    fn try_from(name: String) -> Result<Site> {
        name.parse()
    }
}

impl From<Site> for String {
    fn from(site: Site) -> String {
        site.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_site_parses_from_its_printed_form_and_no_two_print_alike() {
        let sites: Vec<Site> = Site::all(13).collect();
        let mut names: Vec<String> = sites.iter().map(Site::to_string).collect();
        for (site, name) in sites.iter().zip(&names) {
            assert_eq!(name.parse::<Site>().unwrap(), *site);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), sites.len());
    }

    #[test]
    fn a_name_of_transformer_lens_is_refused_with_ours() {
        for site in Site::all(2) {
            let error = transformer_lens::name(site).parse::<Site>().unwrap_err();
            let says = error.to_string();
            assert!(says.contains(&format!("`{site}`")), "{says}");
        }
    }

    #[test]
    fn unknown_sites_are_refused() {
        for name in [
            "",
            "resid_post",
            "resid_post.",
            "resid_post.08",
            "resid_post.-1",
            "blocks.8",
        ] {
            assert!(
                matches!(name.parse::<Site>(), Err(Error::UnknownSite(_))),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_string_panics_and_parsed_sites_print_back(name in "\\PC{0,24}|[a-z_]{1,12}\\.[0-9]{1,22}") {
            if let Ok(site) = name.parse::<Site>() {
                prop_assert_eq!(site.to_string(), name);
            }
        }
    }
}
