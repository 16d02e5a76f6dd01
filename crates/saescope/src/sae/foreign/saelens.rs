//! SAELens: `cfg.json` and `sae_weights.safetensors`, of every version. saescope writes this layout too.
//!
//! Before version 6 the configuration is flat and some keys have other names. Both layouts are read by
//! the same code, which does not depend on the version.

use saescope_kernels::{Gate, Matrix, scale_rows};
use serde_json::Value;

use super::{
    AutoencoderFiles, Source, Weights, checked_k, exp, input_scale, model_called, released,
    site_called,
};
use crate::error::{Error, Result};
use crate::sae::files::ConfigObject;
use crate::sae::fold;
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};
use crate::site::Site;

/// The key of `metadata` that holds our own record.
pub(in crate::sae) const OWN_RECORD: &str = "saescope";

/// Names of tensors, for reading and writing.
pub(in crate::sae) mod tensor {
    pub(in crate::sae) const W_ENC: &str = "W_enc";
    pub(in crate::sae) const B_ENC: &str = "b_enc";
    pub(in crate::sae) const W_DEC: &str = "W_dec";
    pub(in crate::sae) const B_DEC: &str = "b_dec";
    pub(in crate::sae) const W_SKIP: &str = "W_skip";
    pub(in crate::sae) const THRESHOLD: &str = "threshold";
}

use tensor::{B_DEC, B_ENC, THRESHOLD, W_DEC, W_ENC, W_SKIP};

const SUPPORTED: &str = "supported are standard, topk, jumprelu, gated, batchtopk, matryoshka_batchtopk, \
                         transcoder, jumprelu_transcoder, skip_transcoder and jumprelu_skip_transcoder";

/// The rule by which an architecture makes activations of pre-activations.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Standard,
    TopK,
    JumpRelu,
    Gated,
    /// A checkpoint of a training; SAELens saves it as JumpReLU for use.
    BatchTopK,
}

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let source = files.source();
    let config = &files.config;
    if config.is_empty() {
        let reason = "there is no cfg.json beside it, which names its architecture; an autoencoder of SAELens \
                      is a folder of both";
        return Err(Error::format(source.path(), reason));
    }
    let architecture = architecture(config)?;
    contradicted(config, &architecture)?;
    let Architecture {
        kind,
        transcoder,
        skip,
    } = architecture;
    let [d_in, d_sae] = source.shape(W_ENC)?;
    let [_, d_out] = source.shape(W_DEC)?;
    config.agrees("d_in", d_in)?;
    config.agrees("d_sae", d_sae)?;
    if transcoder {
        config.agrees("d_out", d_out)?;
    }
    source.only(&names(&source, kind, skip))?;

    let mut record = record(config)?;
    let input_norm = input_norm(files, &mut record)?;
    let mut w_enc = source.transposed(W_ENC, [d_sae, d_in])?;
    let mut w_dec = source.matrix(W_DEC, [d_sae, d_out])?;
    let (b_enc, gate) = gate(&source, config, kind, &mut w_enc, &mut w_dec)?;
    fine_tuned(&source, config, &mut w_dec)?;
    let centre = centred(files, &record)?;
    let note = "its makers centred the weights that write to the residual stream, so each token's \
                mean is subtracted";
    if centre && !record.notes.iter().any(|n| n == note) {
        record.notes.push(note.to_owned());
    }
    let subtract = config.truth("apply_b_dec_to_input")?;
    let weights = Weights {
        w_enc,
        b_enc,
        gate,
        w_dec,
        b_dec: source.vector(B_DEC, d_out)?,
        subtract_b_dec: !transcoder && subtract.unwrap_or(true),
        input_norm,
        centre,
        w_skip: if skip {
            Some(source.matrix(W_SKIP, [d_out, d_in])?)
        } else {
            None
        },
        transcoder,
    };
    Ok((weights, record))
}

/// Folds the factors of a fine-tuning into the decoder. Factors of 1 were written for every autoencoder
/// for a while.
fn fine_tuned(source: &Source, config: &ConfigObject, w_dec: &mut Matrix) -> Result<()> {
    const KEY: &str = "finetuning_scaling_factor";
    if !source.has("scaling_factor") {
        return Ok(());
    }
    let factors = source.vector("scaling_factor", w_dec.rows())?;
    if factors.iter().all(|factor| (factor - 1.0).abs() <= 1e-5) {
        return Ok(());
    }
    if config.truth(KEY)? != Some(true) {
        let value = config
            .get(KEY)
            .map_or("absent".to_owned(), Value::to_string);
        let reason = format!(
            "`{KEY}` is {value} in {}, and the factors here are not 1; SAELens refuses this too: set the key \
             to true if the factors belong to it, or take the tensor out",
            config.path().display()
        );
        return Err(Error::tensor(source.path(), "scaling_factor", reason));
    }
    scale_rows(w_dec, &factors);
    Ok(())
}

