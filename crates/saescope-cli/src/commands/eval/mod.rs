//! `saescope eval`

mod show;

use std::path::PathBuf;
use std::time::SystemTime;

use saescope::corpus::Corpus;
use saescope::eval::{
    EvalConfig, EvalCorpus, EvalReport, EvalTexts, Evaluation, core_result, evaluate,
};
use saescope::origin::Origin;
use saescope::sae::Sae;
use saescope::session::{LanguageModel, Opened, Selection, Warning, begin_with_bos};
use saescope::site::Site;
use serde::Serialize;

use crate::args::corpus::CorpusArgs;
use crate::args::edits::EditsArgs;
use crate::args::model::{LoadArgs, at_least_one};
use crate::args::output::{Written, check_output, save_svg};
use crate::args::sae::slices;
use crate::print;
use crate::print::bar::{Counted, bar};
use crate::usage::{ensure_usage, usage};

/// Evaluate autoencoders: reconstruction, cross-entropy, features
///
/// Reads texts and reports the explained variance of the activations, the model's loss with the
/// reconstruction in the activation's place (compared with zeros and the mean there), the numbers of
/// active, dead and dense features, and how close directions are to orthogonal. Every number is given
/// for all positions, and with the first position of every text left unchanged. docs/metrics.md defines
/// them.
///
/// Several autoencoders of one model are evaluated on the same texts and shown side by side.
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
    /// The site that the autoencoders read [default: the one in their files]
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Number of tokens to read, in whole sequences
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = at_least_one)]
    tokens: usize,
    /// Seed of the choice of sequences
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// Draw explained variance and the increase of cross-entropy against L0 to this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON: an object, or a list of them for several autoencoders
    #[arg(long)]
    json: bool,
    /// Print JSON in the shape of SAEBench's `core` results
    #[arg(long, conflicts_with = "json")]
    json_core: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        check_output(path, Written::Svg)?;
    }
    if args.corpus.given().is_empty() {
        usage!("there is no text to read; name files with --corpus");
    }
    let subject = open(args)?;
    let LanguageModel {
        model, tokenizer, ..
    } = &subject.lm;
    let corpus = args.corpus.open(&subject.lm, args.seed)?;
    check_context(&corpus)?;
    let texts = corpus.first_sequences(args.tokens as u64);
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
    let origin = Origin {
        edits: edits.edits,
        seed: Some(args.seed),
        ..subject.lm.origin()
    };
    let texts = EvalTexts {
        source: EvalCorpus {
            corpus: args.corpus.given().to_vec(),
            corpus_digest: corpus.digest().to_owned(),
        },
        context: corpus.context(),
        begins_with_bos: begin_with_bos(tokenizer, &texts),
    };
    if let Some(path) = &args.plot {
        let svg = show::plot(&names(args), &texts, &found);
        save_svg(path, &svg, args.json || args.json_core)?;
    }
    report(args, &origin, &texts, &found)
}

/// Prints the evaluations as the arguments ask: JSON, SAEBench's JSON or a table.
fn report(
    args: &Args,
    origin: &Origin,
    texts: &EvalTexts,
    found: &[Evaluation],
) -> anyhow::Result<()> {
    let of = |sae: &String| Origin {
        sae: Some(sae.clone()),
        ..origin.clone()
    };
    let all = args.saes.iter().map(of).zip(found);
    if args.json_core {
        let now = SystemTime::now();
        let result = |(origin, found): (Origin, _)| core_result(found, &origin, texts, now);
        return print(all.map(result).collect());
    }
    if args.json {
        let report = |(origin, evaluation)| EvalReport {
            origin: Some(origin),
            texts: Some(texts),
            evaluation,
        };
        return print(all.map(report).collect());
    }
    show::table(&names(args), origin, texts, found)
}

/// Prints one object, or a list of several.
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

/// Checks that sequences are long enough to be evaluated.
fn check_context(corpus: &Corpus) -> anyhow::Result<()> {
    ensure_usage!(
        corpus.context() > 2,
        "--context {}: without the first position no token has a next one; the least is 3",
        corpus.context()
    );
    Ok(())
}

fn warn(args: &Args, opened: &Opened, texts: &[Vec<u32>]) {
    let tokens: usize = texts.iter().map(Vec::len).sum();
    if tokens < args.tokens {
        let tokens = tokens as u64;
        print::warnings(&[Warning::ShortCorpus { tokens }]);
    }
    for sae in &opened.saes {
        print::warnings(&sae.check_sequences(&opened.lm, texts));
    }
}

/// Short names of the autoencoders: the ends of their references.
fn names(args: &Args) -> Vec<String> {
    /// Columns of a name.
    const WIDTH: usize = 24;
    let short = |reference: &String| {
        let count = reference.chars().count();
        let cut: String = reference
            .chars()
            .skip(count.saturating_sub(WIDTH - 1))
            .collect();
        if count > WIDTH {
            format!("…{cut}")
        } else {
            reference.clone()
        }
    };
    args.saes.iter().map(short).collect()
}
