//! Qwen Scope: `layerN.sae.pt`, TopK without a bias on its input, and one `config.json` for all layers.

use saescope_kernels::Gate;

use super::{AutoencoderFiles, Weights, checked_k, number_after, plain, whole};
use crate::error::{Error, Result};
use crate::sae::record::{Format, Record};
use crate::site::Site;

/// The `model_type` of the configuration.
const TYPE: &str = "topk_sae";

const TENSORS: [&str; 4] = ["W_enc", "b_enc", "W_dec", "b_dec"];

/// True if the configuration or the name of the file is Qwen Scope's.
pub(super) fn is_it(files: &AutoencoderFiles) -> bool {
    let named = files.weights.path().to_string_lossy().ends_with(".sae.pt");
    named
        || files
            .config
            .get("model_type")
            .is_some_and(|kind| *kind == TYPE)
}

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let (source, config) = (files.source(), &files.config);
    source.only(&TENSORS)?;
    if !matches!(config.text("model_type")?, None | Some(TYPE)) {
        return Err(config.unsupported("model_type", "only topk_sae is supported"));
    }
    let [d_sae, d_in] = source.shape("W_enc")?;
    config.agrees("d_sae", d_sae)?;
    config.agrees("d_model", d_in)?;
    let path = whole(source.path());
    let k = config.size("k")?.or_else(|| number_after(&path, "-L0_"));
    let k = k.ok_or_else(|| {
        let reason = "there is no `k`: neither in a config.json beside it nor in the name of its folder, as in \
                      SAE-Res-Qwen3-1.7B-Base-W32K-L0_50";
        Error::format(source.path(), reason)
    })?;
    let gate = Gate::TopK(checked_k(source.path(), k, d_sae)?);
    let weights = plain(&source, TENSORS, gate)?;
    let mut record = Record {
        format: Format::QwenScope,
        model: config.text("base_model")?.map(str::to_owned),
        config: config.to_value(),
        ..Record::default()
    };
    let of_layer: Option<fn(usize) -> Site> = match config.text("hook_point")? {
        None | Some("resid_post") => Some(Site::ResidPost),
        Some("resid_pre") => Some(Site::ResidPre),
        Some("mlp_out") => Some(Site::MlpOut),
        Some("attn_out") => Some(Site::AttnOut),
        Some(_) => None,
    };
    let layer = path.file_name().map(std::path::Path::new);
    let layer = layer.and_then(|name| number_after(name, "layer"));
    record.site = of_layer.zip(layer).map(|(site, layer)| site(layer));
    if record.site.is_none() {
        let note = "its site is not clear: the layer stands in the name of the file, as in layer2.sae.pt, and \
                    the place in `hook_point`";
        record.notes.push(note.to_owned());
    }
    Ok((weights, record))
}
