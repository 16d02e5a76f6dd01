//! The autoencoders of GPT-2's attention (Kissane et al. 2024): a state dict in `NAME.pt` and its
//! configuration in `NAME_cfg.json`. They read all heads' values, `attn_z`.

use saescope_kernels::Gate;

use super::{AutoencoderFiles, Weights, model_called, site_called, whole};
use crate::error::Result;
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let (source, config) = (files.source(), &files.config);
    source.only(&["W_enc", "W_dec", "b_enc", "b_dec"])?;
    let [d_in, d_sae] = source.shape("W_enc")?;
    config.agrees("act_size", d_in)?;
    config.agrees("dict_size", d_sae)?;
    let weights = Weights {
        w_enc: source.transposed("W_enc", [d_sae, d_in])?,
        b_enc: source.vector("b_enc", d_sae)?,
        gate: Gate::Positive,
        w_dec: source.matrix("W_dec", [d_sae, d_in])?,
        b_dec: source.vector("b_dec", d_in)?,
        subtract_b_dec: true,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    let path = whole(source.path());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let model = match config.text("model_name")? {
        None if name.starts_with("gpt2-small") => Some("gpt2-small"),
        model => model,
    };
    let mut record = Record {
        format: Format::AttentionOut,
        model: model.map(model_called),
        context: config.size("seq_len")?,
        prepend_bos: Some(true),
        config: config.to_value(),
        ..Record::default()
    };
    record.site = site_called(config.text("act_name")?, &mut record);
    Ok((weights, record))
}
