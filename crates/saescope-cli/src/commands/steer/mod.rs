//! `saescope steer`

mod plot;
mod setting;
mod show;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ArgGroup;
use saescope::checkpoint::save_whole;
use saescope::edit::{DirectionOp, Document, Edit, Op, Unit};
use saescope::hook::Capture;
use saescope::model::Model;
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::steer::{Comparison, Request, steer};
use saescope::vector::norm;

use crate::args::edits::EditsArgs;
use crate::args::model::{TextArgs, finite};
use crate::args::output::check_output;
use crate::args::sae::{SaeArgs, Subject, encode};
use crate::args::sampling::SamplingArgs;
use crate::usage::usage;
use saescope::session::LanguageModel;
use setting::{Builder, FeatureArg, Setting, Slot, SpanArg, UnitArg, read_vector};

/// Turn features up and see the plain and the steered text side by side
///
/// The same prompt is continued without and with the edits, with the same seed. Both models are then
/// compared along the steered text: KL(steered || plain) in nats per token, how far the edited site
/// moved, and the text's perplexity under the plain model and its repetition, which tell a changed text
/// from a broken one. docs/steering.md explains units, spans and numbers.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("turned").args(["feature", "vector"]).multiple(true))]
#[command(after_help = "\
Examples:
  saescope steer tests/data/sae -p \"Once upon a time\" -f 61 --scale 3 -n 24
  saescope steer tests/data/sae -p Lily -f 93 -f 75=0.5 --sweep 0,2,4 --plot sweep.svg
  saescope steer tests/data/sae -p Lily -f 93 -f 75 --combinations --scale 3 -n 12
  saescope steer tests/data/sae -p Lily -f 61 --scale 3 -n 12 --save edits.json
  saescope steer tests/data/sae -p Tim -f 93 --clamp --scale 2 -n 12 --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    #[command(flatten)]
    text: TextArgs,
    /// A feature, with its own weight if need be, which the scale multiplies. May be given several times
    #[arg(short, long, value_name = "N[=W]")]
    feature: Vec<FeatureArg>,
    /// A steering vector: control-vector GGUF, or safetensors with tensors named as sites or one named
    /// `vector` for --site. May be given several times
    #[arg(long, value_name = "FILE")]
    vector: Vec<PathBuf>,
    #[command(flatten)]
    edits: EditsArgs,
    /// How far features and vectors are turned up; what --edits holds has its own scale and span
    #[arg(long, value_name = "X", value_parser = finite)]
    #[arg(required_unless_present_any = ["sweep", "ablate", "edits"], requires = "turned")]
    scale: Option<f32>,
    /// Several scales, one row each
    #[arg(
        long,
        value_name = "X,Y,…",
        allow_hyphen_values = true,
        value_delimiter = ','
    )]
    #[arg(conflicts_with_all = ["scale", "ablate"], requires = "turned", value_parser = finite)]
    sweep: Vec<f32>,
    /// What the scale counts [default: raw, with --clamp activation]
    #[arg(long, value_enum, requires = "turned")]
    unit: Option<UnitArg>,
    /// Each subset of the features, one row each
    #[arg(long, requires = "feature")]
    combinations: bool,
    /// What stands in a feature's slot: 1, or both that and the activation that it really has on
    /// --reference-prompt
    #[arg(long, value_enum, default_value = "one", requires = "feature")]
    slot: Slot,
    /// The text on which --slot actual looks for the features' largest activations
    #[arg(long, value_name = "TEXT", required_if_eq("slot", "actual"))]
    reference_prompt: Option<String>,
    /// The text, one per line, on which --unit max looks for them [default: a built-in one]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Set the features' activations instead of adding to them
    #[arg(long, requires = "feature")]
    clamp: bool,
    /// Set the features' activations to 0
    #[arg(long, requires = "feature", conflicts_with_all = ["scale", "clamp", "slot", "unit"])]
    ablate: bool,
    /// Which positions: `all`, `prompt`, `generated`, `N..` from N on, or `N,M,…`
    #[arg(long, value_name = "SPAN", default_value = "all", requires = "turned")]
    span: SpanArg,
    /// Texts per setting, with the seeds N, N+1, …
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Write the edits as a JSON document, which every command that has --edits reads
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sweep", "combinations"])]
    save: Option<PathBuf>,
    /// Draw KL, perplexity and repetition over the scales of --sweep as an SVG
    #[arg(long, value_name = "FILE", requires = "sweep")]
    plot: Option<PathBuf>,
    /// Print the texts only, not what each edit adds
    #[arg(long)]
    brief: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    check(args)?;
    let text = args.text.read()?;
    let document = args.edits.load()?;
    if args.feature.is_empty() && args.vector.is_empty() && document.edits.is_empty() {
        usage!("--edits: there is nothing in it to steer with; give --feature or --vector too");
    }
    let subject = args.sae.open_any(document.model.as_deref())?;
    let Subject { sae, lm } = subject;
    if sae.is_none() && !args.feature.is_empty() {
        usage!("--feature needs an autoencoder besides the model; name one as SAE");
    }
    let LanguageModel {
        model, tokenizer, ..
    } = &lm;
    let tokens = encode(&lm, sae.as_ref(), std::slice::from_ref(&text))?.concat();

    let vectors = vectors(args, sae.as_ref().map(|named| &named.sae))?;
    let mut builder = Builder::new(args, &lm, sae.as_ref().map(|named| &named.sae));
    builder.find_peaks()?;
    let settings = builder.settings(&vectors, &document, tokens.len())?;
    let activations = builder.activations();
    let all = settings.iter().flat_map(|setting| setting.edits.clone());
    let sae_name = sae.as_ref().map(|_| args.sae.reference());
    let session = args.sae.load.session()?;
    let edits = session.edits(all.collect(), sae.into_iter().collect(), model)?;
    save(args, &lm.reference, &settings)?;

    let seed = |sample| args.sampling.seed.wrapping_add(u64::from(sample));
    let seeds: Vec<u64> = (0..args.samples).map(seed).collect();
    let lists: Vec<_> = settings.iter().map(|s| s.edits.clone()).collect();
    let request = Request {
        prompt: &tokens,
        settings: &lists,
        saes: &edits.saes(),
        sampling: &args.sampling.sampling(tokenizer.eos_ids()),
        seeds: &seeds,
    };
    let comparison = steer((model, tokenizer), &request)?;
    let report = show::Report {
        args,
        model: &lm.reference,
        sae: sae_name,
        prompt: &text,
        tokens: &tokens,
        activations: &activations,
        settings: &settings,
        comparison: &comparison,
    };
    report.warn();
    warn_of_first(model, &tokens, &settings)?;
    draw(args, &settings, &comparison)?;
    if args.json {
        report.json()
    } else {
        report.print()
    }
}

