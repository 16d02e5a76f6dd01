//! `dictionary_learning`: `ae.pt`, a state dict, and `config.json`.
//!
//! The class is recognised by the tensors; two classes with the same tensors are told apart by the
//! configuration. A backup of a training run holds the state dict under `ae`, and its autoencoder reads
//! activations divided by `norm_factor`.

use saescope_kernels::Gate;

use super::{
    AutoencoderFiles, Record, Source, Weights, checked_k, exp, input_scale, model_called,
    module_site, number_after,
};
use crate::checkpoint::torch::Value;
use crate::error::{Error, Result};
use crate::sae::files::ConfigObject;
use crate::sae::fold;
use crate::sae::norm::InputNorm;
use crate::sae::record::Format;
use crate::site::Site;
use crate::site::modules::End;

/// The state dict in a backup.
const BACKUP: &str = "ae.";

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let torch = files.weights.torch();
    let backup = torch.is_some_and(|value| matches!(value.get("ae"), Some(Value::Dict(_))));
    let source = if backup {
        Source::below(&files.weights, BACKUP)
    } else {
        Source::new(&files.weights)
    };
    let trainer = files.config.part("trainer");
    let mut weights = if source.has("encoder.weight") {
        linear(&source, &trainer)?
    } else if source.has("W_enc") {
        plain(&source)?
    } else {
        let reason = "a file of torch.save without `encoder.weight` and `W_enc`, which dictionary_learning \
                      writes, and without `latent_bias`, which OpenAI writes";
        return Err(Error::format(source.path(), reason));
    };
    trainer.agrees("activation_dim", weights.w_enc.cols())?;
    trainer.agrees("dict_size", weights.w_enc.rows())?;
    if backup && let Some(factor) = torch.and_then(|value| value.get("norm_factor")) {
        let factor = factor.as_f64().unwrap_or(f64::NAN);
        weights.input_norm = input_scale(source.path(), "norm_factor", 1.0 / factor)?;
    }
    Ok((weights, record(&files.config, &trainer)?))
}

/// Reads the classes whose encoder and decoder are `nn.Linear`.
fn linear(source: &Source, trainer: &ConfigObject) -> Result<Weights> {
    let [d_sae, d_in] = source.shape("encoder.weight")?;
    if source.has("r_mag") {
        return gated(source, [d_sae, d_in]);
    }
    let mut names = vec!["encoder.weight", "encoder.bias", "decoder.weight"];
    let (gate, b_dec) = if source.has("threshold") {
        names.extend(["k", "threshold"]);
        (top_k(source, trainer, d_sae)?, "b_dec")
    } else if source.has("b_dec") {
        // Older versions of TopK kept no threshold.
        names.push("k");
        (
            Gate::TopK(checked_k(source.path(), k(source, trainer)?, d_sae)?),
            "b_dec",
        )
    } else if source.has("bias") {
        (Gate::Positive, "bias")
    } else {
        (Gate::Positive, "decoder.bias")
    };
    names.push(b_dec);
    source.only(&names)?;
    Ok(Weights {
        w_enc: source.matrix("encoder.weight", [d_sae, d_in])?,
        b_enc: source.vector("encoder.bias", d_sae)?,
        gate,
        w_dec: source.transposed("decoder.weight", [d_sae, d_in])?,
        b_dec: source.vector(b_dec, d_in)?,
        // Anthropic's April 2024 update adds this bias to the output and subtracts nothing from the input.
        subtract_b_dec: b_dec != "decoder.bias",
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    })
}

fn gated(source: &Source, [d_sae, d_in]: [usize; 2]) -> Result<Weights> {
    const NAMES: [&str; 4] = ["decoder_bias", "r_mag", "gate_bias", "mag_bias"];
    source.only(&[&NAMES[..], &["encoder.weight", "decoder.weight"]].concat())?;
    let scales = exp(source, "r_mag", d_sae)?;
    let b_gate = source.vector("gate_bias", d_sae)?;
    let b_mag = source.vector("mag_bias", d_sae)?;
    let mut w_enc = source.matrix("encoder.weight", [d_sae, d_in])?;
    let (b_enc, gate) = fold::gated(&mut w_enc, &scales, &b_gate, b_mag);
    Ok(Weights {
        w_enc,
        b_enc,
        gate,
        w_dec: source.transposed("decoder.weight", [d_sae, d_in])?,
        b_dec: source.vector("decoder_bias", d_in)?,
        subtract_b_dec: true,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    })
}

