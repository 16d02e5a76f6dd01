//! Writes the native folder, which is SAELens 6's: `cfg.json` and `sae_weights.safetensors`.
//!
//! Our own record stands in `metadata.saescope`, which SAELens keeps without reading it. The folder is
//! read by `foreign::saelens`, so that one reader serves both.

use std::collections::BTreeMap;
use std::path::Path;

use saescope_kernels::{Gate, Matrix};
use serde_json::{Map, Value, json};

use super::foreign::{OWN_RECORD, tensor};
use super::{InputNorm, Sae};
use crate::checkpoint::{Elements, NewTensor, save_safetensors, save_whole};
use crate::error::{Error, Result};
use crate::site::{Site, transformer_lens};

/// The version of SAELens whose layout is written; it reads older layouts differently.
const LAYOUT: &str = "6.0.0";

pub(super) fn save(sae: &Sae, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    // SAELens has no key for a constant input scale and folds it before it saves, and so do we.
    let scale = match sae.input_norm {
        InputNorm::Scale(scale) => Some(scale),
        _ => None,
    };
    let (w_enc, b_enc) = sae.encoder();
    let (w_dec, b_dec) = sae.decoder();
    let w_enc = Scaled::new(w_enc, scale);
    let out = scale.filter(|_| !sae.transcoder).map(|scale| 1.0 / scale);
    let w_dec = Scaled::new(w_dec, out);
    let b_dec: Vec<f32> = b_dec
        .iter()
        .map(|b| out.map_or(*b, |out| b * out))
        .collect();
    let (d_in, d_sae, d_out) = (sae.d_in(), sae.d_sae(), sae.d_out());
    let skip = sae.w_skip.as_ref().map(|skip| {
        let mut rows = Matrix::zeros(d_out, d_in);
        (0..d_out).for_each(|row| skip.copy_row(row, rows.row_mut(row)));
        rows
    });
    let mut parts = vec![
        (
            tensor::W_ENC,
            vec![d_in, d_sae],
            Elements::Transposed(w_enc.get()),
        ),
        (
            tensor::W_DEC,
            vec![d_sae, d_out],
            Elements::F32(w_dec.get().data()),
        ),
        (tensor::B_ENC, vec![d_sae], Elements::F32(b_enc)),
        (tensor::B_DEC, vec![d_out], Elements::F32(&b_dec)),
    ];
    if let Gate::Above(thresholds) = sae.gate() {
        parts.push((tensor::THRESHOLD, vec![d_sae], Elements::F32(thresholds)));
    }
    if let Some(skip) = &skip {
        parts.push((
            tensor::W_SKIP,
            vec![d_out, d_in],
            Elements::F32(skip.data()),
        ));
    }
    let tensors: Vec<NewTensor> = parts
        .iter()
        .map(|(name, shape, elements)| NewTensor {
            name,
            shape,
            elements: *elements,
        })
        .collect();
    let weights = folder.join("sae_weights.safetensors");
    save_safetensors(&weights, &tensors, &BTreeMap::new())?;
    let path = folder.join("cfg.json");
    let config = config(sae, &path)?;
    save_whole(&path, |file| std::io::Write::write_all(file, &config))
}

/// A matrix, or a scaled copy of it.
enum Scaled<'a> {
    AsIs(&'a Matrix),
    Copy(Matrix),
}

impl<'a> Scaled<'a> {
    fn new(matrix: &'a Matrix, factor: Option<f32>) -> Scaled<'a> {
        let Some(factor) = factor else {
            return Scaled::AsIs(matrix);
        };
        let mut copy = matrix.clone();
        copy.scale(factor);
        Scaled::Copy(copy)
    }

    fn get(&self) -> &Matrix {
        match self {
            Scaled::AsIs(matrix) => matrix,
            Scaled::Copy(matrix) => matrix,
        }
    }
}

/// The content of `cfg.json`.
fn config(sae: &Sae, path: &Path) -> Result<Vec<u8>> {
    let mut config = json!({
        "architecture": architecture(sae),
        "d_in": sae.d_in(),
        "d_sae": sae.d_sae(),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_b_dec,
        "normalize_activations": match sae.input_norm {
            InputNorm::None | InputNorm::Scale(_) => "none",
            InputNorm::LayerNorm => "layer_norm",
            InputNorm::ConstantNorm => "constant_norm_rescale",
        },
        // Our `attn_z` is flat already; theirs has an axis for heads.
        "reshape_activations": match sae.record.site {
            Some(Site::AttnZ(_)) => "hook_z",
            _ => "none",
        },
        "metadata": metadata(sae, path)?,
    });
    if sae.transcoder {
        config["d_out"] = sae.d_out().into();
    }
    if let Gate::TopK(k) = sae.gate() {
        config["k"] = (*k).into();
        config["rescale_acts_by_decoder_norm"] = false.into();
    }
    let mut text = serde_json::to_vec_pretty(&config)
        .map_err(|e| Error::format(path, format!("the configuration cannot be written: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

fn architecture(sae: &Sae) -> String {
    let gate = match sae.gate() {
        Gate::Positive => "standard",
        Gate::TopK(_) => "topk",
        Gate::Above(_) => "jumprelu",
    };
    if !sae.transcoder {
        return gate.to_owned();
    }
    let kind = if sae.w_skip.is_some() {
        "skip_transcoder"
    } else {
        "transcoder"
    };
    match gate {
        "standard" => kind.to_owned(),
        gate => format!("{gate}_{kind}"),
    }
}

fn metadata(sae: &Sae, path: &Path) -> Result<Value> {
    let record = &sae.record;
    let own = serde_json::to_value(record)
        .map_err(|e| Error::format(path, format!("the record cannot be written: {e}")))?;
    let mut metadata = Map::new();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    set("sae_lens_version", LAYOUT.into());
    set("sae_lens_training_version", Value::Null);
    if let Some(model) = &record.model {
        set("model_name", transformer_lens::model_name(model).into());
    }
    if let Some(site) = record.site {
        set("hook_name", transformer_lens::name(site).into());
    }
    if let Some(site) = record.out_site {
        set("hook_name_out", transformer_lens::name(site).into());
    }
    if let Some(bos) = record.prepend_bos {
        set("prepend_bos", bos.into());
    }
    if let Some(context) = record.context {
        set("context_size", context.into());
    }
    if sae.centre {
        let loaded = json!({ "center_writing_weights": true });
        set("model_from_pretrained_kwargs", loaded);
    }
    set(OWN_RECORD, own);
    Ok(Value::Object(metadata))
}
