//! `saescope bench sae`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use saescope::sae::Sae;
use saescope::show::number::{bytes, whole_percent};
use saescope::{Encoder, Gate};
use serde::Serialize;

use super::{BenchArgs, Machine, memory, random};
use crate::print::{self, Align, Table};
use saescope::resources;

/// Time encoding with the shapes of OpenAI's largest autoencoder for GPT-2 small
///
/// 1024 tokens of width 768 into 131,072 features of which 32 stay. Weights are random, so nothing is
/// downloaded. Rows are checked against those found without the screen. A GFLOP is what a dense
/// product would need, so that the rate compares with that of others.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope bench sae --quick
")]
pub(crate) struct Args {
    /// Time the opening of this autoencoder too
    #[arg(long, value_name = "FILE")]
    open: Option<PathBuf>,
    #[command(flatten)]
    shared: BenchArgs,
}

#[derive(Serialize)]
struct EncodeReport {
    #[serde(flatten)]
    machine: Machine,
    seed: u64,
    tokens: usize,
    d_in: usize,
    d_sae: usize,
    k: usize,
    /// Seconds of the first call, which makes the screen.
    first_s: f64,
    /// Median of the calls after it.
    encode_s: f64,
    tokens_per_s: f64,
    gflops_equivalent: f64,
    /// Of the peak of f32 multiply-adds; what is screened out is counted as if it were computed.
    peak_share: f64,
    /// Rows that were compared with the unscreened ones and are identical.
    rows_checked: usize,
    peak_rss_mb: Option<f64>,
    opened: Option<Opening>,
}

#[derive(Serialize)]
struct Opening {
    file: PathBuf,
    bytes: u64,
    seconds: f64,
    peak_rss_mb: Option<f64>,
}

const SEED: u64 = 1;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let opened = args.open.as_deref().map(opening).transpose()?;
    let record = encoding(args, opened)?;
    if args.shared.json {
        return print::json(&record);
    }
    print(&record)
}

fn opening(file: &Path) -> anyhow::Result<Opening> {
    resources::reset_peak();
    let start = Instant::now();
    let sae = Sae::open(file)?;
    let seconds = start.elapsed().as_secs_f64();
    let files = sae.record().files.iter();
    Ok(Opening {
        file: file.to_path_buf(),
        bytes: files.map(|file| file.bytes).sum(),
        seconds,
        peak_rss_mb: resources::peak_mb(),
    })
}

fn encoding(args: &Args, opened: Option<Opening>) -> anyhow::Result<EncodeReport> {
    /// Few enough that the encoder takes the way without the screen.
    const FEW: usize = 16;
    let (tokens, d_in, d_sae, k) = if args.shared.tiny {
        (64, 48, 2048, 8)
    } else {
        (1024, 768, 131_072, 32)
    };
    let machine = Machine::this();
    let mut weight = random(d_sae, d_in, SEED);
    weight.scale(1.0 / (d_in as f32).sqrt());
    let x = random(tokens, d_in, SEED + 1);
    resources::reset_peak();
    let encoder = Encoder::new(weight, vec![0.0; d_sae], Gate::TopK(k));
    let timed = || {
        let start = Instant::now();
        let rows = encoder.encode(&x);
        (start.elapsed().as_secs_f64(), rows)
    };
    let (first_s, rows) = timed();
    let mut seconds: Vec<f64> = (0..if args.shared.quick { 3 } else { 7 })
        .map(|_| timed().0)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let encode_s = seconds[seconds.len() / 2];
    let peak_rss_mb = resources::peak_mb();

    let sample: Vec<usize> = (0..FEW).map(|at| at * tokens / FEW).collect();
    let plain = encoder.encode(&x.select_rows(&sample));
    for (at, &row) in sample.iter().enumerate() {
        ensure!(
            plain.row(at) == rows.row(row),
            "row {row} differs from the one without a screen"
        );
    }
    let gflops = 2e-9 * (tokens * d_in * d_sae) as f64 / encode_s;
    Ok(EncodeReport {
        peak_share: gflops / machine.peak_gflops,
        machine,
        seed: SEED,
        tokens,
        d_in,
        d_sae,
        k,
        first_s,
        encode_s,
        tokens_per_s: tokens as f64 / encode_s,
        gflops_equivalent: gflops,
        rows_checked: sample.len(),
        peak_rss_mb,
        opened,
    })
}

fn print(record: &EncodeReport) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Right]);
    let shapes = format!("{} -> {}, k {}", record.d_in, record.d_sae, record.k);
    let lines = [
        ("shapes", shapes),
        ("tokens", record.tokens.to_string()),
        ("first call", format!("{:.3} s", record.first_s)),
        ("encode", format!("{:.3} s", record.encode_s)),
        ("tokens/s", format!("{:.0}", record.tokens_per_s)),
        ("dense GFLOP/s", format!("{:.0}", record.gflops_equivalent)),
        ("of peak", whole_percent(record.peak_share)),
        ("peak memory", memory(record.peak_rss_mb)),
        ("rows checked", record.rows_checked.to_string()),
    ];
    for (name, value) in lines {
        table.row(vec![name.into(), value.into()]);
    }
    if let Some(opened) = &record.opened {
        let size = bytes(opened.bytes);
        table.row(vec![
            format!("open {size}").into(),
            format!("{:.3} s", opened.seconds).into(),
        ]);
        table.row(vec![
            "memory then".into(),
            memory(opened.peak_rss_mb).into(),
        ]);
    }
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    record.machine.write(&mut out)?;
    Ok(())
}
