//! Llama Scope and others by Llamascopium, once `lm_saes`, in both of its layouts: `hyperparams.json` with
//! `checkpoints/final.safetensors`, and `config.json` with `sae_weights.safetensors`.
//!
//! Both were trained on activations times `sqrt(d_model)` over their mean norm. The library folds that into
//! the weights when it opens the first layout, so that activations have the model's scale, and brings
//! decoder rows to norm 1. It keeps the weights of the second as they are.

use saescope_kernels::{Gate, Matrix, row_norms};
use serde_json::Value;

use super::{AutoencoderFiles, Source, Weights, checked_k, exp, input_scale, site_called};
use crate::error::{Error, Result};
use crate::sae::files::ConfigObject;
use crate::sae::fold;
use crate::sae::norm::InputNorm;
use crate::sae::record::{Format, Record};

/// Names of the weights, each `[d_in, d_sae]`, `[d_sae]`, `[d_sae, d_out]` and `[d_out]`; those of a linear
/// layer are transposed.
const NAMES: [[&str; 4]; 2] = [
    ["W_E", "b_E", "W_D", "b_D"],
    [
        "encoder.weight",
        "encoder.bias",
        "decoder.weight",
        "decoder.bias",
    ],
];
/// Names of the thresholds' logarithms.
const LOGS: [&str; 2] = [
    "log_jumprelu_threshold",
    "activation_function.log_jumprelu_threshold",
];
/// The mean norms, by hook.
const NORM: &str = "dataset_average_activation_norm";
/// The key of the decoder's bias taken off before the encoder; true if absent, and of the first layout alone.
const PRE_BIAS: &str = "apply_decoder_bias_to_pre_encoder";
/// The key of the gates that compare pre-activations times the norms of decoder rows; true if absent.
const INCLUDE: &str = "sparsity_include_decoder_norm";

pub(super) fn read(files: &AutoencoderFiles) -> Result<(Weights, Record)> {
    let (source, config) = (files.source(), &files.config);
    refuse_others(config)?;
    let [reads, writes] = hooks(config)?;
    let norms = [&reads, &writes].map(|hook| format!("{NORM}.{hook}"));
    let mut weights = stored(&source, config, &norms)?;
    weights.transcoder = reads != writes;
    if weights.transcoder && weights.subtract_b_dec {
        let reason = format!("a transcoder with `{PRE_BIAS}`, true if absent, is not supported");
        return Err(Error::format(config.path(), reason));
    }
    let mut record = Record {
        format: Format::Llamascopium,
        config: config.to_value(),
        ..Record::default()
    };
    // The first layout has one threshold, in its configuration.
    let released = config.get("jump_relu_threshold").is_some();
    normalise(&source, config, &mut weights, &norms, released)?;
    if released && config.truth(INCLUDE)?.unwrap_or(true) {
        fold::decoder_norms(&mut weights.w_enc, &mut weights.b_enc, &mut weights.w_dec);
    }
    gate(&source, config, &mut weights, &mut record)?;
    name(files, &mut record, [&reads, &writes])?;
    if released {
        record.notes.push(
            "its norms are folded into encoder bias and decoder, and decoder rows are brought to norm 1, as \
             its library does when it opens it: activations have the model's scale; SAELens keeps those of \
             training, which are sqrt(d_in) over the mean norm times as large"
                .to_owned(),
        );
    }
    Ok((weights, record))
}