/// Refuses an architecture that other keys of the configuration contradict.
fn contradicted(config: &ConfigObject, architecture: &Architecture) -> Result<()> {
    let name = config
        .text("architecture")?
        .unwrap_or("absent, which means standard");
    let against = |key: &str, what: &str| {
        let reason = format!("`architecture` is {name}; {what}");
        Err(config.unsupported(key, &reason))
    };
    let plain = matches!(
        architecture.kind,
        Kind::Standard | Kind::JumpRelu | Kind::Gated
    );
    if plain && config.size("k").is_ok_and(|k| k.is_some()) {
        return against("k", "only TopK has a `k`");
    }
    let metadata = config.part("metadata");
    for object in [config, &metadata] {
        let (reads, writes) = (object.text("hook_name")?, object.text("hook_name_out")?);
        if !architecture.transcoder
            && reads.is_some()
            && writes.is_some_and(|out| Some(out) != reads)
        {
            let reason = format!(
                "`architecture` is {name}, and `hook_name_out` is {} while `hook_name` is {}; only a \
                 transcoder writes another hook than it reads",
                writes.unwrap_or_default(),
                reads.unwrap_or_default()
            );
            let path = config.path().to_path_buf();
            return Err(Error::Unsupported { path, reason });
        }
    }
    if architecture.kind != Kind::TopK {
        let key = if config.get("activation_fn").is_some() {
            "activation_fn"
        } else {
            "activation_fn_str"
        };
        if !matches!(config.text(key)?, None | Some("relu")) {
            return against(key, "its activation is relu");
        }
    }
    Ok(())
}

/// An architecture of SAELens, taken apart.
struct Architecture {
    kind: Kind,
    transcoder: bool,
    /// True if it has a skip connection.
    skip: bool,
}

fn architecture(config: &ConfigObject) -> Result<Architecture> {
    let name = config.text("architecture")?.unwrap_or("standard");
    let transcoder = name.ends_with("transcoder");
    let skip = name.ends_with("skip_transcoder");
    let kind = match name {
        "standard" => match activation_of_old(config)? {
            Some(_) => Kind::TopK,
            None => Kind::Standard,
        },
        "transcoder" | "skip_transcoder" => Kind::Standard,
        // SAELens has no transcoder with TopK; saescope writes those of sparsify under these names.
        "topk" | "topk_transcoder" | "topk_skip_transcoder" => Kind::TopK,
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => Kind::JumpRelu,
        "gated" => Kind::Gated,
        "batchtopk" | "matryoshka_batchtopk" => Kind::BatchTopK,
        _ => return Err(config.unsupported("architecture", SUPPORTED)),
    };
    Ok(Architecture {
        kind,
        transcoder,
        skip,
    })
}

/// The `k` of a `standard` autoencoder whose activation is TopK, which was possible before version 6.
fn activation_of_old(config: &ConfigObject) -> Result<Option<usize>> {
    let key = match config.get("activation_fn") {
        Some(_) => "activation_fn",
        None => "activation_fn_str",
    };
    match config.text(key)? {
        None | Some("relu") => Ok(None),
        Some("topk") => {
            let k = config.part("activation_fn_kwargs").size("k")?;
            let k =
                k.ok_or_else(|| config.unsupported("activation_fn_kwargs", "topk needs `k`"))?;
            Ok(Some(k))
        }
        Some(_) => Err(config.unsupported(key, "supported are relu and topk")),
    }
}

/// The tensors that a kind has.
fn names(source: &Source, kind: Kind, skip: bool) -> Vec<&'static str> {
    let mut names = vec![W_ENC, W_DEC, B_DEC, "scaling_factor"];
    names.extend::<&[&str]>(match kind {
        Kind::Standard | Kind::TopK => &[B_ENC],
        // Before 6.48, checkpoints of a training hold the threshold's logarithm.
        Kind::JumpRelu if source.has("log_threshold") => &[B_ENC, "log_threshold"],
        Kind::JumpRelu => &[B_ENC, THRESHOLD],
        Kind::Gated => &["b_gate", "b_mag", "r_mag"],
        Kind::BatchTopK if source.has(THRESHOLD) => &[B_ENC, THRESHOLD],
        Kind::BatchTopK => &[B_ENC, "topk_threshold"],
    });
    if skip {
        names.push(W_SKIP);
    }
    names
}

