//! Transcoders of one layer in the layout of `circuit-tracer`: `layer_N.safetensors`, one `config.yaml` for
//! all layers.

use saescope_kernels::Gate;

use super::{
    AutoencoderFiles, Source, Weights, checked_k, number_after, released, site_called, whole,
};
use crate::error::{Error, Result};
use crate::sae::files::ConfigObject;
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::Site;

/// The thresholds of one with JumpReLU.
const THRESHOLD: &str = "activation_function.threshold";
/// The number of active features, in the configuration and in files that the library saved.
const K: &str = "k";

/// True if the name of the file and the configuration are of this layout: `W_enc` alone is SAELens' too.
pub(super) fn is_it(files: &AutoencoderFiles) -> bool {
    let name = files.weights.path().file_name().unwrap_or_default();
    let layer = name.to_string_lossy().starts_with("layer_");
    files.config.get("architecture").is_none()
        && (layer || files.config.get("model_kind").is_some())
}

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let (source, config) = (files.source(), &files.config);
    if !matches!(config.text("model_kind")?, None | Some("transcoder_set")) {
        return Err(config.unsupported("model_kind", "only transcoder_set is supported"));
    }
    source.only(&["W_enc", "W_dec", "b_enc", "b_dec", "W_skip", THRESHOLD, K])?;
    let [d_sae, d_in] = source.shape("W_enc")?;
    let [_, d_out] = source.shape("W_dec")?;
    let optional = |name| source.has(name);
    let weights = Weights {
        b_enc: source.vector("b_enc", d_sae)?,
        w_enc: source.matrix("W_enc", [d_sae, d_in])?,
        gate: gate(&source, config, d_sae)?,
        w_dec: source.matrix("W_dec", [d_sae, d_out])?,
        b_dec: source.vector("b_dec", d_out)?,
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: if optional("W_skip") {
            Some(source.matrix("W_skip", [d_out, d_in])?)
        } else {
            None
        },
        transcoder: true,
    };
    let mut record = Record {
        format: Format::CircuitTracer,
        model: config.text("model_name")?.map(str::to_owned),
        config: config.to_value(),
        ..Record::default()
    };
    sites(files, &mut record)?;
    Ok((weights, record))
}

/// The gate. The library takes the one that `activation` names, and without that key JumpReLU if there are
/// thresholds, otherwise ReLU.
fn gate(source: &Source, config: &ConfigObject, d_sae: usize) -> Result<Gate> {
    let named = config.text("activation")?;
    match (named, source.has(THRESHOLD), k(source, config)?) {
        (None | Some("jumprelu"), true, None) => Ok(Gate::Above(source.vector(THRESHOLD, d_sae)?)),
        (None | Some("relu"), false, None) => Ok(Gate::Positive),
        // Without the configuration, a `k` that the library saved among the tensors says it.
        (named, false, Some(k)) if named == Some("topk") || named.is_none() && source.has(K) => {
            Ok(Gate::TopK(checked_k(source.path(), k, d_sae)?))
        }
        (Some("topk"), false, None) => {
            let reason = "`activation` is topk, and there is no `k`, neither in a config.yaml beside it nor \
                          among its tensors";
            Err(Error::format(source.path(), reason))
        }
        (_, thresholds, k) => {
            let thresholds = if thresholds {
                THRESHOLD
            } else {
                "no thresholds"
            };
            let k = k.map_or("no `k`".to_owned(), |k| format!("a `k` of {k}"));
            let supported = format!(
                "there are {thresholds} and {k}; supported are relu with neither, topk with `k`, and \
                 jumprelu with thresholds"
            );
            Err(config.unsupported("activation", &supported))
        }
    }
}

/// `k` of the file, of the configuration or of the release; the first two have to agree.
fn k(source: &Source, config: &ConfigObject) -> Result<Option<usize>> {
    if !source.has(K) {
        let given = config.size(K)?;
        return Ok(given.or_else(|| released::k(source.path())));
    }
    let k = usize::try_from(source.integer(K)?).ok();
    let k = k.ok_or_else(|| Error::format(source.path(), "its `k` is negative"))?;
    config.agrees(K, k)?;
    Ok(Some(k))
}

/// Fills in the sites that it reads and writes; a hook in the configuration is one of each block.
fn sites(files: &AutoencoderFiles, record: &mut Record) -> Result<()> {
    let (path, config) = (whole(files.weights.path()), &files.config);
    let name = path.file_name().unwrap_or_default();
    let Some(layer) = number_after(std::path::Path::new(name), "layer_") else {
        let note = "its layer stands only in the name of the file, as in layer_2.safetensors";
        record.notes.push(note.to_owned());
        return Ok(());
    };
    let hook = |key: &str| -> Result<Option<String>> {
        let hook = config.text(key)?;
        Ok(hook.map(|hook| format!("blocks.{layer}.{hook}")))
    };
    let (reads, writes) = (hook("feature_input_hook")?, hook("feature_output_hook")?);
    if reads.is_none() && writes.is_none() {
        // Without the configuration: those that every published set has.
        record.site = Some(Site::MlpNorm(layer));
        record.out_site = Some(Site::MlpOut(layer));
        let note =
            "there is no config.yaml beside it; it is taken to read mlp_norm and to write mlp_out";
        record.notes.push(note.to_owned());
        return Ok(());
    }
    record.site = site_called(reads.as_deref(), record);
    record.out_site = site_called(writes.as_deref(), record);
    Ok(())
}
