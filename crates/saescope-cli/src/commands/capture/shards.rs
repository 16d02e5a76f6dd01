//! `saescope capture --shards`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use saescope::activations::shards::{self, Manifest, ShardDtype, ShardsConfig, ShardsOrigin};
use saescope::activations::{Batches as _, Stream, StreamConfig};
use saescope::corpus::Corpus;
use saescope::show::number::bytes;
use saescope::site::{Site, Sites};
use serde::Serialize;

use super::Args;
use crate::args::corpus::CorpusArgs;
use crate::args::value::one_of;
use crate::print::bar::{Counted, bar};
use crate::print::{self, Align, Table};
use crate::usage::usage;

/// Tokens that pass from the model to the shards at once.
const BATCH_TOKENS: usize = 1024;
/// Tokens that are computed at once: so many that few sequences are run twice.
const FILL_TOKENS: usize = 16 * BATCH_TOKENS;

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
}

/// The result as `--json` prints it.
#[derive(Serialize)]
struct Record<'a> {
    shards: String,
    #[serde(flatten)]
    manifest: &'a Manifest,
    bytes: u64,
    documents: usize,
    sequences: usize,
    epochs: f64,
    seconds: f64,
    tokens_per_s: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let given = &args.shards;
    let folder = given.shards.as_deref().context("--shards")?;
    let &[Sites::One(site)] = &args.site[..] else {
        usage!("shards hold the activations at one site; name one, as in --site resid_post.8");
    };
    let lm = args.model.open()?;
    let model = &lm.model;
    let corpus = given.corpus.open(&lm, given.seed)?;
    let config = StreamConfig {
        site,
        out_site: given.out_site,
        batch_tokens: BATCH_TOKENS,
        buffer_tokens: FILL_TOKENS,
        skip_first: given.skip_first,
        seed: given.seed,
    };
    let mut stream = Stream::new(model, &corpus, config)?;
    let shards = ShardsConfig {
        dtype: given.shard_dtype,
        seed: given.seed,
        ..ShardsConfig::new(given.tokens.unwrap_or(stream.epoch_tokens()))
    };
    predict(&shards, &stream);
    let origin = ShardsOrigin {
        model: args.model.reference().to_owned(),
        site,
        out_site: given.out_site,
        corpus: corpus.digest().to_owned(),
        context: corpus.context(),
        skip_first: given.skip_first,
        prepend_bos: Some(lm.prepends_bos()?),
    };
    let start = Instant::now();
    let manifest = write(folder, &shards, origin, &mut stream)?;
    let seconds = start.elapsed().as_secs_f64();
    let record = Record {
        shards: folder.display().to_string(),
        manifest: &manifest,
        bytes: manifest.bytes(),
        documents: corpus.documents(),
        sequences: corpus.sequences(),
        epochs: manifest.tokens as f64 / stream.epoch_tokens() as f64,
        seconds,
        tokens_per_s: manifest.tokens as f64 / seconds,
    };
    if given.json {
        print::json(&record)
    } else {
        report(&record, &corpus)
    }
}

/// Writes the shards, and shows a bar.
fn write(
    folder: &Path,
    config: &ShardsConfig,
    origin: ShardsOrigin,
    stream: &mut Stream,
) -> anyhow::Result<Manifest> {
    let bar = bar("reading", Counted::Items("tokens"), config.tokens);
    let manifest = shards::write(folder, config, origin, stream, &mut |progress| {
        if progress.shuffled > 0 {
            bar.set_message("shuffling");
            bar.set_position(progress.shuffled);
        } else {
            bar.set_position(progress.scattered);
        }
    });
    bar.finish_and_clear();
    Ok(manifest?)
}

/// Prints the disk and memory that the shards will take.
fn predict(shards: &ShardsConfig, stream: &Stream) {
    let width = stream.d_in() + stream.d_out().unwrap_or(0);
    let disk = bytes(shards.predicted_bytes(width));
    let memory = shards.predicted_memory(width) + stream.predicted_bytes();
    let memory = bytes(memory);
    let (tokens, epoch) = (shards.tokens, stream.epoch_tokens());
    eprintln!("{tokens} tokens: {disk} on disk, {memory} of memory without the model");
    if tokens > epoch {
        let times = tokens as f64 / epoch as f64;
        eprintln!("the corpus has {epoch} tokens: it is read {times:.1} times");
    }
}

fn report(record: &Record, corpus: &Corpus) -> anyhow::Result<()> {
    let Record { manifest, .. } = record;
    let origin = &manifest.origin;
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value.into()]);
    row("model", origin.model.clone());
    row("site", origin.site.to_string());
    if let Some(out) = origin.out_site {
        row("out site", out.to_string());
    }
    row("documents", corpus.documents().to_string());
    row(
        "sequences",
        format!("{} of {} tokens", corpus.sequences(), corpus.context()),
    );
    row("tokens", manifest.tokens.to_string());
    let width = match manifest.d_out {
        Some(d_out) => format!("{} and {d_out}", manifest.d_in),
        None => manifest.d_in.to_string(),
    };
    row("width", width);
    row("numbers", manifest.dtype.to_string());
    row("shards", manifest.shards.len().to_string());
    row("size", bytes(record.bytes));
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(out, "written to {}", record.shards)?;
    eprintln!(
        "{:.1} s, {:.0} tokens a second",
        record.seconds, record.tokens_per_s
    );
    Ok(())
}
