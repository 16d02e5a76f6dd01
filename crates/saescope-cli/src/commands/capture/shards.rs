//! `saescope capture --shards`

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use saescope::activations::shards::ShardDtype;
use saescope::jobs::capture::{
    CaptureJob, CapturePlan, CaptureReport, CaptureRequest, Outcome, check_free,
};
use saescope::show::number::bytes;
use saescope::site::{Site, Sites};

use super::Args;
use crate::args::corpus::{CorpusArgs, corpus_cache, reading};
use crate::args::output::check_folder;
use crate::args::stop::listen;
use crate::args::value::one_of;
use crate::print::bar::{Counted, bar};
use crate::print::{self, Align, Table};
use crate::usage::usage;

/// A folder of shards, and its contents.
#[derive(clap::Args)]
pub(super) struct ShardsArgs {
    /// Write activations as shards into this folder, which must be new
    #[arg(
        long,
        value_name = "DIR",
        requires = "corpus",
        conflicts_with = "edits",
        help_heading = "Shards"
    )]
    shards: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Shards")]
    corpus: CorpusArgs,
    /// Tokens of the shards [default: all of the corpus, once]
    #[arg(long, value_name = "N", requires = "shards", help_heading = "Shards")]
    tokens: Option<u64>,
    /// Number format of activations; bf16 rounds them to 8 bits, f16 to 11 but ends at 65,504
    #[arg(long, default_value_t, requires = "shards", help_heading = "Shards")]
    #[arg(value_parser = one_of::<ShardDtype>(ShardDtype::ALL.map(ShardDtype::name)))]
    shard_dtype: ShardDtype,
    /// Also write the activations at this site, the targets of a transcoder
    #[arg(
        long,
        value_name = "SITE",
        requires = "shards",
        help_heading = "Shards"
    )]
    out_site: Option<Site>,
    /// Omit the first token of every sequence: its activation is like no other
    #[arg(long, requires = "shards", help_heading = "Shards")]
    skip_first: bool,
    /// Seed of the order
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "shards",
        help_heading = "Shards"
    )]
    seed: u64,
    /// Print the result as JSON
    #[arg(long, requires = "shards", help_heading = "Shards")]
    json: bool,
}

impl ShardsArgs {
    pub(super) fn is_given(&self) -> bool {
        self.shards.is_some()
    }

    /// The flags of a corpus that were given.
    pub(super) fn corpus_flags(&self) -> Vec<&'static str> {
        let named = (!self.corpus.given().is_empty()).then_some("--corpus");
        let context = self.corpus.context().map(|_| "--context");
        let reading = self.corpus.reading_flags().into_iter();
        named.into_iter().chain(reading).chain(context).collect()
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let given = &args.shards;
    let folder = given.shards.as_deref().context("--shards")?;
    let &[Sites::One(site)] = &args.site[..] else {
        usage!("shards hold the activations at one site; name one, as in --site resid_post.8");
    };
    check_folder(folder)?;
    check_free(folder)?;
    let lm = args.model.open()?;
    let corpus = given.corpus.config(lm.bos, given.seed)?;
    let request = CaptureRequest {
        out_site: given.out_site,
        tokens: given.tokens,
        dtype: given.shard_dtype,
        skip_first: given.skip_first,
        seed: given.seed,
        ..CaptureRequest::new(site, corpus, folder.to_path_buf())
    };
    let cache = corpus_cache()?;
    let job =
        reading(|on_reading| CaptureJob::prepare(&lm, request, cache.as_deref(), on_reading))?;
    print::warnings(&job.warnings);
    announce(job.plan());
    match watched(&job)? {
        Outcome::Cancelled => bail!("stopped before the shards were complete; none are kept"),
        Outcome::Finished(report) if given.json => print::json(&report),
        Outcome::Finished(report) => print(&report),
    }
}

/// Runs the job under a bar, until its end or Ctrl-C.
fn watched(job: &CaptureJob) -> anyhow::Result<Outcome> {
    let signals = listen()?;
    let bar = bar("reading", Counted::Items("tokens"), job.plan().tokens);
    let outcome = job.run(&signals.cancel, &mut |progress| {
        if progress.shuffled > 0 {
            bar.set_message("shuffling");
            bar.set_position(progress.shuffled);
        } else {
            bar.set_position(progress.scattered);
        }
    });
    bar.finish_and_clear();
    Ok(outcome?)
}

/// Prints the disk and memory that the shards will take.
fn announce(plan: &CapturePlan) {
    let (disk, memory) = (bytes(plan.disk), bytes(plan.memory));
    let (tokens, epoch) = (plan.tokens, plan.epoch_tokens);
    print::note!("{tokens} tokens: {disk} on disk, {memory} of memory without the model");
    if tokens > epoch {
        let times = plan.epochs();
        print::note!("the corpus has {epoch} tokens: it is read {times:.1} times");
    }
}

fn print(report: &CaptureReport) -> anyhow::Result<()> {
    let CaptureReport { manifest, .. } = report;
    let origin = &manifest.origin;
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value.into()]);
    row("model", origin.model.clone());
    row("site", origin.site.to_string());
    if let Some(out) = origin.out_site {
        row("out site", out.to_string());
    }
    row("documents", report.documents.to_string());
    row(
        "sequences",
        format!("{} of {} tokens", report.sequences, origin.context),
    );
    row("tokens", manifest.tokens.to_string());
    let width = match manifest.d_out {
        Some(d_out) => format!("{} and {d_out}", manifest.d_in),
        None => manifest.d_in.to_string(),
    };
    row("width", width);
    row("numbers", manifest.dtype.to_string());
    row("shards", manifest.shards.len().to_string());
    row("size", bytes(report.bytes));
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(out, "written to {}", report.folder.display())?;
    print::note!(
        "{:.1} s, {:.0} tokens a second",
        report.seconds,
        report.tokens_per_s
    );
    Ok(())
}
