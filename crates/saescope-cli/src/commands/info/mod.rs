//! `saescope info`

mod autoencoder;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::checkpoint::Checkpoint;
use saescope::hub::Reference;
use saescope::model::{Model, ModelSummary, RotarySummary, Shapes, SiteKinds};
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
/// its encoder, and a self-test; if its model is on this machine, how well it reconstructs four short texts.
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
    #[serde(flatten)]
    summary: ModelSummary<'a>,
    dtype: &'static str,
    loaded_bytes: u64,
    tokenizer: TokenizerReport<'a>,
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
    let lm = args.load.session()?.open_model(reference)?;
    print::warnings(lm.check_vocabulary().as_ref());
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
    path.is_dir()
        && !path.join("config.json").is_file()
        && Checkpoint::open(path).is_err()
        && !Sae::members(path).is_empty()
}

fn record<'a>(args: &'a Args, model: &'a Model, tokenizer: &'a Tokenizer) -> ModelReport<'a> {
    ModelReport {
        model: args.reference(),
        summary: model.summary(),
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

fn print(record: &ModelReport) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    for (name, value) in [file_lines(record), shape_lines(&record.summary)].concat() {
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
    let summary = &record.summary;
    vec![
        ("model", record.model.to_owned()),
        ("family", summary.family.clone()),
        (
            "licence",
            summary.licence.as_deref().unwrap_or("not named").to_owned(),
        ),
        ("parameters", count(summary.parameters)),
        (
            "stored as",
            format!("{}, {}", summary.format, bytes(summary.stored_bytes)),
        ),
        (
            "loaded as",
            format!("{}, {}", record.dtype, bytes(record.loaded_bytes)),
        ),
        ("tokenizer", tokenizer(&record.tokenizer)),
        ("chat template", template.to_owned()),
    ]
}

fn shape_lines(summary: &ModelSummary) -> Vec<(&'static str, String)> {
    let shapes = summary.shapes;
    let gated = if shapes.mlp.gated { ", gated" } else { "" };
    let parallel = if summary.parallel_residual {
        ", attention and MLP side by side"
    } else {
        ""
    };
    let tied = if summary.tied_unembedding {
        ", unembedding tied to embedding"
    } else {
        ""
    };
    let mut lines = vec![
        ("layers", format!("{}{parallel}", shapes.n_layers())),
        (
            "width",
            format!("d_model {}, d_mlp {}{gated}", shapes.d_model, shapes.d_mlp),
        ),
        (
            "heads",
            format!(
                "{} of width {}, {} for keys and values",
                shapes.n_heads, shapes.d_head, shapes.n_kv_heads
            ),
        ),
        ("vocabulary", format!("{}{tied}", shapes.d_vocab)),
        ("context", format!("{} tokens", shapes.n_ctx)),
    ];
    if summary.rope.is_empty() {
        lines.push(("positions", summary.positions.to_owned()));
    }
    for rotation in &summary.rope {
        lines.push(("positions", rotary(rotation, &summary.shapes)));
    }
    for (window, layers) in &summary.windows {
        lines.push(("window", format!("{window} tokens in {layers} layers")));
    }
    let SiteKinds { outside, in_layers } = summary.site_kinds();
    lines.push(("sites", outside.join(" ")));
    lines.push(("in each layer", in_layers.join(" ")));
    lines
}

fn rotary(rotation: &RotarySummary, shapes: &Shapes) -> String {
    let mut text = format!("rotary, base {}", rotation.base);
    if let (Some(scaling), Some(factor)) = (rotation.scaling, rotation.factor) {
        text += &format!(", scaling {scaling} by {factor}");
    }
    if rotation.d_rot < shapes.d_head {
        text += &format!(", {} of {} in a head", rotation.d_rot, shapes.d_head);
    }
    if rotation.n_layers < shapes.n_layers() {
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
