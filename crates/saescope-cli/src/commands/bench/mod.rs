//! `saescope bench`

mod sae;
mod train;

use std::io::Write;
use std::time::Instant;

use rayon::prelude::*;
use saescope::generate::most_likely;
use saescope::hook::Capture;
use saescope::model::{Cache, Config, Model};
use saescope::show::number::whole_percent;
use saescope::site::Site;
use saescope::{Matrix, Precision};
use serde::Serialize;

use crate::args::model::{precision, threads};
use crate::print::{self, Align, Cell, Table};
use saescope::resources;

/// Measure this machine
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(clap::Subcommand)]
enum Benchmark {
    Lm(LmArgs),
    Sae(sae::Args),
    Train(train::Args),
}

/// Time forward passes and generation with the shapes of GPT-2 small
///
/// Weights are random, so nothing is downloaded. Each row is the median of several runs after one
/// that is not counted; the peak is measured with multiply-adds that stay in registers.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope bench lm --quick
")]
struct LmArgs {
    /// Measure only weights stored like this
    #[arg(long, value_parser = precision())]
    dtype: Option<Precision>,
    #[command(flatten)]
    shared: BenchArgs,
}

/// Arguments that all benchmarks share.
#[derive(clap::Args)]
struct BenchArgs {
    /// Fewer runs: rougher numbers in less time
    #[arg(long)]
    quick: bool,
    /// The same with shapes that are too small to say anything: tests check the command with it
    #[arg(long, hide = true)]
    tiny: bool,
    /// Threads to use [default: all]
    #[arg(long, value_name = "N", value_parser = threads())]
    threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The machine that is measured.
#[derive(Serialize)]
struct Machine {
    threads: usize,
    instruction_set: String,
    peak_gflops: f64,
}

impl Machine {
    /// This one, as it is to be used. Takes a moment: the peak is measured.
    fn this() -> Machine {
        Machine {
            threads: rayon::current_num_threads(),
            instruction_set: saescope::Isa::current().to_string(),
            peak_gflops: saescope::peak_gflops(),
        }
    }

    /// Writes the line that ends a table.
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "peak {:.0} GFLOP/s (f32 multiply-adds), {} threads, {}",
            self.peak_gflops, self.threads, self.instruction_set
        )
    }
}

#[derive(Serialize)]
struct BenchReport {
    #[serde(flatten)]
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    dtype: &'static str,
    tokens_per_s: f64,
    gflops: f64,
    /// Of the peak of f32 multiply-adds, whatever the row's dtype.
    peak_share: f64,
    peak_rss_mb: Option<f64>,
}

/// The work that a row times, and its amount.
struct Work {
    name: &'static str,
    tokens: usize,
    flops: f64,
    /// Does the work once and says how many seconds it took.
    run: fn(&Model) -> saescope::Result<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.benchmark {
        Benchmark::Lm(args) => lm(args),
        Benchmark::Sae(args) => sae::run(args),
        Benchmark::Train(args) => train::run(args),
    }
}

fn lm(args: &LmArgs) -> anyhow::Result<()> {
    let machine = Machine::this();
    let config = if args.shared.tiny {
        tiny()
    } else {
        Config::gpt2_small()
    };
    let work = work(&config);
    let runs = if args.shared.quick { 3 } else { 7 };
    let mut rows = Vec::new();
    for dtype in Precision::ALL {
        if args.dtype.is_some_and(|only| only != dtype) {
            continue;
        }
        let model = Model::random(config.clone(), dtype, 0);
        for work in &work {
            rows.push(measure(&model, dtype, work, runs, machine.peak_gflops)?);
        }
    }
    let record = BenchReport { machine, rows };
    record.show(args.shared.json)
}

