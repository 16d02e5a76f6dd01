//! Paths of modules in Hugging Face's models, as other people's configurations name sites.

use super::Site;
use crate::error::{Error, Result};

/// The end of a module that an activation was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its input.
    Input,
    /// Its output.
    Output,
}

/// The site at one end of the module at `path`, such as `model.layers.8.mlp`. A path that ends with
/// `.input` or `.output` names its end itself.
///
/// Gemma 2 and 3 norm the outputs of attention and MLP before they add them. The sites `attn_out` and
/// `mlp_out` stand after that norm, and the outputs of their modules `self_attn` and `mlp` before it: the
/// latter are not sites.
pub fn parse(path: &str, end: End) -> Result<Site> {
    let unknown = || Error::UnknownSite(path.to_owned());
    let (module, end) = match path.rsplit_once('.') {
        Some((module, "input")) => (module, End::Input),
        Some((module, "output")) => (module, End::Output),
        _ => (path, end),
    };
    let names: Vec<&str> = module.split('.').collect();
    if let Some("embed_tokens" | "wte" | "embed_in") = names.last().copied() {
        return match end {
            End::Output => Ok(Site::Embed),
            End::Input => Err(unknown()),
        };
    }
    if let ["model", "norm"]
    | ["transformer", "ln_f"]
    | ["gpt_neox", "final_layer_norm"]
    | ["norm" | "ln_f" | "final_layer_norm"] = names[..]
    {
        return match end {
            End::Output => Ok(Site::FinalNorm),
            End::Input => Err(unknown()),
        };
    }
    let block = names
        .iter()
        .position(|name| matches!(*name, "layers" | "h"));
    let block = block.ok_or_else(unknown)?;
    let layer = names.get(block + 1).ok_or_else(unknown)?;
    let layer = layer.parse().map_err(|_| unknown())?;
    let site: fn(usize) -> Site = match (&names[block + 2..], end) {
        ([], End::Input) => Site::ResidPre,
        ([], End::Output) => Site::ResidPost,
        (["attn" | "self_attn" | "attention"], End::Output) => Site::AttnOut,
        (["mlp"], End::Output) | (["post_feedforward_layernorm"], End::Output) => Site::MlpOut,
        (["mlp"], End::Input) | (["ln_2" | "pre_feedforward_layernorm"], End::Output) => {
            Site::MlpNorm
        }
        (["ln_2"], End::Input) => Site::ResidMid,
        (["ln_1" | "input_layernorm"], End::Output) => Site::AttnNorm,
        (["ln_1" | "input_layernorm"], End::Input) => Site::ResidPre,
        (["attn", "c_proj"] | ["self_attn", "o_proj"] | ["attention", "dense"], End::Input) => {
            Site::AttnZ
        }
        (["mlp", "c_proj" | "down_proj" | "dense_4h_to_h"], End::Input) => Site::MlpAct,
        (["mlp", "c_proj" | "dense_4h_to_h" | "down_proj"], End::Output) => Site::MlpOut,
        (["attn", "c_proj"] | ["self_attn", "o_proj"] | ["attention", "dense"], End::Output) => {
            Site::AttnOut
        }
        _ => return Err(unknown()),
    };
    Ok(site(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_every_family_are_understood() {
        for (path, end, site) in [
            ("layers.10", End::Output, "resid_post.10"),
            ("model.layers.10", End::Input, "resid_pre.10"),
            ("h.5.mlp", End::Output, "mlp_out.5"),
            ("transformer.h.5.mlp", End::Input, "mlp_norm.5"),
            ("gpt_neox.layers.3.attention", End::Output, "attn_out.3"),
            ("embed_tokens", End::Output, "embed"),
            ("model.layers.7.output", End::Input, "resid_post.7"),
            (
                "model.layers.7.self_attn.o_proj.input",
                End::Output,
                "attn_z.7",
            ),
            (
                "model.layers.7.pre_feedforward_layernorm.output",
                End::Output,
                "mlp_norm.7",
            ),
            (
                "model.layers.7.post_feedforward_layernorm.output",
                End::Output,
                "mlp_out.7",
            ),
        ] {
            assert_eq!(parse(path, end).unwrap().to_string(), site, "{path}");
        }
        for path in ["", "layers", "layers.x", "layers.3.mlp.up_proj", "lm_head"] {
            assert!(parse(path, End::Output).is_err(), "{path}");
        }
    }
}
