//! `saescope harvest`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use saescope::harvest::{Limits, Part};
use saescope::jobs::harvest::{
    CHECKPOINT_SECONDS, HarvestJob, HarvestPlan, HarvestProgress, HarvestReport, HarvestRequest,
    INDEX_TOKENS, Outcome,
};
use saescope::show::number::{bytes, whole_percent};
use saescope_store::{Store, StoreSink};
use serde::Serialize;

use crate::args::corpus::{CorpusArgs, corpus_cache, reading};
use crate::args::output::{Written, check_output};
use crate::args::sae::SaeArgs;
use crate::args::stop::listen;
use crate::args::value::tokens;
use crate::print;
use crate::print::bar::{Counted, bar};

/// Collect the evidence of every feature from a corpus in one file
///
/// One pass over the texts keeps, for each feature: how often and how strongly it fires, the texts that
/// activate it most, random ones of every strength, the tokens that it reads and promotes, and the classes of
/// texts that it separates. `store show`, `store features` and `search` read the file without the model.
///
/// Ctrl-C ends the pass with everything so far in the file; the same call continues it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope harvest tests/data/sae --corpus tests/data/text/stories-en.txt --document line \\
    --tokens 2k -o stories.db
  saescope harvest demo --corpus demo/stories.txt --document line --tokens 2k \\
    --shard 1/4 -o part-1.db
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    /// The file to write, or to continue
    #[arg(short, long, value_name = "STORE")]
    output: PathBuf,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// The field of a record that holds its class or classes, such as an emotion
    #[arg(long, value_name = "FIELD")]
    labels: Option<String>,
    /// Tokens to read, such as 300k or 3M [default: all of the corpus]
    #[arg(long, value_name = "N", value_parser = tokens)]
    tokens: Option<u64>,
    /// Tokens whose activations are indexed, in random sequences: any two features can be compared on them
    #[arg(long, value_name = "N", value_parser = tokens, default_value_t = INDEX_TOKENS)]
    index_tokens: u64,
    /// Read the I-th of N parts of the corpus; `store merge` puts the parts together
    #[arg(long, value_name = "I/N", default_value_t)]
    shard: Part,
    /// Count beginnings of sequences and positions of extreme norm too
    #[arg(long)]
    count_all: bool,
    /// Seed of the order of the texts and of random examples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Seconds between two checkpoints at least
    // For tests: an interrupted pass of a small corpus has to have one.
    #[arg(long, hide = true, value_name = "S", default_value_t = CHECKPOINT_SECONDS)]
    checkpoint_seconds: f64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    store: &'a Path,
    #[serde(flatten)]
    report: HarvestReport,
    bytes: u64,
    plan: HarvestPlan,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    check_output(&args.output, Written::Store)?;
    crate::usage::ensure_usage!(
        !args.corpus.given().is_empty(),
        "there are no texts; name files with --corpus FILE"
    );
    let opened = args.sae.open()?;
    let mut corpus = args.corpus.config(opened.lm.bos, args.seed)?;
    corpus.labels.clone_from(&args.labels);
    let request = HarvestRequest {
        corpus,
        tokens: args.tokens,
        index_tokens: args.index_tokens,
        part: args.shard,
        count_all: args.count_all,
        limits: Limits {
            seed: args.seed,
            ..Limits::default()
        },
        checkpoint_seconds: args.checkpoint_seconds,
    };
    let cache = corpus_cache()?;
    let folder = args
        .output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folders = (folder.unwrap_or(Path::new(".")), cache.as_deref());
    let subject = (&opened.lm, &opened.sae);
    let origin = opened.origin.clone();
    let job =
        reading(|on_reading| HarvestJob::prepare(subject, &request, origin, folders, on_reading))?;
    print::warnings(&job.warnings);
    announce(job.plan());
    match watched(&job, &args.output)? {
        Outcome::Cancelled { tokens } => {
            let of = job.plan().tokens;
            anyhow::bail!(
                "stopped after {tokens} of {of} tokens; {} has them, and the same call continues",
                args.output.display()
            )
        }
        Outcome::Finished(report) => {
            let bytes = std::fs::metadata(&args.output).map_or(0, |m| m.len());
            let report = Report {
                store: &args.output,
                report,
                bytes,
                plan: *job.plan(),
            };
            if args.json {
                print::json(&report)
            } else {
                print(&report)
            }
        }
    }
}

/// Runs the job under a bar, until its end or Ctrl-C.
fn watched(job: &HarvestJob, path: &Path) -> anyhow::Result<Outcome> {
    let store = Store::create(path, job.header(), &job.vocabulary())?;
    let signals = listen()?;
    let origin = |document| job.corpus().origin(document);
    let mut sink = StoreSink::new(store, &origin);
    let (read, d_sae) = (job.plan().tokens, job.header().d_sae as u64);
    let bar_of_tokens = bar("reading", Counted::Items("tokens"), read);
    let bar_of_roles = bar("roles", Counted::Items("features"), d_sae);
    let outcome = job.run(&mut sink, &signals.cancel, &mut |progress| match progress {
        HarvestProgress::Reading(tokens) => {
            // Tokens that an earlier pass read would spoil the speed.
            if bar_of_tokens.position() == 0 {
                bar_of_tokens.set_position(tokens);
                bar_of_tokens.reset_eta();
            }
            bar_of_tokens.set_position(tokens);
        }
        HarvestProgress::Roles(features) => {
            // The texts are read and saved; the roles alone would be made again.
            signals.end_at_once();
            bar_of_roles.set_position(features as u64);
        }
    });
    bar_of_tokens.finish_and_clear();
    bar_of_roles.finish_and_clear();
    Ok(outcome?)
}

/// Prints the disk and memory that the harvest will take.
fn announce(plan: &HarvestPlan) {
    let [disk, index, memory] = [plan.disk, plan.index, plan.memory].map(bytes);
    print::note!(
        "{} tokens, about {:.1} features each: up to {disk} on disk and {index} of index ({} tokens), up to \
         {memory} of memory beside the model",
        plan.tokens,
        plan.l0,
        plan.index_tokens
    );
}

fn print(report: &Report) -> anyhow::Result<()> {
    let HarvestReport {
        tokens,
        resumed,
        fired,
        d_sae,
        seconds,
        seconds_model,
    } = report.report;
    let mut out = print::styled_stdout();
    let size = bytes(report.bytes);
    writeln!(
        out,
        "{tokens} tokens, {fired} of {d_sae} features fired, {size}"
    )?;
    writeln!(out, "written to {}", report.store.display())?;
    let speed = (tokens - resumed) as f64 / seconds;
    let share = whole_percent(seconds_model / seconds);
    print::note!(
        "{seconds:.1} s, {speed:.0} tokens a second; model and encoder took {share} of the time"
    );
    Ok(())
}
