//! `saescope steer`

mod plot;
mod recipe;
mod show;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ArgGroup;
use saescope::edit::{Document, Edit};
use saescope::model::Model;
use saescope::origin::Origin;
use saescope::session::{Edits, LanguageModel, Warning};
use saescope::steer::{
    Comparison, ReferenceActivations, RelativeSpan, Request, ScaleUnit, Setting, Slot,
    WeightedFeature, long_first_positions, steer,
};

use crate::args::edits::EditsArgs;
use crate::args::model::{TextArgs, finite};
use crate::args::output::{Written, check_output, save_svg};
use crate::args::sae::{SaeArgs, Subject, encode};
use crate::args::sampling::SamplingArgs;
use crate::print;
use crate::usage::usage;

/// Turn features up and see the plain and the steered text side by side
///
/// The same prompt is continued without and with the edits, with the same seed. Both models are then
/// compared along the steered text: KL(steered || plain) in nats per token, the shift of the edited
/// site, and the text's perplexity under the plain model and its repetition, which tell a changed text
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
    /// A feature, and optionally a weight of its own, which the scale multiplies. May be given several
    /// times
    #[arg(short, long, value_name = "N[=W]")]
    feature: Vec<WeightedFeature>,
    /// A steering vector: control-vector GGUF, safetensors with tensors named as sites, or a direction for
    /// --site alone, by layer or in rows, of safetensors, torch or numpy. May be given several times
    #[arg(long, value_name = "FILE")]
    vector: Vec<PathBuf>,
    #[command(flatten)]
    edits: EditsArgs,
    /// Multiplier of features and vectors; the edits of --edits have scales and spans of their own
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
    /// Unit of the scale [default: raw, with --clamp activation]
    #[arg(long, value_parser = recipe::unit(), requires = "turned")]
    unit: Option<ScaleUnit>,
    /// Each subset of the features, one row each
    #[arg(long, requires = "feature")]
    combinations: bool,
    /// Further factor of each feature: 1 (`one`), or two settings (`actual`), one with 1 and one with its
    /// largest activation on --reference-prompt
    #[arg(long, value_parser = recipe::slot(), default_value = "one", requires = "feature")]
    slot: Slot,
    /// The text on which --slot actual looks up the features' largest activations
    #[arg(long, value_name = "TEXT", required_if_eq("slot", "actual"))]
    reference_prompt: Option<String>,
    /// The texts, one per line, on which --unit max looks them up [default: built-in ones]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Set the features' activations instead of adding to them
    #[arg(long, requires = "feature")]
    clamp: bool,
    /// Set the features' activations to 0
    #[arg(long, requires = "feature", conflicts_with_all = ["scale", "clamp", "slot", "unit"])]
    ablate: bool,
    /// The positions to edit: `all`, `prompt`, `generated`, `N..` from N on, or `N,M,…`. The default
    /// omits the first, whose activation is unlike all others
    #[arg(long, value_name = "SPAN", default_value_t, requires = "turned")]
    span: RelativeSpan,
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
    args.check_outputs()?;
    let text = args.text.read()?;
    let document = args.edits.load()?;
    if args.feature.is_empty() && args.vector.is_empty() && document.edits.is_empty() {
        usage!("--edits: the file holds no edits; add --feature or --vector");
    }
    let uses_sae = args.uses_sae(&document);
    let mut recipe = args.recipe(document.edits)?;
    let made_for = document.model.as_deref();
    let Subject { sae, lm, warnings } = args.sae.open_any(made_for)?;
    print::warnings(warnings.iter().filter(|_| uses_sae));
    print::warnings(&Edits::check_made_for(made_for, &lm.reference));
    if sae.is_none() && !args.feature.is_empty() {
        usage!("--feature needs an autoencoder besides the model; name one as SAE");
    }
    let LanguageModel {
        model, tokenizer, ..
    } = &lm;
    let reads = sae.as_ref().filter(|_| uses_sae);
    let encoded = encode(&lm, reads, std::slice::from_ref(&text))?;
    let (text, tokens) = (encoded.texts.concat(), encoded.ids.concat());

    let recorded = sae.as_ref().and_then(|named| named.sae.out_site().ok());
    recipe.directions = args.directions(recorded, model.config().n_layers())?;
    recipe.check()?;
    let activations = match &sae {
        Some(named) => recipe.activations(model, tokenizer, &named.sae, lm.bos)?,
        None => ReferenceActivations::default(),
    };
    let settings = recipe.settings(
        sae.as_ref().map(|named| &named.sae),
        &activations,
        tokens.len(),
    )?;
    let origin = Origin {
        sae: sae.as_ref().map(|named| named.reference.clone()),
        site: sae.as_ref().and_then(|named| named.sae.record().site),
        ..lm.origin()
    };
    let all = settings.iter().flat_map(|setting| setting.edits.clone());
    let session = args.sae.load.session()?;
    let edits = session.open_edits(all.collect(), sae.into_iter().collect(), model)?;
    save(args, &lm.reference, &settings)?;

    let comparison = compared(args, &lm, &tokens, &settings, &edits)?;
    let report = show::Output {
        args,
        unit: recipe.unit(),
        origin,
        prompt: &text,
        tokens: &tokens,
        activations: &[activations.texts, activations.prompt].concat(),
        settings: &settings,
        comparison: &comparison,
    };
    warn_of_first(model, &tokens, &settings)?;
    show(args, &report)
}

