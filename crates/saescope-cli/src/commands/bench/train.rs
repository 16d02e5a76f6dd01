//! `saescope bench train`

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::time::Instant;

use saescope::activations::{Batch, Batches, Clocks};
use saescope::sae::Record as SaeRecord;
use saescope::train::{
    InitBias, Metrics, Objective, Products, Recipe, Run, Sink, State, TrainConfig, Treatment, train,
};
use saescope::{Matrix, Precision};

use super::{BenchArgs, BenchReport, Machine, Row, random};
use saescope::resources;

/// Time steps of training sparse autoencoders on random activations
///
/// TopK of 32 features (768 -> 24,576, 4096 tokens a step; all of the recipe but the part for dead
/// features) and ReLU + L1 (768 -> 6144, 2048 tokens, about half of the features active, products of
/// f32 and of bf16), then TopK with other numbers of features, other k and other batches. Each row is
/// the median of several steps after one that is not counted. A GFLOP is what dense products of the
/// encoder, and of everything else at active features only, would need.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope bench train --quick
")]
pub(crate) struct Args {
    /// Omit the rows that vary the sizes of TopK
    #[arg(long)]
    no_scaling: bool,
    #[command(flatten)]
    shared: BenchArgs,
}

/// The training of a row.
#[derive(Clone, Copy)]
struct Case {
    kind: Kind,
    d_in: usize,
    d_sae: usize,
    batch: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    TopK(usize),
    ReluL1(Precision),
}

const SEED: u64 = 1;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let machine = Machine::this();
    let mut cases = compared().to_vec();
    if !args.no_scaling {
        cases.extend(scaling());
    }
    let steps = if args.shared.quick { 3 } else { 7 };
    let mut rows = Vec::new();
    for case in cases {
        let case = if args.shared.tiny { case.tiny() } else { case };
        rows.push(case.measure(steps, machine.peak_gflops)?);
    }
    let record = BenchReport { machine, rows };
    record.show(args.shared.json)
}

/// The rows that are held against other programs.
fn compared() -> [Case; 3] {
    let relu = |dtype| Case {
        kind: Kind::ReluL1(dtype),
        d_in: 768,
        d_sae: 6144,
        batch: 2048,
    };
    [
        topk(24_576, 32, 4096),
        relu(Precision::F32),
        relu(Precision::Bf16),
    ]
}

/// One number changed at a time.
fn scaling() -> [Case; 7] {
    [
        topk(6144, 32, 4096),
        topk(12_288, 32, 4096),
        topk(49_152, 32, 4096),
        topk(24_576, 16, 4096),
        topk(24_576, 64, 4096),
        topk(24_576, 32, 1024),
        topk(24_576, 32, 8192),
    ]
}

fn topk(d_sae: usize, k: usize, batch: usize) -> Case {
    Case {
        kind: Kind::TopK(k),
        d_in: 768,
        d_sae,
        batch,
    }
}

impl Case {
    fn tiny(self) -> Case {
        Case {
            d_in: 32,
            d_sae: self.d_sae / 192,
            batch: self.batch / 64,
            ..self
        }
    }

    fn name(&self) -> String {
        let Case {
            d_in, d_sae, batch, ..
        } = self;
        match self.kind {
            Kind::TopK(k) => format!("topk_{d_in}_{d_sae}_k{k}_b{batch}"),
            Kind::ReluL1(_) => format!("relu_l1_{d_in}_{d_sae}_b{batch}"),
        }
    }

    fn dtype(&self) -> Precision {
        match self.kind {
            Kind::TopK(_) => Precision::F32,
            Kind::ReluL1(dtype) => dtype,
        }
    }

    fn config(&self, steps: u64) -> TrainConfig {
        let recipe = match self.kind {
            Kind::TopK(_) => Recipe::TopK,
            Kind::ReluL1(_) => Recipe::Article,
        };
        let mut config = TrainConfig::recipe(recipe, self.d_in, self.d_sae, steps);
        config.objective = match self.kind {
            Kind::TopK(k) => Objective::TopK { k, aux: None },
            Kind::ReluL1(_) => Objective::L1 {
                coefficient: 5e-3,
                decoder_norm: false,
            },
        };
        config.products = match self.dtype() {
            Precision::F32 => Products::F32,
            Precision::Bf16 => Products::Bf16,
        };
        config.batch_tokens = self.batch;
        config.dead.treatment = Treatment::None;
        config.init.b_dec = InitBias::Zero;
        config.log_every = steps;
        config.checkpoint_every = 0;
        config
    }

    /// Floating-point operations of a step, two to a multiply-add.
    fn flops(&self) -> f64 {
        let per_feature = 2.0 * (self.batch * self.d_in) as f64;
        // Encoding and decoding, and the gradients of activations, encoder and decoder.
        match self.kind {
            Kind::TopK(k) => per_feature * (self.d_sae + 4 * k) as f64,
            Kind::ReluL1(_) => per_feature * (5 * self.d_sae) as f64,
        }
    }

    fn measure(&self, steps: u64, peak_gflops: f64) -> anyhow::Result<Row> {
        // The first step starts cold and both it and the last write metrics.
        let config = self.config(steps + 2);
        resources::reset_peak();
        let watch = Watch::default();
        let x = random(self.batch, self.d_in, SEED);
        let mut batches = SameBatch { x, watch: &watch };
        let run = Run {
            config: &config,
            record: SaeRecord::default(),
            resume: None,
            sink: &mut &watch,
        };
        train(vec![run], &mut batches)?;
        let mut seconds = watch.seconds.into_inner();
        seconds.pop();
        seconds.remove(0);
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let gflops = self.flops() / median / 1e9;
        Ok(Row {
            name: self.name(),
            dtype: self.dtype().name(),
            tokens_per_s: self.batch as f64 / median,
            gflops,
            peak_share: gflops / peak_gflops,
            peak_rss_mb: watch.peak_rss_mb.get(),
        })
    }
}

/// The same batch again and again; a step begins when it is handed out.
struct SameBatch<'a> {
    x: Matrix,
    watch: &'a Watch,
}

impl Iterator for SameBatch<'_> {
    type Item = saescope::Result<Batch>;

    fn next(&mut self) -> Option<saescope::Result<Batch>> {
        let x = self.x.clone();
        self.watch.started.set(Some(Instant::now()));
        Some(Ok(Batch { x, target: None }))
    }
}

impl Batches for SameBatch<'_> {
    fn seek(&mut self, _: u64) {}

    fn clocks(&self) -> Clocks {
        Clocks::default()
    }

    fn predicted_bytes(&self) -> u64 {
        size_of_val(self.x.data()) as u64
    }
}

/// Notes how long each step takes.
#[derive(Default)]
struct Watch {
    started: Cell<Option<Instant>>,
    seconds: RefCell<Vec<f64>>,
    peak_rss_mb: Cell<Option<f64>>,
}

impl Sink for &Watch {
    fn step(&mut self, _: u64) -> ControlFlow<()> {
        if let Some(started) = self.started.take() {
            self.seconds
                .borrow_mut()
                .push(started.elapsed().as_secs_f64());
        }
        self.peak_rss_mb.set(resources::peak_mb());
        ControlFlow::Continue(())
    }

    fn metrics(&mut self, _: &Metrics) -> saescope::Result<()> {
        Ok(())
    }

    fn checkpoint(&mut self, _: &State) -> saescope::Result<()> {
        Ok(())
    }
}
