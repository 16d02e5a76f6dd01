//! Reads the files of other projects; the only place that knows what they call their tensors.
//!
//! A file's project is recognised by its content. Tensors that its kind does not have are refused by name.

mod attention_out;
mod circuit_tracer;
mod dictionary_learning;
mod gemma_scope;
mod goodfire;
mod llamascopium;
mod openai;
mod qwen_scope;
mod released;
mod saelens;
mod sparsify;

use std::path::Path;

use saescope_kernels::Gate;

use super::files::AutoencoderFiles;
use super::record::{Format, Record, SourceFile};
use super::source::Source;
use super::{InputNorm, Sae, Weights, fold, other};
use crate::error::{Error, Result};
use crate::site::modules::{self, End};
use crate::site::{Site, transformer_lens};

pub(super) use saelens::{OWN_RECORD, tensor};

/// The note for an autoencoder whose makers read the activation before the gain of a norm.
const NORMALIZED: &str = "TransformerLens takes `hook_normalized` before the gain of an RMS norm, \
                          unless it was folded; the site is after the gain";

/// The weights of an autoencoder that neither norms nor centres its input. `tensors` are the encoder
/// `[d_sae, d_in]`, its bias, the decoder `[d_in, d_sae]` and its bias.
fn plain(source: &Source, tensors: [&str; 4], gate: Gate) -> Result<Weights> {
    let [w_enc, b_enc, w_dec, b_dec] = tensors;
    let [d_sae, d_in] = source.shape(w_enc)?;
    Ok(Weights {
        w_enc: source.matrix(w_enc, [d_sae, d_in])?,
        b_enc: source.vector(b_enc, d_sae)?,
        gate,
        w_dec: source.transposed(w_dec, [d_sae, d_in])?,
        b_dec: source.vector(b_dec, d_in)?,
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    })
}

/// Reads an autoencoder, its format recognised by its tensors.
pub(super) fn read(files: &AutoencoderFiles) -> Result<Sae> {
    let (mut weights, mut record) = reader(files)?(files)?;
    // A folder that saescope saved keeps its record; any other file is the origin itself.
    if record.files.is_empty() && record.format != Format::Saescope {
        record.files = source_files(files, record.format);
    }
    fold::input_scale(&mut weights);
    Sae::new(weights, record).map_err(|error| match error {
        // The file is at fault if its parts do not fit each other, so the error names it.
        Error::Shape {
            what,
            expected,
            found: parts,
        } => Error::Shape {
            what: format!("{}: {what}", files.weights.path().display()),
            expected,
            found: parts,
        },
        other => other,
    })
}

/// Reads the weights and the record of one project's files.
type Reader = fn(&AutoencoderFiles) -> Result<(Weights, Record)>;

/// The reader of the project whose tensors these are. A configuration decides only between projects that
/// call their tensors alike.
fn reader(files: &AutoencoderFiles) -> Result<Reader> {
    let source = files.source();
    let torch = files.weights.torch().is_some();
    let keys = |names: &[&str]| names.iter().any(|name| files.config.get(name).is_some());
    let plain = source.has("W_enc") && source.has("W_dec") && !source.has("threshold");
    Ok(if torch && source.has("latent_bias") {
        openai::read
    } else if source.has("W_E") || source.has("encoder.weight") && keys(&["hook_point_in"]) {
        llamascopium::read
    } else if source.has("encoder_linear.weight") {
        goodfire::read
    } else if source.has("W_enc")
        && keys(&["architecture"])
        && !source.has("affine_skip_connection")
    {
        saelens::read
    } else if torch && plain && keys(&["act_size", "act_name"]) {
        attention_out::read
    } else if torch && plain && qwen_scope::is_it(files) {
        qwen_scope::read
    } else if torch && (source.has("encoder.weight") || source.has("W_enc") && !plain) {
        dictionary_learning::read
    } else if files.weights.is_npz() || source.has("w_enc") {
        gemma_scope::read
    } else if source.has("encoder.weight") {
        sparsify::read
    } else if source.has("W_enc") && circuit_tracer::is_it(files) {
        circuit_tracer::read
    } else if keys(&["architecture"]) || source.has("W_enc") && !torch {
        saelens::read
    } else {
        other::check(&files.weights)?;
        return Err(unknown(files, torch && plain));
    })
}

/// The error for a file that no reader takes. `plain` is true if it has the tensors of several kinds.
fn unknown(files: &AutoencoderFiles, plain: bool) -> Error {
    let names: Vec<&str> = files.weights.names().take(5).collect();
    let names = names.join(", ");
    let reason = if plain {
        format!(
            "its tensors ({names}) fit a ReLU and a TopK autoencoder, and no configuration beside it says \
             which: Qwen Scope has a config.json with `k`, the attention autoencoders of GPT-2 a \
             {}_cfg.json with `act_name`, SAELens a cfg.json with `architecture`",
            files
                .weights
                .path()
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
        )
    } else {
        format!(
            "its tensors ({names}, …) belong to no known kind of autoencoder: SAELens', sparsify's, \
             dictionary_learning's, OpenAI's, Goodfire's, Llamascopium's, circuit-tracer's, Gemma Scope's, \
             Qwen Scope's"
        )
    };
    Error::format(files.weights.path(), reason)
}

