//! `saescope eval`

mod saebench;
mod show;

use std::io::Write as _;
use std::path::PathBuf;

use saescope::checkpoint::save_whole;
use saescope::corpus::Corpus;
use saescope::edit::Edit;
use saescope::eval::{EvalConfig, Evaluation, evaluate};
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::corpus::CorpusArgs;
use crate::args::edits::EditsArgs;
use crate::args::model::{LoadArgs, at_least_one};
use crate::args::output::check_output;
use crate::args::sae::slices;
use crate::print;
use crate::print::bar::{Counted, bar};
use crate::usage::{ensure_usage, usage};
use saescope::session::{LanguageModel, Opened, Selection, Warning, begin_with_bos};

/// Measure how good autoencoders are: reconstruction, cross-entropy, features
///
/// Reads texts and reports how much of the activations' variance is explained, what the model's
/// predictions lose with the reconstruction in the activation's place (against zeros and the mean
/// there), how many features are active, dead or dense, and how far directions are from right angles.
/// Everything with all positions, and with the first position of every text left as it is.
/// docs/metrics.md has every definition.
///
/// Several autoencoders of one model are measured on the same texts and shown side by side.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope eval --corpus demo/stories.txt --tokens 2048
  saescope eval tests/data/sae --model tests/data/stories260K \\
      --corpus tests/data/text/stories-en.txt --document line --tokens 2048
  saescope eval tests/data/sae tests/data/sae --model tests/data/stories260K \\
      --corpus tests/data/text/stories-en.txt --document line --tokens 512 --json --plot eval.svg
  saescope eval tests/data/sae --model tests/data/stories260K \\
      --corpus tests/data/text/stories-en.txt --document line --tokens 512 --json-core
")]
pub(crate) struct Args {
    /// Files or folders, `org/name[/FOLDER][@revision]` on the Hugging Face Hub, of OpenAI's such as
    /// `openai/v5_128k/resid_post_mlp/8`, or `demo`
    #[arg(value_name = "SAE", default_value = "demo")]
    saes: Vec<String>,
    /// The model [default: the one that the autoencoders were trained on]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Where the autoencoders read [default: where their files say]
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Tokens to read, in whole sequences
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = at_least_one)]
    tokens: usize,
    /// Seed of the choice of sequences
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// Draw explained variance and the rise of cross-entropy against L0 to this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON: an object, or a list of them for several autoencoders
    #[arg(long)]
    json: bool,
    /// Print JSON in the shape of SAEBench's `core` results
    #[arg(long, conflicts_with = "json")]
    json_core: bool,
}

/// Which texts were read.
#[derive(Clone, Serialize)]
struct Read {
    corpus: Vec<String>,
    /// SHA-256 of the sequences and their order.
    corpus_digest: String,
    context: usize,
    seed: u64,
    dtype: &'static str,
    bos: &'static str,
    /// Whether the texts begin with the beginning-of-sequence token.
    begins_with_bos: bool,
    /// What changes the model, in every pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edits: Vec<Edit>,
}