/// Reads the classes with plain matrices: JumpReLU and Matryoshka.
fn plain(source: &Source) -> Result<Weights> {
    let [d_in, d_sae] = source.shape("W_enc")?;
    let matryoshka = source.has("group_sizes");
    let mut names = vec!["W_enc", "b_enc", "W_dec", "b_dec", "threshold"];
    if matryoshka {
        names.extend(["k", "group_sizes"]);
    }
    source.only(&names)?;
    let thresholds = if matryoshka {
        vec![source.scalar("threshold")?; d_sae]
    } else {
        source.vector("threshold", d_sae)?
    };
    Ok(Weights {
        w_enc: source.transposed("W_enc", [d_sae, d_in])?,
        b_enc: source.vector("b_enc", d_sae)?,
        gate: Gate::Above(thresholds),
        w_dec: source.matrix("W_dec", [d_sae, d_in])?,
        b_dec: source.vector("b_dec", d_in)?,
        subtract_b_dec: matryoshka,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    })
}

/// The gate of the two classes that have the same tensors. TopK keeps the `k` largest pre-activations of
/// a token; BatchTopK keeps those above the threshold that it learned, which is below 0 before it has.
fn top_k(source: &Source, trainer: &ConfigObject, d_sae: usize) -> Result<Gate> {
    match trainer.text("dict_class")? {
        Some("BatchTopKSAE") => Ok(Gate::Above(vec![source.scalar("threshold")?; d_sae])),
        Some("AutoEncoderTopK") => Ok(Gate::TopK(checked_k(
            source.path(),
            k(source, trainer)?,
            d_sae,
        )?)),
        Some(_) => Err(trainer.unsupported(
            "dict_class",
            "its tensors belong to AutoEncoderTopK or BatchTopKSAE",
        )),
        None => {
            let reason = "its tensors fit TopK and BatchTopK; only `trainer.dict_class` in the config.json \
                          beside it says which";
            Err(Error::format(source.path(), reason))
        }
    }
}

fn k(source: &Source, trainer: &ConfigObject) -> Result<usize> {
    let k = if source.has("k") {
        usize::try_from(source.integer("k")?).ok()
    } else {
        trainer.size("k")?
    };
    k.ok_or_else(|| {
        Error::format(
            source.path(),
            "there is no `k` in it, and none in config.json",
        )
    })
}

fn record(config: &ConfigObject, trainer: &ConfigObject) -> Result<Record> {
    let mut record = Record {
        format: Format::DictionaryLearning,
        model: trainer.text("lm_name")?.map(model_called),
        context: config.part("buffer").size("ctx_len")?,
        config: config.to_value(),
        ..Record::default()
    };
    record.site = site(trainer, &mut record)?;
    Ok(record)
}

fn site(trainer: &ConfigObject, record: &mut Record) -> Result<Option<Site>> {
    let Some(name) = trainer.text("submodule_name")? else {
        return Ok(None);
    };
    let layer = number_after(std::path::Path::new(name), "layer_");
    let of_layer: Option<fn(usize) -> Site> = match name.split("_layer_").next() {
        Some("resid_post" | "resid") => Some(Site::ResidPost),
        Some("resid_pre") => Some(Site::ResidPre),
        Some("mlp_out" | "mlp") => Some(Site::MlpOut),
        Some("attn_out" | "attention_out" | "attn") => Some(Site::AttnOut),
        _ => None,
    };
    if let (Some(site), Some(layer)) = (of_layer, layer) {
        return Ok(Some(site(layer)));
    }
    Ok(module_site(name, End::Output, record))
}
