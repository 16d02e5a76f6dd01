//! EleutherAI's `sparsify`: `cfg.json` and `sae.safetensors` in a folder named after the module.

use saescope_kernels::Gate;

use super::{Found, Source, Weights, checked_k, whole};
use crate::error::Result;
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::modules::{self, End};

const TENSORS: [&str; 5] = ["encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip"];

pub(super) fn read(found: &Found) -> Result<(Weights, Record)> {
    let source = Source::new(&found.weights);
    let config = &found.config;
    source.only(&TENSORS)?;
    let [d_sae, d_in] = source.shape("encoder.weight")?;
    let [_, d_out] = source.shape("W_dec")?;
    config.agrees("d_in", d_in)?;
    // 0 stands for a multiple of d_in.
    match config.size("num_latents")? {
        None | Some(0) => {
            let factor = config.size("expansion_factor")?.unwrap_or(32);
            if d_in.checked_mul(factor) != Some(d_sae) {
                config.agrees("expansion_factor", d_sae / d_in)?;
            }
        }
        Some(_) => config.agrees("num_latents", d_sae)?,
    }
    if !matches!(config.text("activation")?, None | Some("topk")) {
        return Err(config.unsupported("activation", "read is topk"));
    }
    let k = checked_k(config, config.size("k")?.unwrap_or(32), d_sae)?;
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
        w_skip: match skip {
            true => Some(source.matrix("W_skip", [d_out, d_in])?),
            false => None,
        },
        transcoder,
    };
    Ok((weights, record(found, transcoder)?))
}

fn record(found: &Found, transcoder: bool) -> Result<Record> {
    let mut record = Record {
        format: Format::Sparsify,
        config: found.config.to_value(),
        ..Record::default()
    };
    if let Some(run) = &found.run {
        record.model = run.text("model")?.map(str::to_owned);
        record.revision = run.text("revision")?.map(str::to_owned);
        record.context = run.size("ctx_len")?;
    }
    let path = whole(found.weights.path());
    let folder = path.parent().and_then(|folder| folder.file_name());
    let module = folder.unwrap_or_default().to_string_lossy();
    let site = |end| modules::parse(&module, end).ok();
    if transcoder {
        (record.site, record.out_site) = (site(End::Input), site(End::Output));
    } else {
        record.site = site(End::Output);
    }
    if record.site.is_none() {
        let note = format!("its folder `{module}` names no module that is a site");
        record.notes.push(note);
    }
    Ok(record)
}
