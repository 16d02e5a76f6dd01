//! `saescope info`

use std::collections::BTreeMap;

use saescope::model::{Config, Model, Positions};
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::open::{ModelArgs, Opened};
use crate::output::{self, Align, Table, bytes};

/// Show what a model is: family, shapes, sites, memory, tokenizer, licence
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope info tests/data/stories260K
  saescope info tests/data/stories260K --dtype bf16 --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    model: &'a str,
    family: String,
    format: &'a str,
    files: Vec<String>,
    licence: Option<&'a str>,
    parameters: usize,
    shapes: Shapes,
    positions: &'static str,
    windows: BTreeMap<usize, usize>,
    tied_unembedding: bool,
    parallel_residual: bool,
    sites: Vec<Site>,
    stored_bytes: u64,
    dtype: &'static str,
    loaded_bytes: u64,
    tokenizer: TokenizerRecord<'a>,
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

#[derive(Serialize)]
struct TokenizerRecord<'a> {
    kind: &'a str,
    d_vocab: usize,
    adds_bos: bool,
    eos: &'a [u32],
    chat_template: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Opened { model, tokenizer } = args.model.open()?;
    let record = record(args, &model, &tokenizer);
    if args.json {
        output::json(&record)
    } else {
        print(&record)
    }
}

fn record<'a>(args: &'a Args, model: &'a Model, tokenizer: &'a Tokenizer) -> Record<'a> {
    let (config, source) = (model.config(), model.source());
    Record {
        model: args.model.reference(),
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
        windows: windows(config),
        tied_unembedding: source.tied,
        parallel_residual: config.parallel_residual,
        sites: model.sites().collect(),
        stored_bytes: source.bytes,
        dtype: args.model.dtype(),
        loaded_bytes: model.bytes() as u64,
        tokenizer: TokenizerRecord {
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

/// Window, in tokens, and how many layers have it.
fn windows(config: &Config) -> BTreeMap<usize, usize> {
    let mut windows = BTreeMap::new();
    for window in config.layers.iter().filter_map(|layer| layer.window) {
        *windows.entry(window).or_default() += 1;
    }
    windows
}

/// The names of the sites outside layers, and of those that some layer has.
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

fn print(record: &Record) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    for (name, value) in [file_lines(record), shape_lines(record)].concat() {
        table.row(vec![name.into(), value.into()]);
    }
    table.write(&mut output::styled_stdout(), None)?;
    Ok(())
}

fn file_lines(record: &Record) -> Vec<(&'static str, String)> {
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

fn shape_lines(record: &Record) -> Vec<(&'static str, String)> {
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
        (
            "context",
            format!("{n_ctx} tokens, {} positions", record.positions),
        ),
        ("vocabulary", format!("{d_vocab}{tied}")),
    ];
    for (window, layers) in &record.windows {
        lines.push(("window", format!("{window} tokens in {layers} layers")));
    }
    let (outside, in_layers) = kinds(&record.sites);
    lines.push(("sites", outside.join(" ")));
    lines.push(("in each layer", in_layers.join(" ")));
    lines
}

fn tokenizer(record: &TokenizerRecord) -> String {
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