/// The weights as they are stored, without a gate.
fn stored(source: &Source, config: &ConfigObject, norms: &[String; 2]) -> Result<Weights> {
    let linear = source.has("encoder.weight");
    let [w_enc, b_enc, w_dec, b_dec] = NAMES[usize::from(linear)];
    let [reads, writes] = norms;
    source.only(&[w_enc, b_enc, w_dec, b_dec, LOGS[0], LOGS[1], reads, writes])?;
    let shape = match (linear, source.shape(w_enc)?) {
        (true, shape) => shape,
        (false, [d_in, d_sae]) => [d_sae, d_in],
    };
    let [d_sae, d_in] = shape;
    config.agrees("d_model", d_in)?;
    config.agrees("d_sae", d_sae)?;
    let bias = config
        .truth("use_decoder_bias")?
        .unwrap_or_else(|| source.has(b_dec));
    let (w_enc, w_dec) = if linear {
        (
            source.matrix(w_enc, shape)?,
            source.transposed(w_dec, shape)?,
        )
    } else {
        (
            source.transposed(w_enc, shape)?,
            source.matrix(w_dec, shape)?,
        )
    };
    Ok(Weights {
        w_enc,
        b_enc: source.vector(b_enc, d_sae)?,
        gate: Gate::Positive,
        w_dec,
        b_dec: if bias {
            source.vector(b_dec, d_in)?
        } else {
            vec![0.0; d_in]
        },
        subtract_b_dec: bias && pre_bias(config)?,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    })
}

/// True if the library takes the decoder's bias off before the encoder, as it does in the first layout unless
/// that is switched off.
fn pre_bias(config: &ConfigObject) -> Result<bool> {
    let released = config.get("jump_relu_threshold").is_some();
    let given = config.truth(PRE_BIAS)?;
    Ok(given.unwrap_or(released))
}

/// Refuses what the library has beside plain autoencoders and transcoders.
fn refuse_others(config: &ConfigObject) -> Result<()> {
    if !matches!(config.text("sae_type")?, None | Some("sae")) {
        return Err(config.unsupported("sae_type", "only sae is supported"));
    }
    if config.truth("use_glu_encoder")? == Some(true) {
        return Err(config.unsupported(
            "use_glu_encoder",
            "an encoder with a gate of its own is not",
        ));
    }
    Ok(())
}

/// The hooks that it reads and writes.
fn hooks(config: &ConfigObject) -> Result<[String; 2]> {
    let reads = config.text("hook_point_in")?;
    let Some(reads) = reads else {
        let reason = "there is no `hook_point_in` in a config.json or hyperparams.json beside it";
        return Err(Error::format(config.path(), reason));
    };
    let writes = config.text("hook_point_out")?.unwrap_or(reads);
    Ok([reads.to_owned(), writes.to_owned()])
}

/// The mean norm of a hook's activations: in a tensor or in the configuration, where it is called by its
/// place, `in` or `out`, or by its hook.
fn norm(source: &Source, config: &ConfigObject, tensor: &str, place: &str) -> Result<f64> {
    if source.has(tensor) {
        return source.scalar(tensor).map(f64::from);
    }
    let norms = config.part(NORM);
    let hook = tensor.split_once('.').map_or(tensor, |(_, hook)| hook);
    let norm = match norms.number(place)? {
        None => norms.number(hook)?,
        norm => norm,
    };
    norm.ok_or_else(|| {
        let reason = format!(
            "`norm_activation` is dataset-wise, and there is no mean norm of `{hook}`, neither in `{NORM}` nor \
             in a tensor"
        );
        Error::format(config.path(), reason)
    })
}

/// Folds the norms of the training into the weights. `released` is true for the first layout.
fn normalise(
    source: &Source,
    config: &ConfigObject,
    weights: &mut Weights,
    [reads, writes]: &[String; 2],
    released: bool,
) -> Result<()> {
    let key = "norm_activation";
    match config.text(key)? {
        Some("inference") => return Ok(()),
        Some("dataset-wise") => {}
        None if released || source.has(reads) => {}
        Some("token-wise") if !weights.transcoder => {
            weights.input_norm = InputNorm::ConstantNorm;
            return Ok(());
        }
        _ => {
            let supported =
                "supported are dataset-wise, inference and, for autoencoders, token-wise";
            return Err(config.unsupported(key, supported));
        }
    }
    let root = (weights.w_enc.cols() as f64).sqrt();
    let factor = |tensor, place| -> Result<f32> {
        let factor = root / norm(source, config, tensor, place)?;
        match input_scale(config.path(), NORM, factor)? {
            InputNorm::Scale(scale) => Ok(scale),
            _ => Ok(1.0),
        }
    };
    let (input, output) = (factor(reads, "in")?, factor(writes, "out")?);
    if released {
        weights.b_enc.iter_mut().for_each(|b| *b /= input);
        weights.w_dec.scale(input / output);
    } else {
        weights.w_enc.scale(input);
        weights.w_dec.scale(1.0 / output);
    }
    weights.b_dec.iter_mut().for_each(|b| *b /= output);
    Ok(())
}