/// The files that an autoencoder of another project was read from.
fn source_files(files: &AutoencoderFiles, format: Format) -> Vec<SourceFile> {
    let configured = !files.config.is_empty() && format != Format::Openai;
    let config = configured.then(|| files.config.path());
    let paths = files.weights.files().chain(config);
    let mut files: Vec<SourceFile> = paths
        .map(|path| SourceFile {
            name: end_of(path),
            bytes: std::fs::metadata(path).map_or(0, |kind| kind.len()),
            sha256: None,
        })
        .collect();
    files.dedup();
    files
}

/// The last names of a path: enough to tell one file of a release from another, and nothing of the
/// user's own folders.
pub(super) fn end_of(path: &Path) -> String {
    const NAMES: usize = 3;
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    names[names.len().saturating_sub(NAMES)..].join("/")
}

/// The site that its makers call `name`: a hook of TransformerLens, or a module of a Hugging Face model,
/// whose output is meant. Adds a note if saescope has no such site.
fn site_called(name: Option<&str>, record: &mut Record) -> Option<Site> {
    let name = name?;
    let hook = transformer_lens::parse(name).or_else(|_| name.parse());
    let site = hook.or_else(|_| modules::parse(name, End::Output)).ok();
    let site = site.filter(|_| !before_norm(name, End::Output, record));
    if site.is_none() {
        record
            .notes
            .push(format!("saescope has no site for its hook `{name}`"));
    }
    if name.ends_with("hook_normalized") {
        record.notes.push(NORMALIZED.to_owned());
    }
    site
}

/// The site at one end of a module of a Hugging Face model; adds a note if saescope has no such site.
fn module_site(path: &str, end: End, record: &mut Record) -> Option<Site> {
    let site = modules::parse(path, end).ok();
    let site = site.filter(|_| !before_norm(path, end, record));
    if site.is_none() {
        record
            .notes
            .push(format!("saescope has no site for its module `{path}`"));
    }
    site
}

/// True for the outputs of Gemma's attention and MLP as modules. Our `attn_out` and `mlp_out` come after
/// the norm that Gemma 2 and 3 apply to them.
fn before_norm(path: &str, end: End, record: &Record) -> bool {
    const OUTPUTS: [&str; 6] = [
        ".mlp",
        ".self_attn",
        ".mlp.down_proj",
        ".self_attn.o_proj",
        ".mlp.hook_out",
        ".attn.hook_out",
    ];
    let path = path.strip_suffix(".output").unwrap_or(path);
    let model = record.model.as_deref().unwrap_or_default();
    let gemma = ["gemma-2-", "gemma-3-"]
        .iter()
        .any(|name| model.contains(name));
    gemma && end == End::Output && OUTPUTS.iter().any(|part| path.ends_with(part))
}

/// The full name on the Hugging Face Hub of a model that is known by a shorter one.
fn model_called(name: &str) -> String {
    let owner = match name {
        "gpt2-small" => return "openai-community/gpt2".to_owned(),
        _ if name.contains('/') => return name.to_owned(),
        "distilgpt2" => "distilbert",
        _ if name.starts_with("gpt2") => "openai-community",
        _ if name.starts_with("pythia-") => "EleutherAI",
        _ if name.starts_with("gemma-") => "google",
        _ => return name.to_owned(),
    };
    format!("{owner}/{name}")
}

/// The number after `mark` in the last name of `path` that has one.
fn number_after(path: &Path, mark: &str) -> Option<usize> {
    let mut names = path.iter().rev().filter_map(|name| name.to_str());
    names.find_map(|name| {
        let (_, rest) = name.split_once(mark)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

/// The absolute path of a file, for its folders' names.
fn whole(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A constant factor of the input, refused if it cannot be undone.
fn input_scale(path: &Path, key: &str, factor: f64) -> Result<InputNorm> {
    let scale = factor as f32;
    if scale.is_normal() && scale > 0.0 && (1.0 / scale).is_normal() {
        return Ok(InputNorm::Scale(scale));
    }
    let reason = format!("`{key}` makes the input's factor {factor}, which cannot be undone");
    Err(Error::format(path, reason))
}

/// `e^x` of every value, all of which have to be finite.
fn exp(source: &Source, name: &str, len: usize) -> Result<Vec<f32>> {
    let mut values = source.vector(name, len)?;
    for (index, value) in values.iter_mut().enumerate() {
        *value = value.exp();
        if !value.is_finite() {
            let reason = format!("e to the power of element {index} is not finite");
            return Err(Error::tensor(source.path(), name, reason));
        }
    }
    Ok(values)
}

/// `k`, refused if it is 0 or above the number of features.
fn checked_k(path: &Path, k: usize, d_sae: usize) -> Result<usize> {
    if (1..=d_sae).contains(&k) {
        return Ok(k);
    }
    Err(Error::Shape {
        what: format!("{}: `k`", path.display()),
        expected: format!("1 to {d_sae}, the number of features"),
        found: k.to_string(),
    })
}