/// The encoder's bias and gate; gates and rescaled decoders are folded into the weights.
fn gate(
    source: &Source,
    config: &ConfigObject,
    kind: Kind,
    w_enc: &mut Matrix,
    w_dec: &mut Matrix,
) -> Result<(Vec<f32>, Gate)> {
    let d_sae = w_enc.rows();
    if kind == Kind::Gated {
        let scales = exp(source, "r_mag", d_sae)?;
        let b_gate = source.vector("b_gate", d_sae)?;
        let b_mag = source.vector("b_mag", d_sae)?;
        return Ok(fold::gated(w_enc, &scales, &b_gate, b_mag));
    }
    let mut b_enc = source.vector(B_ENC, d_sae)?;
    if config.truth("rescale_acts_by_decoder_norm")? == Some(true) {
        fold::decoder_norms(w_enc, &mut b_enc, w_dec);
    }
    let gate = match kind {
        Kind::Standard | Kind::Gated => Gate::Positive,
        Kind::TopK => {
            let k = match config.size("k")? {
                Some(k) => Some(k),
                None => activation_of_old(config)?,
            };
            let k = k.ok_or_else(|| config.unsupported("k", "topk needs a whole number"))?;
            Gate::TopK(checked_k(config.path(), k, d_sae)?)
        }
        Kind::JumpRelu if source.has("log_threshold") => {
            Gate::Above(exp(source, "log_threshold", d_sae)?)
        }
        Kind::BatchTopK if source.has("topk_threshold") => {
            Gate::Above(vec![source.scalar("topk_threshold")?; d_sae])
        }
        Kind::JumpRelu | Kind::BatchTopK => Gate::Above(source.vector(THRESHOLD, d_sae)?),
    };
    Ok((b_enc, gate))
}

fn input_norm(files: &AutoencoderFiles, record: &mut Record) -> Result<InputNorm> {
    let config = &files.config;
    let key = "normalize_activations";
    let name = match config.get(key) {
        None | Some(Value::Bool(false)) => "none",
        Some(Value::Bool(true)) => "expected_average_only_in",
        Some(_) => config.text(key)?.unwrap_or("none"),
    };
    match name {
        "none" => Ok(InputNorm::None),
        "layer_norm" => Ok(InputNorm::LayerNorm),
        "constant_norm_rescale" => Ok(InputNorm::ConstantNorm),
        "expected_average_only_in" => {
            let key = "scaling_factor";
            let scaler = files.scaler.as_ref();
            let factor = scaler.map(|scaler| scaler.number(key)).transpose()?;
            let known = || released::scale(files.weights.path(), record);
            match factor.flatten().or_else(known) {
                Some(factor) => input_scale(config.path(), key, factor),
                None => {
                    record.notes.push(
                        "it was trained on activations times a constant that its file omits; it is read \
                         as if the constant were folded into its weights"
                            .to_owned(),
                    );
                    Ok(InputNorm::None)
                }
            }
        }
        _ => Err(config.unsupported(
            key,
            "supported are none, layer_norm, constant_norm_rescale and expected_average_only_in; SAELens \
             folds the others into the weights when it saves for use",
        )),
    }
}

/// The record in the configuration: flat before version 6, in `metadata` since.
fn record(config: &ConfigObject) -> Result<Record> {
    let metadata = config.part("metadata");
    if let Some(own) = metadata.get(OWN_RECORD) {
        return serde_json::from_value(own.clone())
            .map_err(|e| Error::format(config.path(), format!("`metadata.{OWN_RECORD}`: {e}")));
    }
    let of = |key: &str| {
        if metadata.get(key).is_some() {
            &metadata
        } else {
            config
        }
    };
    let mut record = Record {
        format: Format::Saelens,
        model: of("model_name").text("model_name")?.map(model_called),
        prepend_bos: of("prepend_bos").truth("prepend_bos")?,
        context: of("context_size").size("context_size")?,
        config: config.to_value(),
        ..Record::default()
    };
    if metadata.is_empty() {
        record.prepend_bos.get_or_insert(true);
    }
    let hook = match of("hook_name").text("hook_name")? {
        None => of("hook_point").text("hook_point")?,
        hook => hook,
    };
    record.site = site_called(hook, &mut record);
    let out = of("hook_name_out").text("hook_name_out")?;
    record.out_site = site_called(out, &mut record);
    for key in ["hook_head_index", "hook_point_head_index"] {
        if let Some(head) = of(key).size(key)? {
            record.site = None;
            let note = format!("it reads head {head} alone, and saescope has no site for one head");
            record.notes.push(note);
        }
    }
    Ok(record)
}

/// True if the model was loaded with centred writing weights and the site is one that they write.
fn centred(files: &AutoencoderFiles, record: &Record) -> Result<bool> {
    let metadata = files.config.part("metadata");
    let mut recorded = false;
    for object in [&metadata, &files.config] {
        let loaded = object.part("model_from_pretrained_kwargs");
        recorded |= loaded.truth("center_writing_weights")? == Some(true);
    }
    let released = released::centred(files.weights.path());
    let written = matches!(
        record.site,
        Some(
            Site::ResidPre(_)
                | Site::ResidMid(_)
                | Site::ResidPost(_)
                | Site::AttnOut(_)
                | Site::MlpOut(_)
                | Site::Embed
        )
    );
    Ok((recorded || released) && written)
}
