//! EleutherAI's `sparsify`: `cfg.json` and `sae.safetensors` in a folder named after the module.

use saescope_kernels::Gate;

use super::{AutoencoderFiles, Source, Weights, checked_k, module_site, whole};
use crate::error::{Error, Result};
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::modules::End;

const TENSORS: [&str; 5] = ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"];

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = Source::new(&files.weights);
    let config = &files.config;
    source.only(&TENSORS)?;
    let [d_sae, d_in] = source.shape("encoder.weight")?;
    let [_, d_out] = source.shape("W_dec")?;
    config.agrees("d_in", d_in)?;
    // 0 means `d_in * expansion_factor`; the weights have the number itself.
    match config.size("num_latents")? {
        None | Some(0) => config.agrees("expansion_factor", d_sae / d_in)?,
        Some(_) => config.agrees("num_latents", d_sae)?,
    }
    if !matches!(config.text("activation")?, None | Some("topk")) {
        return Err(config.unsupported("activation", "only topk is supported"));
    }
    // Older versions could keep the largest by absolute value, with their signs.
    if config.truth("signed")? == Some(true) {
        return Err(config.unsupported("signed", "only unsigned activations are supported"));
    }
    let k = config.size("k")?.ok_or_else(|| {
        let reason = "there is no cfg.json with a `k` beside it";
        Error::format(source.path(), reason)
    })?;
    let k = checked_k(config.path(), k, d_sae)?;
    let transcoder = config.truth("transcode")?.unwrap_or(false);
    let skip = source.has("W_skip");
    let weights = Weights {
        w_enc: source.matrix("encoder.weight", [d_sae, d_in])?,
        b_enc: source.vector("encoder.bias", d_sae)?,
        gate: Gate::TopK(k),
        w_dec: source.matrix("W_dec", [d_sae, d_out])?,
        b_dec: source.vector("b_dec", d_out)?,
        subtract_b_dec: !transcoder,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: if skip {
            Some(source.matrix("W_skip", [d_out, d_in])?)
        } else {
            None
        },
        transcoder,
    };
    Ok((weights, record(files, transcoder)?))
}

fn record(files: &AutoencoderFiles, transcoder: bool) -> Result<Record> {
    let mut record = Record {
        format: Format::Sparsify,
        config: files.config.to_value(),
        ..Record::default()
    };
    if let Some(run) = &files.run {
        record.model = run.text("model")?.map(str::to_owned);
        record.revision = run.text("revision")?.map(str::to_owned);
        record.context = run.size("ctx_len")?;
    }
    let path = whole(files.weights.path());
    let folder = path.parent().and_then(|folder| folder.file_name());
    let module = folder.unwrap_or_default().to_string_lossy();
    if transcoder {
        record.site = module_site(&module, End::Input, &mut record);
        record.out_site = module_site(&module, End::Output, &mut record);
    } else {
        record.site = module_site(&module, End::Output, &mut record);
    }
    Ok(record)
}
