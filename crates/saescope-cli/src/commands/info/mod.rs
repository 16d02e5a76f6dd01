//! `saescope info`

mod autoencoder;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::checkpoint::Checkpoint;
use saescope::hub::Reference;
use saescope::model::{Config, Model, Positions};
use saescope::sae::Sae;
use saescope::show::number::bytes;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::hub::{self, DEMO};
use crate::args::model::LoadArgs;
use crate::print::{self, Align, Table};
use crate::usage::usage;

/// Describe a model or an autoencoder, and test if an autoencoder fits its model
///
/// For a model: family, shapes, sites, memory, tokenizer, licence. For an autoencoder: its model and site,
/// its encoder, and a self-test; if its model is on this machine, how well it reconstructs a short text.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope info tests/data/stories260K
  saescope info tests/data/sae
  saescope info tests/data/sae --model tests/data/stories260K --site resid_post.3
  saescope info tests/data/stories260K --dtype bf16 --json
")]
pub(crate) struct Args {
    /// A model or an autoencoder: a file or folder, `org/name[@revision]` on the Hugging Face Hub, one
    /// of OpenAI's autoencoders such as `openai/v5_128k/resid_post_mlp/8`, or `demo`, which is both
    /// [default: demo]
    #[arg(value_name = "MODEL|SAE")]
    reference: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    /// For an autoencoder: the model to test it on [default: its own, if it is on this machine]
    #[arg(long = "model", value_name = "MODEL")]
    of_model: Option<String>,
    /// For an autoencoder: the site that it reads [default: the one in its file]
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json` for a model.
#[derive(Serialize)]
struct ModelReport<'a> {
    model: &'a str,
    family: String,
    format: &'a str,
    files: Vec<String>,
    licence: Option<&'a str>,
    parameters: usize,
    shapes: Shapes,
    positions: &'static str,
    rope: Vec<Rotation>,
    windows: BTreeMap<usize, usize>,
    tied_unembedding: bool,
    parallel_residual: bool,
    sites: Vec<Site>,
    stored_bytes: u64,
    dtype: &'static str,
    loaded_bytes: u64,
    tokenizer: TokenizerReport<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Shapes {
    n_layers: usize,
    n_ctx: usize,
    d_vocab: usize,
    d_model: usize,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
    d_mlp: usize,
    gated_mlp: bool,
}

/// The rotary positions of some layers.
#[derive(Serialize)]
struct Rotation {
    base: f64,
    d_rot: usize,
    scaling: Option<&'static str>,
    /// The divisor of the slowest frequency.
    factor: Option<f64>,
    n_layers: usize,
}

#[derive(Serialize)]
struct TokenizerReport<'a> {
    kind: &'a str,
    d_vocab: usize,
    adds_bos: bool,
    eos: &'a [u32],
    chat_template: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let reference = args.reference();
    let asks_for_fit = args.of_model.is_some() || args.site.is_some();
    if let Some(path) = autoencoder(reference)? {
        autoencoder::run(args, &path)?;
        if reference != DEMO || args.json || asks_for_fit {
            return Ok(());
        }
        writeln!(print::stdout())?;
    } else if asks_for_fit {
        usage!("{reference}: --model and --site are for autoencoders, and this is a model");
    }
    let lm = args.load.session()?.language_model(reference)?;
    let record = record(args, &lm.model, &lm.tokenizer);
    if args.json {
        print::json(&record)
    } else {
        print(&record)
    }
}

impl Args {
    /// The reference of the model or autoencoder.
    fn reference(&self) -> &str {
        self.reference.as_deref().unwrap_or(DEMO)
    }
}

/// Path of the autoencoder that a reference names; none if it names a model, or nothing.
fn autoencoder(reference: &str) -> anyhow::Result<Option<PathBuf>> {
    let session = hub::session()?;
    let path = match Reference::parse(reference)? {
        Reference::Path(path) => path,
        Reference::Demo | Reference::OpenAi(_) => session.locate_sae(reference)?,
        // A repository without a model may hold autoencoders.
        Reference::Hub(_) => match session.locate_model(reference) {
            Ok(path) => path,
            Err(error) => session.locate_sae(reference).map_err(|_| error)?,
        },
    };
    let holds = |path: &PathBuf| Sae::is_at(path) || holds_only_autoencoders(path);
    Ok(Some(path).filter(holds))
}

/// True for a folder of several autoencoders without a model, whose members the error of opening it lists.
fn holds_only_autoencoders(path: &Path) -> bool {
    path.is_dir() && !path.join("config.json").is_file() && Checkpoint::open(path).is_err()
        && !Sae::members(path).is_empty()
}

fn record<'a>(args: &'a Args, model: &'a Model, tokenizer: &'a Tokenizer) -> ModelReport<'a> {
    let (config, source) = (model.config(), model.source());
    ModelReport {
        model: args.reference(),
        family: config.family.to_string(),
        format: &source.format,
        files: source
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        licence: source.licence.as_deref(),
        parameters: model.n_params(),
        shapes: shapes(config),
        positions: match config.positions {
            Positions::Learned => "learned",
            Positions::Rotary { .. } => "rotary",
        },
        rope: rotations(config),
        windows: windows(config),
        tied_unembedding: source.tied,
        parallel_residual: config.parallel_residual,
        sites: model.sites().collect(),
        stored_bytes: source.bytes,
        dtype: args.load.dtype.name(),
        // Padding, which depends on the instruction set, is omitted.
        loaded_bytes: (model.n_params() * args.load.dtype.bytes()) as u64,
        tokenizer: TokenizerReport {
            kind: tokenizer.kind(),
            d_vocab: tokenizer.d_vocab(),
            adds_bos: tokenizer.adds_bos(),
            eos: tokenizer.eos_ids(),
            chat_template: tokenizer.chat_template().is_some(),
        },
    }
}

fn shapes(config: &Config) -> Shapes {
    Shapes {
        n_layers: config.n_layers(),
        n_ctx: config.n_ctx,
        d_vocab: config.d_vocab,
        d_model: config.d_model,
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        d_head: config.d_head,
        d_mlp: config.d_mlp,
        gated_mlp: config.mlp.gated,
    }
}

/// The distinct rotary positions, each with its number of layers.
fn rotations(config: &Config) -> Vec<Rotation> {
    let mut rotations: Vec<Rotation> = Vec::new();
    for rope in config.layers.iter().filter_map(|layer| layer.rope.as_ref()) {
        let (scaling, factor) = rope.scaling.summary().unzip();
        let same = |known: &&mut Rotation| {
            known.base == rope.base && known.scaling == scaling && known.factor == factor
        };
        match rotations.iter_mut().find(same) {
            Some(known) => known.n_layers += 1,
            None => rotations.push(Rotation {
                base: rope.base,
                d_rot: config.positions.d_rot(),
                scaling,
                factor,
                n_layers: 1,
            }),
        }
    }
    rotations
}

/// The windows, in tokens, each with its number of layers.
fn windows(config: &Config) -> BTreeMap<usize, usize> {
    let mut windows = BTreeMap::new();
    for window in config.layers.iter().filter_map(|layer| layer.window) {
        *windows.entry(window).or_default() += 1;
    }
    windows
}

/// The names of the sites outside layers, and of the kinds of site within layers.
fn kinds(sites: &[Site]) -> (Vec<String>, Vec<String>) {
    let (in_layers, outside): (Vec<Site>, Vec<Site>) =
        sites.iter().partition(|site| site.layer().is_some());
    let mut kinds: Vec<String> = Vec::new();
    for site in in_layers {
        let name = site.to_string();
        let kind = name.split('.').next().unwrap_or(&name);
        if !kinds.iter().any(|known| known == kind) {
            kinds.push(kind.to_owned());
        }
    }
    (outside.iter().map(Site::to_string).collect(), kinds)
}

fn print(record: &ModelReport) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    for (name, value) in [file_lines(record), shape_lines(record)].concat() {
        table.row(vec![name.into(), value.into()]);
    }
    table.write(&mut print::styled_stdout(), None)?;
    Ok(())
}

fn file_lines(record: &ModelReport) -> Vec<(&'static str, String)> {
    let template = if record.tokenizer.chat_template {
        "yes"
    } else {
        "no"
    };
    vec![
        ("model", record.model.to_owned()),
        ("family", record.family.clone()),
        ("licence", record.licence.unwrap_or("not named").to_owned()),
        ("parameters", count(record.parameters)),
        (
            "stored as",
            format!("{}, {}", record.format, bytes(record.stored_bytes)),
        ),
        (
            "loaded as",
            format!("{}, {}", record.dtype, bytes(record.loaded_bytes)),
        ),
        ("tokenizer", tokenizer(&record.tokenizer)),
        ("chat template", template.to_owned()),
    ]
}

fn shape_lines(record: &ModelReport) -> Vec<(&'static str, String)> {
    let Shapes {
        n_layers,
        n_ctx,
        d_vocab,
        d_model,
        n_heads,
        n_kv_heads,
        d_head,
        d_mlp,
        gated_mlp,
    } = record.shapes;
    let gated = if gated_mlp { ", gated" } else { "" };
    let parallel = if record.parallel_residual {
        ", attention and MLP side by side"
    } else {
        ""
    };
    let tied = if record.tied_unembedding {
        ", unembedding tied to embedding"
    } else {
        ""
    };
    let mut lines = vec![
        ("layers", format!("{n_layers}{parallel}")),
        ("width", format!("d_model {d_model}, d_mlp {d_mlp}{gated}")),
        (
            "heads",
            format!("{n_heads} of width {d_head}, {n_kv_heads} for keys and values"),
        ),
        ("vocabulary", format!("{d_vocab}{tied}")),
        ("context", format!("{n_ctx} tokens")),
    ];
    if record.rope.is_empty() {
        lines.push(("positions", record.positions.to_owned()));
    }
    for rotation in &record.rope {
        lines.push(("positions", rotary(rotation, &record.shapes)));
    }
    for (window, layers) in &record.windows {
        lines.push(("window", format!("{window} tokens in {layers} layers")));
    }
    let (outside, in_layers) = kinds(&record.sites);
    lines.push(("sites", outside.join(" ")));
    lines.push(("in each layer", in_layers.join(" ")));
    lines
}

fn rotary(rotation: &Rotation, shapes: &Shapes) -> String {
    let mut text = format!("rotary, base {}", rotation.base);
    if let (Some(scaling), Some(factor)) = (rotation.scaling, rotation.factor) {
        text += &format!(", scaling {scaling} by {factor}");
    }
    if rotation.d_rot < shapes.d_head {
        text += &format!(", {} of {} in a head", rotation.d_rot, shapes.d_head);
    }
    if rotation.n_layers < shapes.n_layers {
        text += &format!(", in {} layers", rotation.n_layers);
    }
    text
}

fn tokenizer(record: &TokenizerReport) -> String {
    let bos = if record.adds_bos {
        "adds BOS"
    } else {
        "adds no BOS"
    };
    format!("{}, {} tokens, {bos}", record.kind, record.d_vocab)
}

fn count(parameters: usize) -> String {
    match parameters as f64 / 1e6 {
        m if m >= 1000.0 => format!("{:.2} billion", m / 1e3),
        m if m >= 1.0 => format!("{m:.0} million"),
        _ => format!("{:.0} thousand", parameters as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base, scaling with its factor, number of layers.
    type Row = (f64, Option<(&'static str, f64)>, usize);

    fn golden(model: &str) -> Vec<Row> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/models");
        let path = std::path::Path::new(path).join(model);
        let model = Model::open(&path, saescope::Precision::F32).unwrap();
        let row = |row: Rotation| (row.base, row.scaling.zip(row.factor), row.n_layers);
        rotations(model.config()).into_iter().map(row).collect()
    }

    #[test]
    fn layers_with_equal_rotary_positions_are_listed_once() {
        assert_eq!(golden("gpt2"), []);
        let llama3 = (1000.0, Some(("llama3", 8.0)), 2);
        assert_eq!(golden("llama_gqa_llama3"), [llama3]);
        // Scaling stretches the layers without a window only.
        let [local, global] = golden("gemma3_linear_v5")[..] else {
            panic!("expected two rotations");
        };
        assert_eq!((local.0, local.1), (10_000.0, None));
        assert_eq!((global.0, global.1), (1000.0, Some(("linear", 8.0))));
    }
}
