//! EleutherAI's `sparsify`: `cfg.json` and `sae.safetensors` in a folder named after the module.

use saescope_kernels::Gate;

use super::{AutoencoderFiles, Weights, checked_k, module_site, whole};
use crate::error::{Error, Result};
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::modules::End;

const TENSORS: [&str; 5] = ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"];

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
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
    let skip = source.has("W_skip");
    if let Some(flag) = config.truth("skip_connection")?
        && flag != skip
    {
        let has = if skip { "a" } else { "no" };
        let reason = format!("there is {has} `W_skip` in {}", source.path().display());
        return Err(config.unsupported("skip_connection", &reason));
    }
    let (transcoder, note) = transcodes(files, skip)?;
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
    let mut record = record(files, transcoder)?;
    record.notes.extend(note.map(str::to_owned));
    Ok((weights, record))
}

/// True for a transcoder. Older versions wrote it to the configuration of the run alone, or not at all.
fn transcodes(files: &AutoencoderFiles, skip: bool) -> Result<(bool, Option<&'static str>)> {
    let key = "transcode";
    let own = files.config.truth(key)?;
    let run = match &files.run {
        Some(run) => match run.truth(key)? {
            None => run.part("sae").truth(key)?,
            flag => flag,
        },
        None => None,
    };
    match (own, run) {
        (Some(own), Some(run)) if own != run => {
            let reason = format!("the configuration of its run says {run}");
            Err(files.config.unsupported(key, &reason))
        }
        (Some(own), _) => Ok((own, None)),
        (None, Some(run)) => Ok((run, None)),
        (None, None) if skip => {
            let note = "no configuration says that it is a transcoder; its `W_skip` does";
            Ok((true, Some(note)))
        }
        (None, None) => Ok((false, None)),
    }
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
