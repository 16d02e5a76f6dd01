//! Google's Gemma Scope: `params.npz`, whose model and site only the folders name; and Gemma Scope 2:
//! `params.safetensors` with `config.json`.

use std::path::Path;

use saescope_kernels::Gate;

use super::{AutoencoderFiles, NORMALIZED, Weights, number_after, whole};
use crate::error::{Error, Result};
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::Site;
use crate::site::modules::{self, End};

/// Names of the tensors, in the order in which [`read`] takes them, of the first and the second release.
const NAMES: [[&str; 5]; 2] = [
    ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"],
    ["w_enc", "w_dec", "b_enc", "b_dec", "threshold"],
];
const SKIP: &str = "affine_skip_connection";

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
    let names = NAMES[usize::from(source.has("w_enc"))];
    source.only(&[names.as_slice(), &[SKIP]].concat())?;
    let [w_enc, w_dec, b_enc, b_dec, threshold] = names;
    let [d_in, d_sae] = source.shape(w_enc)?;
    let [_, d_out] = source.shape(w_dec).map_err(|error| match error {
        // A cross-layer transcoder has one decoder per layer.
        Error::Tensor { path, reason, .. } => Error::Unsupported {
            path,
            reason: format!("`{w_dec}`: {reason}; cross-layer transcoders are not read"),
        },
        other => other,
    })?;
    let record = match (files.weights.is_npz(), files.config.is_empty()) {
        (true, _) => by_path(&whole(source.path())),
        (false, true) => by_path_2(&whole(source.path())),
        (false, false) => by_config(files)?,
    };
    let mut weights = Weights {
        w_enc: source.transposed(w_enc, [d_sae, d_in])?,
        b_enc: source.vector(b_enc, d_sae)?,
        gate: Gate::Above(source.vector(threshold, d_sae)?),
        w_dec: source.matrix(w_dec, [d_sae, d_out])?,
        b_dec: source.vector(b_dec, d_out)?,
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: if source.has(SKIP) {
            Some(source.transposed(SKIP, [d_out, d_in])?)
        } else {
            None
        },
        transcoder: record.out_site.is_some() || source.has(SKIP) || d_out != d_in,
    };
    // These were trained on embeddings before Gemma's factor of sqrt(d_model); our `embed` includes it.
    if files.weights.is_npz() && record.site == Some(Site::Embed) {
        let scale = (d_in as f32).sqrt();
        weights.w_enc.scale(1.0 / scale);
        weights.w_dec.scale(scale);
    }
    Ok((weights, record))
}

/// The record in a path such as `gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz`.
fn by_path(path: &Path) -> Record {
    let mut record = Record {
        format: Format::GemmaScope,
        prepend_bos: Some(true),
        context: Some(1024),
        ..Record::default()
    };
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
    // In the Hub's cache the folder is `models--google--gemma-scope-2b-pt-res`.
    let release = names.iter().rev().find_map(|name| {
        let (_, release) = name.split_once("gemma-scope-")?;
        let parts: Vec<&str> = release.split('-').collect();
        match *parts {
            [size, kind, site, ..] => Some((size, kind, site)),
            _ => None,
        }
    });
    let layer = number_after(path, "layer_");
    if let Some((size, kind, place)) = release {
        let instruct = if kind == "it" { "-it" } else { "" };
        record.model = Some(format!("google/gemma-2-{size}{instruct}"));
        record.site = match (place, layer) {
            ("res", _) if names.contains(&"embedding") => Some(Site::Embed),
            ("res", Some(layer)) => Some(Site::ResidPost(layer)),
            ("mlp", Some(layer)) => Some(Site::MlpOut(layer)),
            ("att", Some(layer)) => Some(Site::AttnZ(layer)),
            ("transcoders", Some(layer)) => {
                record.notes.push(NORMALIZED.to_owned());
                record.out_site = Some(Site::MlpOut(layer));
                Some(Site::MlpNorm(layer))
            }
            _ => None,
        };
    }
    if record.site.is_none() {
        record.notes.push(
            "a file of Gemma Scope names its model and site only by its path, as in \
             gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz"
                .to_owned(),
        );
    }
    record
}