/// Refuses what would be asked for twice, or passed over, and a picture that could not be written.
fn check(args: &Args) -> anyhow::Result<()> {
    let twice = |at: usize| {
        args.feature[..at]
            .iter()
            .any(|f| f.feature == args.feature[at].feature)
    };
    if let Some(at) = (0..args.feature.len()).find(|&at| twice(at)) {
        usage!("--feature {}: it is given twice", args.feature[at].feature);
    }
    if let Some(at) = (0..args.sweep.len()).find(|&at| args.sweep[..at].contains(&args.sweep[at])) {
        usage!("--sweep: {} is given twice", args.sweep[at]);
    }
    if args.reference.is_some() && args.unit() != UnitArg::Max {
        usage!("--reference: only --unit max looks for activations there");
    }
    if args.reference_prompt.is_some() && args.slot != Slot::Actual {
        usage!("--reference-prompt: only --slot actual looks for activations there");
    }
    if args.ablate && args.feature.iter().any(|feature| feature.weight != 1.0) {
        usage!("--ablate sets an activation to 0, whatever its weight; leave the weights away");
    }
    for path in [&args.plot, &args.save].into_iter().flatten() {
        check_output(path)?;
    }
    Ok(())
}

/// Warns where edits in proportion to the token meet a first position that is many times as long as the
/// others, as it is in many models: what is added there is as large, and every token attends to it.
fn warn_of_first(model: &Model, tokens: &[u32], settings: &[Setting]) -> anyhow::Result<()> {
    const MANY_TIMES: f64 = 8.0;
    let in_proportion = |edit: &&Edit| {
        let adds = matches!(
            edit.op,
            Op::Direction(DirectionOp::Add { unit, scale, .. })
                if unit != Unit::Raw && scale != 0.0
        );
        adds && edit.span.contains(0)
    };
    let edits = settings.iter().flat_map(|setting| &setting.edits);
    let sites: BTreeSet<Site> = edits.filter(in_proportion).map(|edit| edit.site).collect();
    if sites.is_empty() || tokens.len() < 2 {
        return Ok(());
    }
    let mut capture = Capture::new(sites.iter().copied());
    model.run(&[tokens], &mut capture)?;
    for site in sites {
        let x = capture.take(site)?; // [tokens, d]
        let mut norms: Vec<f64> = (0..x.rows()).map(|row| norm(x.row(row))).collect();
        let first = norms.remove(0);
        norms.sort_by(f64::total_cmp);
        let times = first / norms[norms.len() / 2];
        if times > MANY_TIMES {
            eprintln!(
                "warning: the first position is {times:.0} times as long as the others at {site}, and what is \
                 added there in proportion to it as large; --span 1.. leaves it out"
            );
        }
    }
    Ok(())
}

fn draw(args: &Args, settings: &[Setting], comparison: &Comparison) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        let svg = plot::plot(args, settings, comparison);
        save_whole(path, |file| file.write_all(svg.as_bytes()))?;
    }
    Ok(())
}

/// The directions of the vector files, with their sites and files.
fn vectors(args: &Args, sae: Option<&Sae>) -> anyhow::Result<Vec<setting::Direction>> {
    let recorded = sae.and_then(|sae| sae.out_site().ok());
    let mut vectors = Vec::new();
    for path in &args.vector {
        vectors.extend(read_vector(path, (args.sae.site, recorded))?);
    }
    Ok(vectors)
}

fn save(args: &Args, model: &str, settings: &[Setting]) -> anyhow::Result<()> {
    let Some(path) = &args.save else {
        return Ok(());
    };
    let [setting] = settings else {
        usage!(
            "--save writes one setting, and there are {}",
            settings.len()
        );
    };
    let document = Document {
        model: Some(model.to_owned()),
        edits: setting.edits.clone(),
    };
    document.save(path).context("--save")
}
