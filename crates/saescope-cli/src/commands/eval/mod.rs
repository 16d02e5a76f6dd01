//! `saescope eval`

mod saebench;
mod show;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use saescope::checkpoint::save_whole;
use saescope::corpus::Corpus;
use saescope::edit::Edit;
use saescope::eval::{EvalConfig, Evaluation, evaluate};
use saescope::features;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::corpus::CorpusArgs;
use crate::args::edits::EditsArgs;
use crate::args::hub::locate;
use crate::args::model::{LoadArgs, Opened, at_least_one, use_threads};
use crate::args::output::check_output;
use crate::args::sae::{move_to, open_sae, slices, warn_of_model, warn_of_site};
use crate::print;
use crate::print::bar::{Counted, bar};
use crate::usage::{ensure_usage, usage};

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

/// What was evaluated, on what.
struct Subject {
    saes: Vec<Sae>,
    opened: Opened,
    model: String,
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
    use_threads(args.load.threads)?;
    let subject = open(args)?;
    let tokenizer = &subject.opened.tokenizer;
    let corpus = args
        .corpus
        .open(tokenizer, args.load.bos.bos(), args.seed)?;
    let texts = take(&corpus, args.tokens)?;
    warn(args, &subject, &texts);
    let saes: Vec<&Sae> = subject.saes.iter().collect();
    let bar = bar("evaluating", Counted::Share, 0);
    let config = EvalConfig {
        seed: args.seed,
        ..EvalConfig::default()
    };
    let model = &subject.opened.model;
    let edits = args.edits.open(model, &subject.model)?;
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
        let of =
            |(sae, found): (&str, &Evaluation)| saebench::result(sae, &subject.model, &read, found);
        return print(all().map(of).collect());
    }
    if args.json {
        let report = |(sae, evaluation)| Report {
            sae,
            model: &subject.model,
            read: &read,
            evaluation,
        };
        return print(all().map(report).collect());
    }
    show::table(&names(args), &subject.model, &read, &found)
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
fn open(args: &Args) -> anyhow::Result<Subject> {
    let mut saes = Vec::new();
    for reference in &args.saes {
        let mut sae = open_sae(reference)?;
        let trained_at = sae.record().site;
        if let Some(site) = args.site {
            move_to(&mut sae, site);
        }
        sae.site().with_context(|| format!("{reference}: --site"))?;
        warn_of_site(reference, trained_at, &sae);
        saes.push(sae);
    }
    let recorded = |sae: &Sae| sae.record().model.clone();
    let model = match &args.model {
        Some(model) => model.clone(),
        None => {
            let first = saes.first().and_then(recorded);
            if let Some(at) = saes.iter().position(|sae| recorded(sae) != first) {
                usage!(
                    "{} and {} name different models; evaluate them one by one, or name one with --model",
                    args.saes[0],
                    args.saes[at]
                );
            }
            first.with_context(|| {
                let sae = &args.saes[0];
                format!("{sae} does not say which model it belongs to; name it with --model")
            })?
        }
    };
    let opened = Opened::at(&locate(&model)?, args.load.dtype)?;
    for (reference, sae) in args.saes.iter().zip(&saes) {
        features::check(&opened.model, sae)
            .with_context(|| format!("{reference} does not fit the model {model}"))?;
        warn_of_model(reference, sae, &model);
    }
    Ok(Subject {
        saes,
        opened,
        model,
    })
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

fn warn(args: &Args, subject: &Subject, texts: &[Vec<u32>]) {
    let tokens: usize = texts.iter().map(Vec::len).sum();
    if tokens < args.tokens {
        eprintln!("warning: the corpus has {tokens} tokens, and all of them are read");
    }
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    for (reference, sae) in args.saes.iter().zip(&subject.saes) {
        let record = sae.record();
        if let Some(context) = record.context.filter(|&context| context < longest) {
            eprintln!(
                "warning: {reference} was trained on texts of {context} tokens, and reads {longest}; \
                 --context {context} gives it what it knows"
            );
        }
        let begins = begins_with_bos(&subject.opened.tokenizer, texts);
        if let Some(trained) = record.prepend_bos.filter(|&trained| trained != begins) {
            let (with, flag) = match trained {
                true => ("with", "always"),
                false => ("without", "never"),
            };
            eprintln!(
                "warning: {reference} was trained on texts {with} a beginning-of-sequence token; \
                 --bos {flag} reads yours so"
            );
        }
    }
}

fn begins_with_bos(tokenizer: &Tokenizer, texts: &[Vec<u32>]) -> bool {
    let bos = tokenizer.bos();
    bos.is_some() && texts.iter().all(|text| text.first().copied() == bos)
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
        begins_with_bos: begins_with_bos(tokenizer, texts),
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