/// Draws and prints a comparison as the arguments ask.
fn show(args: &Args, report: &show::Output) -> anyhow::Result<()> {
    let (settings, comparison) = (report.settings, report.comparison);
    print::warnings(&Warning::of_effects(
        settings,
        comparison,
        report.tokens.len(),
    ));
    if let Some(path) = &args.plot {
        let svg = plot::plot(report.unit, report.settings, report.comparison);
        save_svg(path, &svg, args.json)?;
    }
    if args.json {
        report.json()
    } else {
        report.print()
    }
}

/// The texts that are written without edits and under each setting.
fn compared(
    args: &Args,
    lm: &LanguageModel,
    tokens: &[u32],
    settings: &[Setting],
    edits: &Edits,
) -> anyhow::Result<Comparison> {
    let seed = |sample| args.sampling.seed.wrapping_add(u64::from(sample));
    let seeds: Vec<u64> = (0..args.samples).map(seed).collect();
    let lists: Vec<&[Edit]> = settings.iter().map(|s| s.edits.as_slice()).collect();
    let request = Request {
        prompt: tokens,
        settings: &lists,
        saes: &edits.saes(),
        sampling: &args.sampling.sampling(lm.tokenizer.eos_ids()),
        seeds: &seeds,
    };
    Ok(steer(&lm.model, &lm.tokenizer, &request)?)
}

impl Args {
    fn check_outputs(&self) -> anyhow::Result<()> {
        let outputs = [(&self.plot, Written::Svg), (&self.save, Written::Json)];
        for (path, written) in outputs {
            if let Some(path) = path {
                check_output(path, written)?;
            }
        }
        Ok(())
    }

    /// True if a feature of the autoencoder is changed. One that only names the model of a vector is not.
    fn uses_sae(&self, document: &Document) -> bool {
        let named = Some(self.sae.reference());
        !self.feature.is_empty() || document.edits.iter().any(|edit| edit.sae() == named)
    }

    /// True if there is anything that the scale multiplies.
    fn has_scale(&self) -> bool {
        !self.feature.is_empty() || !self.vector.is_empty()
    }
}

/// Warns where edits in proportion to the token include a first position that is many times as long as
/// the others.
fn warn_of_first(model: &Model, tokens: &[u32], settings: &[Setting]) -> anyhow::Result<()> {
    let edits = settings.iter().flat_map(|setting| &setting.edits);
    let long = long_first_positions(model, tokens, edits)?;
    let warnings: Vec<Warning> = long.into_iter().map(Warning::from).collect();
    print::warnings(&warnings);
    Ok(())
}

fn save(args: &Args, model: &str, settings: &[Setting]) -> anyhow::Result<()> {
    let Some(path) = &args.save else {
        return Ok(());
    };
    let [setting] = settings else {
        usage!(
            "--save writes one setting, and these are {}",
            settings.len()
        );
    };
    let document = Document {
        model: Some(model.to_owned()),
        edits: setting.edits.clone(),
    };
    document.save(path).context("--save")?;
    if !args.json {
        print::note!("written to {}", path.display());
    }
    Ok(())
}