/// What `--json` prints of an autoencoder.
#[derive(Serialize)]
struct Report<'a> {
    sae: &'a str,
    model: &'a str,
    #[serde(flatten)]
    read: &'a Read,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        check_output(path)?;
    }
    if args.corpus.given().is_empty() {
        usage!("there is no text to read; name files with --corpus");
    }
    let subject = open(args)?;
    let LanguageModel {
        model, tokenizer, ..
    } = &subject.lm;
    let corpus = args
        .corpus
        .open(tokenizer, args.load.bos.bos(), args.seed)?;
    let texts = take(&corpus, args.tokens)?;
    warn(args, &subject, &texts);
    let saes: Vec<&Sae> = subject.saes.iter().map(|named| &named.sae).collect();
    let bar = bar("evaluating", Counted::Share, 0);
    let config = EvalConfig {
        seed: args.seed,
        ..EvalConfig::default()
    };
    let edits = args.edits.open(&subject.lm)?;
    let found = evaluate(
        model,
        &saes,
        &slices(&texts),
        &config,
        &mut edits.hook()?,
        &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    );
    bar.finish_and_clear();
    let found = found?;
    let read = read(args, &corpus, (tokenizer, &texts), edits.edits);
    if let Some(path) = &args.plot {
        let svg = show::plot(&names(args), &read, &found);
        save_whole(path, |file| file.write_all(svg.as_bytes()))?;
    }
    let all = || args.saes.iter().map(String::as_str).zip(&found);
    if args.json_core {
        let of = |(sae, found): (&str, &Evaluation)| {
            saebench::result(sae, &subject.lm.reference, &read, found)
        };
        return print(all().map(of).collect());
    }
    if args.json {
        let report = |(sae, evaluation)| Report {
            sae,
            model: &subject.lm.reference,
            read: &read,
            evaluation,
        };
        return print(all().map(report).collect());
    }
    show::table(&names(args), &subject.lm.reference, &read, &found)
}

/// One object, or a list of several.
fn print<T: Serialize>(mut reports: Vec<T>) -> anyhow::Result<()> {
    match (reports.len(), reports.pop()) {
        (1, Some(one)) => print::json(&one),
        (_, last) => {
            reports.extend(last);
            print::json(&reports)
        }
    }
}

/// The autoencoders and the one model that they belong to.
fn open(args: &Args) -> anyhow::Result<Opened> {
    let saes: Vec<&str> = args.saes.iter().map(String::as_str).collect();
    let opened = args.load.session()?.open(&Selection {
        saes: &saes,
        model: args.model.as_deref(),
        site: args.site,
    })?;
    print::warnings(&opened.warnings);
    Ok(opened)
}

/// The first sequences that have so many tokens together, or all.
fn take(corpus: &Corpus, tokens: usize) -> anyhow::Result<Vec<Vec<u32>>> {
    ensure_usage!(
        corpus.context() > 2,
        "--context {}: without the first position no token is left that has one behind it; the least is 3",
        corpus.context()
    );
    let mut texts = Vec::new();
    let mut held = 0;
    for number in 0..corpus.sequences() {
        if held >= tokens {
            break;
        }
        let text = corpus.sequence(number);
        held += text.len();
        texts.push(text);
    }
    Ok(texts)
}

fn warn(args: &Args, opened: &Opened, texts: &[Vec<u32>]) {
    let tokens: usize = texts.iter().map(Vec::len).sum();
    if tokens < args.tokens {
        let tokens = tokens as u64;
        print::warnings(&[Warning::ShortCorpus { tokens }]);
    }
    for sae in &opened.saes {
        print::warnings(&sae.check_sequences(&opened.lm.tokenizer, texts));
    }
}

fn read(
    args: &Args,
    corpus: &Corpus,
    (tokenizer, texts): (&Tokenizer, &[Vec<u32>]),
    edits: Vec<Edit>,
) -> Read {
    Read {
        corpus: args.corpus.given().to_vec(),
        corpus_digest: corpus.digest().to_owned(),
        context: corpus.context(),
        seed: args.seed,
        dtype: args.load.dtype.name(),
        bos: args.load.bos.name(),
        begins_with_bos: begin_with_bos(tokenizer, texts),
        edits,
    }
}

/// What the autoencoders are called where there is little room: the end of their references.
fn names(args: &Args) -> Vec<String> {
    /// Columns of a name.
    const ROOM: usize = 24;
    let short = |reference: &String| {
        let count = reference.chars().count();
        let cut: String = reference
            .chars()
            .skip(count.saturating_sub(ROOM - 1))
            .collect();
        match count > ROOM {
            true => format!("…{cut}"),
            false => reference.clone(),
        }
    };
    args.saes.iter().map(short).collect()
}