fn measure(
    model: &Model,
    dtype: Precision,
    work: &Work,
    runs: usize,
    peak_gflops: f64,
) -> anyhow::Result<Row> {
    resources::reset_peak();
    (work.run)(model)?;
    let mut seconds = Vec::with_capacity(runs);
    for _ in 0..runs {
        seconds.push((work.run)(model)?);
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[runs / 2];
    let gflops = work.flops / median / 1e9;
    Ok(Row {
        name: work.name.to_owned(),
        dtype: dtype.name(),
        tokens_per_s: work.tokens as f64 / median,
        gflops,
        peak_share: gflops / peak_gflops,
        peak_rss_mb: resources::peak_mb(),
    })
}

fn tiny() -> Config {
    let mut config = Config::gpt2_small();
    config.layers.truncate(6);
    Config {
        d_vocab: 500,
        d_model: 48,
        d_head: 4,
        d_mlp: 96,
        ..config
    }
}

fn work(config: &Config) -> [Work; 5] {
    let layers = config.n_layers();
    let eight = (0..8).flat_map(|_| 0..128);
    [
        Work {
            name: "forward_8x128",
            tokens: 8 * 128,
            flops: flops(config, layers, eight.clone(), 8 * 128),
            run: |model| forward(model, 8, 128),
        },
        Work {
            name: "forward_1x512",
            tokens: 512,
            flops: flops(config, layers, 0..512, 512),
            run: |model| forward(model, 1, 512),
        },
        Work {
            name: "stop6_8x128",
            tokens: 8 * 128,
            flops: flops(config, 6, eight, 0),
            run: |model| {
                let prompts = prompts(model, 8, 128);
                let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
                let mut capture = Capture::new([Site::ResidPost(5)]);
                seconds(|| model.run(&prompts, &mut capture))
            },
        },
        Work {
            name: "prompt_512_last",
            tokens: 512,
            flops: flops(config, layers, 0..512, 1),
            run: |model| {
                let prompt = prompts(model, 1, 512);
                seconds(|| model.last_logits(&[&prompt[0]], &mut ()))
            },
        },
        Work {
            name: "generate_64",
            tokens: 64,
            flops: flops(config, layers, 16..80, 64),
            run: generate_64,
        },
    ]
}

fn forward(model: &Model, n_prompts: usize, len: usize) -> saescope::Result<f64> {
    let prompts = prompts(model, n_prompts, len);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    seconds(|| model.logits(&prompts, &mut ()))
}

/// 64 steps of one token each after a prompt of 16, whose own pass is not counted.
fn generate_64(model: &Model) -> saescope::Result<f64> {
    let mut cache = Cache::new(model.config(), 1, 16 + 64)?;
    let mut logits = model.extend(&mut cache, &[(0, &prompts(model, 1, 16)[0])], &mut ())?;
    seconds(|| {
        for _ in 0..64 {
            let next = [most_likely(logits.row(0))];
            logits = model.extend(&mut cache, &[(0, &next)], &mut ())?;
        }
        Ok(())
    })
}

/// Ids spread over the vocabulary.
fn prompts(model: &Model, n: usize, len: usize) -> Vec<Vec<u32>> {
    let id = |i: usize| (i * 7919 % model.config().d_vocab) as u32;
    (0..n)
        .map(|prompt| (0..len).map(|at| id(prompt * len + at)).collect())
        .collect()
}

fn seconds<T>(work: impl FnOnce() -> saescope::Result<T>) -> saescope::Result<f64> {
    let start = Instant::now();
    std::hint::black_box(work()?);
    Ok(start.elapsed().as_secs_f64())
}

/// Floating-point operations, two to a multiply-add, of `layers` blocks over tokens at these
/// positions, and of the unembedding of `logits` of them. Norms and the like are not counted.
fn flops(
    config: &Config,
    layers: usize,
    positions: impl Iterator<Item = usize>,
    logits: usize,
) -> f64 {
    let heads = config.n_heads * config.d_head;
    let key_heads = config.n_kv_heads * config.d_head;
    let projections = config.d_model * (2 * heads + 2 * key_heads);
    let mlp = config.d_model * config.d_mlp * if config.mlp.gated { 3 } else { 2 };
    let block = |position| projections + mlp + 2 * heads * (position + 1);
    let blocks: usize = positions.map(block).sum();
    2.0 * (layers * blocks + logits * config.d_model * config.d_vocab) as f64
}

impl BenchReport {
    fn show(&self, json: bool) -> anyhow::Result<()> {
        if json { print::json(self) } else { print(self) }
    }
}

fn print(record: &BenchReport) -> anyhow::Result<()> {
    let mut table = Table::new(vec![
        Align::Left,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ]);
    table.header([
        "work",
        "dtype",
        "tokens/s",
        "GFLOP/s",
        "of peak",
        "peak memory",
    ]);
    for row in &record.rows {
        let cells = [
            row.name.clone(),
            row.dtype.to_owned(),
            format!(
                "{:.*}",
                usize::from(row.tokens_per_s < 100.0),
                row.tokens_per_s
            ),
            format!("{:.0}", row.gflops),
            whole_percent(row.peak_share),
            memory(row.peak_rss_mb),
        ];
        table.row(cells.into_iter().map(Cell::from).collect());
    }
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    record.machine.write(&mut out)?;
    Ok(())
}

/// Memory for people, where the system tells it.
fn memory(mb: Option<f64>) -> String {
    mb.map_or("unknown".to_owned(), |mb| format!("{mb:.0} MB"))
}

/// Values of mean 0 and standard deviation 1, nearly normal: sums of four uniform ones.
fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut matrix = Matrix::zeros(rows, cols);
    let each = matrix.data_mut().par_chunks_exact_mut(cols).enumerate();
    each.for_each(|(row, values)| {
        // Knuth's MMIX generator, one stream a row.
        let mut state = (seed << 32) ^ (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        for value in values {
            let sum: f32 = (0..4).map(|_| uniform()).sum();
            *value = sum * 3.0_f32.sqrt();
        }
    });
    matrix
}
