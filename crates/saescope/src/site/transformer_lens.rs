//! TransformerLens' names for sites, which configurations of SAELens use. No other module knows them.

use super::Site;
use crate::error::{Error, Result};

/// The site that TransformerLens calls `name`, such as `blocks.8.hook_resid_post`.
///
/// In RMS-norm models TransformerLens takes `hook_normalized` before the norm's gain. The sites
/// `attn_norm` and `mlp_norm` are the inputs of the next product, gain included. The names of version 3,
/// whose hooks are the inputs and outputs of modules, are understood too.
pub fn parse(name: &str) -> Result<Site> {
    let unknown = || Error::UnknownSite(name.to_owned());
    match name {
        "hook_embed" => return Ok(Site::Embed),
        "embed.hook_out" => return Ok(Site::Embed),
        "ln_final.hook_normalized" | "ln_final.hook_out" => return Ok(Site::FinalNorm),
        _ => {}
    }
    let (layer, hook) = name
        .strip_prefix("blocks.")
        .and_then(|rest| rest.split_once('.'))
        .ok_or_else(unknown)?;
    let layer = layer.parse().map_err(|_| unknown())?;
    Ok(match hook {
        "hook_resid_pre" | "hook_in" | "ln1.hook_in" => Site::ResidPre(layer),
        "ln1.hook_normalized" | "ln1.hook_out" | "attn.hook_in" => Site::AttnNorm(layer),
        "attn.hook_pattern" => Site::AttnPattern(layer),
        "attn.hook_z" | "attn.o.hook_in" => Site::AttnZ(layer),
        "hook_attn_out" | "attn.hook_out" => Site::AttnOut(layer),
        "hook_resid_mid" | "hook_mlp_in" | "ln2.hook_in" => Site::ResidMid(layer),
        "ln2.hook_normalized" | "ln2.hook_out" | "mlp.hook_in" => Site::MlpNorm(layer),
        "mlp.hook_post" | "mlp.out.hook_in" => Site::MlpAct(layer),
        "hook_mlp_out" | "mlp.hook_out" => Site::MlpOut(layer),
        "hook_resid_post" | "hook_out" => Site::ResidPost(layer),
        _ => return Err(unknown()),
    })
}

/// TransformerLens' name for `site`.
pub fn name(site: Site) -> String {
    let (layer, hook) = match site {
        Site::Embed => return "hook_embed".to_owned(),
        Site::FinalNorm => return "ln_final.hook_normalized".to_owned(),
        Site::ResidPre(layer) => (layer, "hook_resid_pre"),
        Site::AttnNorm(layer) => (layer, "ln1.hook_normalized"),
        Site::AttnPattern(layer) => (layer, "attn.hook_pattern"),
        Site::AttnZ(layer) => (layer, "attn.hook_z"),
        Site::AttnOut(layer) => (layer, "hook_attn_out"),
        Site::ResidMid(layer) => (layer, "hook_resid_mid"),
        Site::MlpNorm(layer) => (layer, "ln2.hook_normalized"),
        Site::MlpAct(layer) => (layer, "mlp.hook_post"),
        Site::MlpOut(layer) => (layer, "hook_mlp_out"),
        Site::ResidPost(layer) => (layer, "hook_resid_post"),
    };
    format!("blocks.{layer}.{hook}")
}

/// TransformerLens' name for a model of the Hugging Face Hub: GPT-2 has a shorter name there.
pub fn model_name(model: &str) -> &str {
    match model {
        "openai-community/gpt2" => "gpt2-small",
        _ => model.strip_prefix("openai-community/").unwrap_or(model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformer_lens_names_are_understood() {
        assert_eq!(
            parse("blocks.8.hook_resid_post").unwrap(),
            Site::ResidPost(8)
        );
        assert_eq!(parse("blocks.0.attn.hook_z").unwrap(), Site::AttnZ(0));
        for site in Site::all(3) {
            assert_eq!(parse(&name(site)).unwrap(), site);
        }
        for (hook, site) in [
            ("hook_out", "resid_post.2"),
            ("hook_in", "resid_pre.2"),
            ("hook_mlp_in", "resid_mid.2"),
            ("mlp.hook_in", "mlp_norm.2"),
            ("mlp.hook_out", "mlp_out.2"),
            ("attn.hook_out", "attn_out.2"),
            ("attn.o.hook_in", "attn_z.2"),
        ] {
            assert_eq!(
                parse(&format!("blocks.2.{hook}")).unwrap().to_string(),
                site
            );
        }
        assert_eq!(parse("embed.hook_out").unwrap(), Site::Embed);
        assert!(parse("blocks.8.hook_resid").is_err());
        assert!(parse("resid_post.8").is_err());
    }
}
