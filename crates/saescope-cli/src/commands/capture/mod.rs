//! `saescope capture`

mod shards;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::Matrix;
use saescope::checkpoint::{Elements, NewTensor, save_safetensors};
use saescope::hook::Capture;
use saescope::site::Sites;

use crate::args;
use crate::args::edits::EditsArgs;
use crate::args::model::ModelArgs;
use crate::args::output::{Written, check_output};
use crate::print::{self, Align, Table};
use crate::usage::{ensure_usage, usage};
use saescope::session::Edits;
use saescope::session::LanguageModel;

/// Write activations: of a text to a safetensors file, or of a corpus to a folder of shards
///
/// The file holds one f32 tensor per site, named as the site is printed and of shape [tokens, width],
/// and the ids of the text as `tokens`. docs/sites.md lists every site.
///
/// Shards hold the activations at one site of many texts, in random order, to train on. docs/corpora.md
/// describes how texts are read, and the shards.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["prompt", "ids", "shards"])))]
#[command(after_help = "\
Examples:
  saescope capture tests/data/stories260K -p \"Once upon\" --site resid_post.2 -o a.safetensors
  saescope capture tests/data/stories260K -p Once --site 'mlp_out.*' --logits -o a.safetensors
  saescope capture tests/data/stories260K --shards activations --site resid_post.2 \\
    --corpus tests/data/text/stories-en.txt --document line --tokens 20000
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text; `-` reads it from standard input
    #[arg(
        short,
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        requires = "output"
    )]
    prompt: Option<String>,
    /// The ids of its tokens in place of the text, such as 464,2068, as they are unless --bos always
    /// adds BOS; `-` reads them from standard input
    #[arg(long, value_name = "IDS", requires = "output")]
    ids: Option<String>,
    #[command(flatten)]
    edits: EditsArgs,
    /// A site such as `resid_post.8`, one in every layer as `resid_post.*`, or `all`. May be given
    /// several times
    #[arg(long, required = true, value_name = "SITE")]
    site: Vec<Sites>,
    /// Write the logits too, as `logits`
    #[arg(long, conflicts_with = "shards")]
    logits: bool,
    /// The file to write
    #[arg(short, long, value_name = "FILE", conflicts_with = "shards")]
    output: Option<PathBuf>,
    #[command(flatten)]
    shards: shards::ShardsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.shards.is_given() {
        return shards::run(args);
    }
    let text = match (&args.prompt, &args.ids) {
        (Some(prompt), _) => Some(args::model::prompt(prompt)?.into()),
        (None, ids) => ids.as_deref().map(args::model::ids).transpose()?,
    };
    let (Some(text), Some(output)) = (text, &args.output) else {
        usage!("give a text with -p and a file with -o, or a folder with --shards");
    };
    let ignored = args.shards.corpus_flags();
    ensure_usage!(
        ignored.is_empty(),
        "{}: texts of a corpus are captured with --shards alone",
        ignored.join(", ")
    );
    check_output(output, Written::Safetensors)?;
    let lm = args.model.open()?;
    let LanguageModel {
        model, tokenizer, ..
    } = &lm;
    let sites = model.select_sites(&args.site)?;
    let tokens = lm.encode_one(&text)?;
    let edits = args.edits.open(&lm)?;
    let mut capture = Capture::new(sites.iter().copied());
    let mut hooks = (edits.hook()?, &mut capture);
    let logits = if args.logits {
        Some(model.logits(&[&tokens], &mut hooks)?)
    } else {
        model.run(&[&tokens], &mut hooks)?;
        None
    };

    let mut matrices: Vec<(String, Matrix)> = Vec::with_capacity(sites.len() + 1);
    for site in sites {
        matrices.push((site.to_string(), capture.take(site)?));
    }
    matrices.extend(logits.map(|logits| ("logits".to_owned(), logits)));
    let record = record(args, &tokenizer.written(&text), &edits)?;
    save(output, &record, &tokens, &matrices)?;
    report(output, tokens.len(), &matrices)
}

fn save(
    output: &Path,
    record: &BTreeMap<String, String>,
    tokens: &[u32],
    matrices: &[(String, Matrix)],
) -> anyhow::Result<()> {
    let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
    let ids_shape = [ids.len()];
    let shapes: Vec<[usize; 2]> = matrices.iter().map(|(_, m)| [m.rows(), m.cols()]).collect();
    let mut tensors = vec![NewTensor {
        name: "tokens",
        shape: &ids_shape,
        elements: Elements::I64(&ids),
    }];
    tensors.extend(
        matrices
            .iter()
            .zip(&shapes)
            .map(|((name, matrix), shape)| NewTensor {
                name,
                shape,
                elements: Elements::F32(matrix.data()),
            }),
    );
    Ok(save_safetensors(output, &tensors, record)?)
}

/// The description in the file of how it was made.
fn record(args: &Args, text: &str, edits: &Edits) -> anyhow::Result<BTreeMap<String, String>> {
    let mut pairs = vec![
        ("model", args.model.reference().to_owned()),
        ("dtype", args.model.dtype().name().to_owned()),
        ("bos", args.model.bos_name().to_owned()),
        ("prompt", text.to_owned()),
        ("saescope", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if !edits.edits.is_empty() {
        pairs.push(("edits", serde_json::to_string(&edits.edits)?));
    }
    let owned = pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    Ok(owned.collect())
}

fn report(file: &Path, tokens: usize, matrices: &[(String, Matrix)]) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Right]);
    table.header(["tensor", "shape"]);
    table.row(vec!["tokens".into(), format!("[{tokens}]").into()]);
    for (name, matrix) in matrices {
        let shape = format!("[{}, {}]", matrix.rows(), matrix.cols());
        table.row(vec![name.as_str().into(), shape.into()]);
    }
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(out, "written to {}", file.display())?;
    Ok(())
}
