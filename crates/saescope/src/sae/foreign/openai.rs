//! OpenAI's `sparse_autoencoder`: a pickled dict (Gao et al. 2024).
//!
//! An autoencoder with TopK normalises its input and one with ReLU does not. Nothing in the file says so;
//! its makers' own reader infers the norm from the activation function too.

use std::path::Path;

use saescope_kernels::Gate;
use serde_json::{Map, Value as Json};

use super::{AutoencoderFiles, Weights, checked_k, whole};
use crate::checkpoint::torch::Value;
use crate::error::{Error, Result};
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::Site;

const TENSORS: [&str; 7] = [
    "pre_bias",
    "encoder.weight",
    "latent_bias",
    "decoder.weight",
    "stats_last_nonzero",
    "latents_activation_frequency",
    "latents_mean_square",
];

/// The site of one kind, by layer.
type OfLayer = fn(usize) -> Site;

/// OpenAI's names for sites of GPT-2.
const LOCATIONS: [(&str, OfLayer); 5] = [
    ("mlp_post_act", Site::MlpAct),
    ("resid_delta_attn", Site::AttnOut),
    ("resid_post_attn", Site::ResidMid),
    ("resid_delta_mlp", Site::MlpOut),
    ("resid_post_mlp", Site::ResidPost),
];

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
    source.only(&TENSORS)?;
    let [d_sae, d_in] = source.shape("encoder.weight")?;
    let (gate, input_norm) = activation(files, d_sae)?;
    let weights = Weights {
        b_enc: source.vector("latent_bias", d_sae)?,
        b_dec: source.vector("pre_bias", d_in)?,
        w_enc: source.matrix("encoder.weight", [d_sae, d_in])?,
        w_dec: source.transposed("decoder.weight", [d_sae, d_in])?,
        gate,
        subtract_b_dec: true,
        input_norm,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    let mut record = Record {
        format: Format::Openai,
        model: Some("openai-community/gpt2".to_owned()),
        context: Some(64),
        config: config(files),
        ..Record::default()
    };
    record.site = location(&whole(source.path()));
    if record.site.is_none() {
        record.notes.push(
            "a file of OpenAI names its site only by its path, as in \
             resid_post_mlp_v5_128k/autoencoders/8.pt"
                .to_owned(),
        );
    }
    Ok((weights, record))
}

fn activation(files: &AutoencoderFiles, d_sae: usize) -> Result<(Gate, InputNorm)> {
    let value = |key| files.weights.torch().and_then(|value| value.get(key));
    let name = match value("activation") {
        None => "ReLU",
        Some(name) => name.as_str().unwrap_or("?"),
    };
    let state = value("activation_state_dict");
    let state = |key| state.and_then(|state| state.get(key));
    let after = state("postact_fn").map_or(Some("ReLU"), Value::as_str);
    // `k` belongs to TopK, whose norm a ReLU does not have.
    if name == "ReLU" && state("k").is_some() {
        let stated = value("activation").map_or("absent, which means ReLU", |_| "ReLU");
        return Err(Error::Unsupported {
            path: files.weights.path().to_path_buf(),
            reason: format!("`activation` is {stated}, and `activation_state_dict` has a `k`"),
        });
    }
    match (name, after) {
        ("ReLU", _) => Ok((Gate::Positive, InputNorm::None)),
        ("TopK", Some("ReLU")) => {
            let k = state("k").and_then(Value::as_i64);
            let k = k.and_then(|k| usize::try_from(k).ok()).ok_or_else(|| {
                let reason = "`activation_state_dict` has no whole number `k`";
                Error::format(files.weights.path(), reason)
            })?;
            let k = checked_k(files.weights.path(), k, d_sae)?;
            Ok((Gate::TopK(k), InputNorm::LayerNorm))
        }
        _ => Err(Error::Unsupported {
            path: files.weights.path().to_path_buf(),
            reason: format!(
                "its activation is {name}, then {}; only ReLU, and TopK with ReLU, are supported",
                after.unwrap_or("?")
            ),
        }),
    }
}

/// The site in a path such as `resid_post_mlp_v5_128k/autoencoders/8.pt`.
fn location(path: &Path) -> Option<Site> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    let layer = digits.parse().ok()?;
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    names.find_map(|name| {
        let found = LOCATIONS
            .iter()
            .find(|(location, _)| name.contains(location));
        found.map(|(_, site)| site(layer))
    })
}

/// The plain values of the dict: strings, numbers, booleans and dicts of them.
fn config(files: &AutoencoderFiles) -> Json {
    let Some(Value::Dict(pairs)) = files.weights.torch() else {
        return Json::Null;
    };
    json_object(pairs)
}

fn json(value: &Value) -> Option<Json> {
    match value {
        Value::Str(text) => Some(text.as_str().into()),
        Value::Int(number) => Some((*number).into()),
        Value::Float(number) => Some((*number).into()),
        Value::Bool(truth) => Some((*truth).into()),
        Value::Dict(pairs) => Some(json_object(pairs)),
        _ => None,
    }
}

fn json_object(pairs: &[(Value, Value)]) -> Json {
    let plain = pairs
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), json(value)?)));
    Json::Object(plain.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_location_maps_to_its_site() {
        for (path, site) in [
            ("/x/mlp_post_act/autoencoders/0.pt", "mlp_act.0"),
            ("/x/resid_delta_mlp_v4/autoencoders/11.pt", "mlp_out.11"),
            ("/x/resid_delta_attn_v5_32k/autoencoders/3.pt", "attn_out.3"),
            (
                "/x/resid_post_attn_v5_128k/autoencoders/5.pt",
                "resid_mid.5",
            ),
            ("/x/v5_128k/resid_post_mlp/8.pt", "resid_post.8"),
            ("/x/v5_128k_resid_post_mlp_8.pt", "resid_post.8"),
        ] {
            assert_eq!(location(Path::new(path)).unwrap().to_string(), site);
        }
        assert_eq!(location(Path::new("/x/autoencoders/8.pt")), None);
        assert_eq!(location(Path::new("/x/resid_post_mlp/sae.pt")), None);
    }
}
