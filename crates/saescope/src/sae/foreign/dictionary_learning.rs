//! `dictionary_learning`: `ae.pt`, a state dict, and `config.json`.
//!
//! The class is recognised by the tensors; two classes with the same tensors are told apart by the
//! configuration. A backup of a training run holds the state dict under `ae`, and its autoencoder reads
//! activations divided by `norm_factor`.

use saescope_kernels::{Gate, row_norms};

use super::{
    AutoencoderFiles, Record, Source, Weights, checked_k, exp, input_scale, model_called,
    module_site, number_after,
};
use crate::error::{Error, Result};
use crate::sae::files::ConfigObject;
use crate::sae::fold;
use crate::sae::norm::InputNorm;
use crate::sae::record::Format;
use crate::site::Site;
use crate::site::modules::End;

/// The note for a class whose owner's loader normalises the decoder.
const NORMALISED: &str = "decoder rows are brought to norm 1, and encoder rows and biases multiplied by their \
                          norms, as dictionary_learning's load_dictionary does";

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
    let trainer = files.config.part("trainer");
    let mut weights = if source.has("encoder.weight") {
        linear(&source, &trainer)?
    } else {
        plain(&source, &trainer)?
    };
    trainer.agrees("activation_dim", weights.w_enc.cols())?;
    trainer.agrees("dict_size", weights.w_enc.rows())?;
    let factor = files
        .weights
        .torch()
        .and_then(|value| value.get("norm_factor"));
    if files.is_below("ae")
        && let Some(factor) = factor
    {
        let factor = factor.as_f64().unwrap_or(f64::NAN);
        weights.input_norm = input_scale(source.path(), "norm_factor", 1.0 / factor)?;
    }
    let mut record = record(&files.config, &trainer)?;
    // Only this class has a tensor of this name.
    if source.has("bias") && normalise(&mut weights) {
        record.notes.push(NORMALISED.to_owned());
    }
    Ok((weights, record))
}

/// Brings decoder rows to norm 1 unless they have it, to the tolerance of its makers.
fn normalise(weights: &mut Weights) -> bool {
    let is_one = |norm: &f32| (norm - 1.0).abs() <= 1e-5;
    if row_norms(&weights.w_dec).iter().all(is_one) {
        return false;
    }
    fold::decoder_norms(&mut weights.w_enc, &mut weights.b_enc, &mut weights.w_dec);
    true
}

/// Refuses a configuration whose class is not one of those that have these tensors.
fn is_class(trainer: &ConfigObject, classes: &[&str]) -> Result<()> {
    match trainer.text("dict_class")? {
        Some(class) if !classes.contains(&class) => {
            let classes = classes.join(" or ");
            Err(trainer.unsupported("dict_class", &format!("its tensors belong to {classes}")))
        }
        _ => Ok(()),
    }
}

/// Reads the classes whose encoder and decoder are `nn.Linear`.
fn linear(source: &Source, trainer: &ConfigObject) -> Result<Weights> {
    let [d_sae, d_in] = source.shape("encoder.weight")?;
    if source.has("r_mag") {
        is_class(trainer, &["GatedAutoEncoder"])?;
        return gated(source, [d_sae, d_in]);
    }
    let mut names = vec!["encoder.weight", "encoder.bias", "decoder.weight"];
    let (gate, b_dec) = if source.has("threshold") {
        names.extend(["k", "threshold"]);
        (top_k(source, trainer, d_sae)?, "b_dec")
    } else if source.has("b_dec") {
        // Older versions of TopK kept no threshold. BatchTopK without one cannot be told apart by token.
        is_class(trainer, &["AutoEncoderTopK"])?;
        names.push("k");
        (
            Gate::TopK(checked_k(source.path(), k(source, trainer)?, d_sae)?),
            "b_dec",
        )
    } else if source.has("bias") {
        is_class(trainer, &["AutoEncoder"])?;
        (Gate::Positive, "bias")
    } else {
        is_class(trainer, &["AutoEncoderNew"])?;
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
fn plain(source: &Source, trainer: &ConfigObject) -> Result<Weights> {
    let [d_in, d_sae] = source.shape("W_enc")?;
    let matryoshka = source.has("group_sizes");
    let mut names = vec!["W_enc", "b_enc", "W_dec", "b_dec", "threshold"];
    if matryoshka {
        names.extend(["k", "group_sizes"]);
    }
    source.only(&names)?;
    is_class(
        trainer,
        &[if matryoshka {
            "MatryoshkaBatchTopKSAE"
        } else {
            "JumpReluAutoEncoder"
        }],
    )?;
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
        let k = usize::try_from(source.integer("k")?).ok();
        // Its own loader refuses another `k` too.
        if let Some(k) = k {
            trainer.agrees("k", k)?;
        }
        k
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