/// The gate. Under `sparsity_include_decoder_norm`, pre-activations are compared after they are multiplied
/// by the norms of the decoder's rows as they are stored.
fn gate(
    source: &Source,
    config: &ConfigObject,
    weights: &mut Weights,
    record: &mut Record,
) -> Result<()> {
    let d_sae = weights.w_enc.rows();
    let logs = LOGS.iter().find(|name| source.has(name));
    let scalar = config.number("jump_relu_threshold")?;
    let include = config
        .truth("sparsity_include_decoder_norm")?
        .unwrap_or(true);
    let name = config.text("act_fn")?;
    weights.gate = match (name, logs, scalar) {
        (Some("jumprelu") | None, Some(logs), None) => {
            let thresholds = exp(source, logs, d_sae)?;
            Gate::Above(if include {
                divided(thresholds, &stored_norms(source, d_sae)?)
            } else {
                thresholds
            })
        }
        // Opened for use, a TopK of the first layout with a threshold is a JumpReLU.
        (Some("jumprelu" | "topk") | None, None, Some(threshold)) if threshold > 0.0 => {
            Gate::Above(vec![threshold as f32; d_sae])
        }
        (Some("topk"), None, _) => {
            let k = config.size("top_k")?;
            let k = k.ok_or_else(|| config.unsupported("top_k", "topk needs a whole number"))?;
            if include && scalar.is_none() {
                fold::decoder_norms(&mut weights.w_enc, &mut weights.b_enc, &mut weights.w_dec);
                let note = "activations are those that its library compares, which are its own times the \
                            norms of decoder rows";
                record.notes.push(note.to_owned());
            }
            Gate::TopK(checked_k(config.path(), k, d_sae)?)
        }
        (Some("relu"), None, None | Some(0.0)) => Gate::Positive,
        _ => {
            let supported = "supported are relu, topk, and jumprelu with its thresholds in a tensor or in \
                             `jump_relu_threshold`";
            return Err(config.unsupported("act_fn", supported));
        }
    };
    Ok(())
}

/// Norms of the decoder's rows before anything is folded into them.
fn stored_norms(source: &Source, d_sae: usize) -> Result<Vec<f32>> {
    let stored: Matrix = if source.has("W_D") {
        let [_, d_out] = source.shape("W_D")?;
        source.matrix("W_D", [d_sae, d_out])?
    } else {
        let [d_out, _] = source.shape("decoder.weight")?;
        source.transposed("decoder.weight", [d_sae, d_out])?
    };
    Ok(row_norms(&stored))
}

/// Thresholds that compare alike before the factors; a feature of factor 0 is never active.
fn divided(mut thresholds: Vec<f32>, factors: &[f32]) -> Vec<f32> {
    for (threshold, factor) in thresholds.iter_mut().zip(factors) {
        *threshold = (*threshold / factor).min(f32::MAX);
    }
    thresholds
}

/// Fills in the model and the sites.
fn name(files: &AutoencoderFiles, record: &mut Record, [reads, writes]: [&str; 2]) -> Result<()> {
    let config = &files.config;
    let model = match config.text("model_name")? {
        None => config
            .part("lm_config")
            .text("model_name")?
            .map(str::to_owned),
        model => model.map(str::to_owned),
    };
    let path = super::whole(files.weights.path())
        .to_string_lossy()
        .into_owned();
    let released = path.contains("Llama3_1-8B") || path.contains("Llama-Scope");
    record.model = model.or_else(|| released.then(|| "meta-llama/Llama-3.1-8B".to_owned()));
    record.site = site_called(Some(reads), record);
    if reads != writes {
        record.out_site = site_called(Some(writes), record);
    }
    record.prepend_bos = Some(true);
    record.context = match config.get("context_size") {
        Some(Value::Number(_)) => config.size("context_size")?,
        _ => None,
    };
    Ok(())
}