/// The record in a path such as
/// `gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_medium/params.safetensors`.
fn by_path_2(path: &Path) -> Record {
    let mut record = Record {
        format: Format::GemmaScope2,
        prepend_bos: Some(true),
        context: Some(1024),
        ..Record::default()
    };
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
    let release = names
        .iter()
        .rev()
        .find_map(|name| name.split_once("gemma-scope-2-"));
    record.model = release.map(|(_, size)| model(&format!("gemma-3-{size}")));
    let has = |kind: &str| {
        names
            .iter()
            .any(|name| name.trim_end_matches("_all") == kind)
    };
    if let Some(layer) = number_after(path, "layer_") {
        (record.site, record.out_site) = if has("transcoder") {
            (Some(Site::MlpNorm(layer)), Some(Site::MlpOut(layer)))
        } else if has("resid_post") {
            (Some(Site::ResidPost(layer)), None)
        } else if has("attn_out") {
            (Some(Site::AttnZ(layer)), None)
        } else if has("mlp_out") {
            (Some(Site::MlpOut(layer)), None)
        } else {
            (None, None)
        };
    }
    if record.site.is_none() {
        let note = "there is no config.json beside it, and its folders do not name its site";
        record.notes.push(note.to_owned());
    }
    record
}

fn by_config(files: &AutoencoderFiles) -> Result<Record> {
    let config = &files.config;
    if !matches!(config.text("architecture")?, None | Some("jump_relu")) {
        return Err(config.unsupported("architecture", "only jump_relu is supported"));
    }
    if let Some(flag) = config.truth("affine_connection")?
        && flag != files.source().has(SKIP)
    {
        let has = if flag { "no" } else { "an" };
        let reason = format!("the file has {has} `{SKIP}`");
        return Err(config.unsupported("affine_connection", &reason));
    }
    let mut record = Record {
        format: Format::GemmaScope2,
        prepend_bos: Some(true),
        context: Some(1024),
        model: config.text("model_name")?.map(model),
        config: config.to_value(),
        ..Record::default()
    };
    let mut site = |key: &str| -> Result<Option<Site>> {
        let Some(path) = config.text(key)? else {
            return Ok(None);
        };
        let site = modules::parse(path, End::Output).ok();
        if site.is_none() {
            let note = format!("saescope has no site for its `{key}` `{path}`");
            record.notes.push(note);
        }
        Ok(site)
    };
    let (reads, writes) = (site("hf_hook_point_in")?, site("hf_hook_point_out")?);
    record.site = reads;
    record.out_site = writes.filter(|_| writes != reads);
    Ok(record)
}

/// `gemma-v3-270m-pt` is `google/gemma-3-270m` on the Hub; the larger ones keep their `-pt`.
fn model(name: &str) -> String {
    let name = name.trim_start_matches("google/").replace("-v3", "-3");
    let name = if name.contains("270m") {
        name.trim_end_matches("-pt")
    } else {
        &name
    };
    format!("google/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_a_release_name_model_and_site() {
        for (path, model, site) in [
            (
                "/c/models--google--gemma-scope-2b-pt-res/snapshots/1/layer_20/width_16k/average_l0_71/params.npz",
                "google/gemma-2-2b",
                "resid_post.20",
            ),
            (
                "/c/gemma-scope-9b-it-att/layer_9/width_16k/average_l0_71/params.npz",
                "google/gemma-2-9b-it",
                "attn_z.9",
            ),
            (
                "/c/gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6/params.npz",
                "google/gemma-2-2b",
                "embed",
            ),
        ] {
            let record = by_path(Path::new(path));
            assert_eq!(record.model.as_deref(), Some(model));
            assert_eq!(record.site.unwrap().to_string(), site);
        }
        let path = "/c/gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_8/params.npz";
        let path_2 = "/c/models--google--gemma-scope-2-270m-pt/snapshots/1/transcoder_all/layer_5_width_16k_l0_big_affine/params.safetensors";
        let record = by_path_2(Path::new(path_2));
        assert_eq!(record.model.as_deref(), Some("google/gemma-3-270m"));
        assert_eq!(record.site, Some(Site::MlpNorm(5)));
        assert_eq!(record.out_site, Some(Site::MlpOut(5)));
        let record = by_path(Path::new(path));
        assert_eq!(record.site, Some(Site::MlpNorm(3)));
        assert_eq!(record.out_site, Some(Site::MlpOut(3)));
        assert_eq!(by_path(Path::new("/c/params.npz")).site, None);
    }
}
