//! `saescope train`

mod begin;
mod data;
mod finish;
mod live;
mod plan;
mod setting;
mod stop;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use saescope::Isa;
use saescope::activations::{Batches, Shards, Stream, StreamConfig};
use saescope::model::Model;
use saescope::runs::{Machine, ModelOrigin, ResourceEstimate, RunConfig, SavedRun};
use saescope::sae::Record;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use saescope::train::{Run, State, TrainConfig, Transcoder, train};
use serde_json::json;

use self::begin::{Planned, There, begin, taken};
use self::data::{Data, DataArgs, Training};
use self::live::RunSink;
use self::plan::Plan;
use self::setting::{Setting, SettingArgs};
use self::stop::Stop;
use crate::args::model::{ModelArgs, Opened};
use crate::print;
use crate::print::live::{LiveView, ViewMode};
use crate::usage::{Usage, ensure_usage};

/// Train sparse autoencoders on a model's activations
///
/// Writes a folder with the configuration, the metrics of every log step, checkpoints, the autoencoder
/// as SAELens 6 lays it out, its evaluation on texts that were held out, and a report. Ctrl-C ends it
/// behind a step, and --resume goes on as if nothing had been. docs/training.md is the guide.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope train tests/data/stories260K --site mlp_out.2 \\
      --corpus tests/data/text/stories-en.txt --document line \\
      --expansion 2 --k 8 --steps 20 --batch 256 --buffer 4096 -o run
  saescope train tests/data/stories260K --site resid_post.1 \\
      --corpus tests/data/text/stories-en.txt --document line \\
      --steps 10 --batch 256 --buffer 4096 --sweep expansion=1,2 k=4,8 -o sweep
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where activations are read, such as `resid_post.8`
    #[arg(long, value_name = "SITE")]
    site: Site,
    /// Train a transcoder, which writes here
    #[arg(long, value_name = "SITE")]
    out_site: Option<Site>,
    /// Let a linear map of a transcoder pass by the features
    #[arg(long, requires = "out_site")]
    skip: bool,
    #[command(flatten)]
    data: DataArgs,
    /// Tokens whose activations are mixed with each other
    #[arg(
        long,
        value_name = "N",
        default_value_t = 262_144,
        conflicts_with = "shards"
    )]
    buffer: usize,
    /// Leave out the first token of every text, whose activation is like no other
    #[arg(long, conflicts_with = "shards")]
    skip_first: bool,
    /// The folder to write [default: named after the model, the site and the recipe]
    #[arg(short, long, value_name = "RUN")]
    output: Option<PathBuf>,
    /// Go on with the run in that folder, from its last checkpoint; all else as it was given before
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace a run that is in that folder
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    // Last, since what follows would stand under its heading.
    #[command(flatten)]
    setting: SettingArgs,
}

/// Where activations come from, and what that says in a run's configuration.
struct Given<'a> {
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    data: &'a Data,
    d_in: usize,
    d_out: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.folder();
    if !args.resume && !args.force && SavedRun::is_at(&folder) {
        // Said before minutes of loading.
        bail!(taken(&folder));
    }
    let Opened { model, tokenizer } = args.model.open()?;
    let d_in = width(&model, args.site)?;
    let d_out = args.out_site.map_or(Ok(d_in), |site| width(&model, site))?;
    let transcoder = args.out_site.map(|_| Transcoder { skip: args.skip });
    check_order(&model, args.site, args.out_site)?;
    let settings = args.setting.settings((d_in, d_out), transcoder);
    let settings = settings.map_err(|error| Usage::of(&error))?;
    let (bos, seed) = (args.model.bos(), args.setting.seed);
    let data = args.data.open(&tokenizer, bos, seed)?;
    let given = Given {
        model: &model,
        tokenizer: &tokenizer,
        data: &data,
        d_in,
        d_out,
    };
    let planned = args.planned(&folder, settings, &given)?;
    if !(args.resume && all_finished(&planned)?) {
        args.train(&folder, &planned, &given)?;
    } else if !args.json {
        eprintln!("{}: all steps were done before", folder.display());
    }
    let opened = planned.iter().map(|run| SavedRun::open(&run.folder));
    let mut runs: Vec<SavedRun> = opened.collect::<Result<_, _>>()?;
    if let Some(held_out) = &data.held_out
        && runs.iter().any(|run| run.evaluation.is_none())
    {
        held_out.evaluate(&model, &mut runs, args.json)?;
    }
    let title = format!("{} {}", args.model.reference(), args.site);
    let finished = finish::report(&folder, &runs, &title)?;
    match (args.json, finished.as_slice()) {
        (false, all) => finish::print(&folder, &runs, all),
        (true, [only]) if !args.setting.is_sweep() => print::json(only),
        (true, all) => print::json(&all),
    }
}

/// Whether nothing is left to do but to look at what is there.
fn all_finished(planned: &[Planned]) -> anyhow::Result<bool> {
    let mut all = true;
    for run in planned {
        all &= run.is_finished()?;
    }
    Ok(all)
}

impl Args {
    /// Trains all of `planned` to their ends.
    ///
    /// # Errors
    /// When it is stopped, too: the runs are not finished then.
    fn train(&self, folder: &Path, planned: &[Planned], given: &Given) -> anyhow::Result<()> {
        let mut source = self.source(given, planned)?;
        self.predict(folder, planned, given, &*source)?;
        let there = match (self.resume, self.force) {
            (true, _) => There::Resumed,
            (_, true) => There::Replaced,
            _ => There::Refused,
        };
        let ready = begin(planned, there)?;
        source.seek(ready[0].state.as_ref().map_or(0, State::step));
        let stop = Stop::listen()?;
        let names = planned.iter().map(|run| run.name.clone()).collect();
        let steps = planned[0].config.train.steps;
        let view = LiveView::new(ViewMode::fitting(self.json), names, steps);
        let (mut sinks, mut states) = (Vec::new(), Vec::new());
        for (number, run) in ready.into_iter().enumerate() {
            sinks.push(RunSink::new(&stop, &view, run.writer, number, steps));
            states.push(run.state);
        }
        let runs = sinks.iter_mut().zip(planned).zip(states);
        let runs = runs.map(|((sink, planned), resume)| Run {
            config: &planned.config.train,
            record: record(&planned.config),
            resume,
            sink,
        });
        let trained = train(runs.collect(), &mut *source);
        view.end();
        let trained = trained.with_context(|| left_behind(folder, planned))?;
        if let Some(step) = stop.stopped_behind().filter(|step| *step < steps) {
            let again = self.to_resume(folder);
            bail!("stopped behind step {step}; go on with\n  {again}");
        }
        stop.end();
        for (sink, sae) in sinks.into_iter().zip(&trained) {
            sink.into_writer().finish(sae)?;
        }
        Ok(())
    }

    /// Says what training will take, and refuses what there is no room for.
    fn predict(
        &self,
        folder: &Path,
        planned: &[Planned],
        given: &Given,
        source: &dyn Batches,
    ) -> anyhow::Result<()> {
        let predicted = planned
            .iter()
            .map(|run| ResourceEstimate::of(&run.config.train, given.d_in, given.d_out))
            .fold(ResourceEstimate::default(), |all, one| all + one);
        let model = given.model.bytes() as u64;
        let plan = Plan::new(predicted, model, source.predicted_bytes());
        if !self.json {
            plan.say();
        }
        plan.check(folder)
    }

    /// The runs that `settings` make.
    fn planned(
        &self,
        folder: &Path,
        settings: Vec<Setting>,
        given: &Given,
    ) -> anyhow::Result<Vec<Planned>> {
        let origin = self.origin(given)?;
        let planned = settings.into_iter().map(|setting| Planned {
            folder: match setting.name.as_str() {
                "" => folder.to_path_buf(),
                name => folder.join(name),
            },
            name: setting.name,
            config: self.described(&origin, given, setting.config),
        });
        Ok(planned.collect())
    }

    fn source<'a>(
        &self,
        given: &Given<'a>,
        planned: &[Planned],
    ) -> anyhow::Result<Box<dyn Batches + 'a>> {
        let batch_tokens = planned[0].config.train.batch_tokens;
        ensure_usage!(
            planned
                .iter()
                .all(|run| run.config.train.batch_tokens == batch_tokens),
            "--sweep: these recipes have batches of different sizes, and share one stream; set --batch"
        );
        let corpus = match &given.data.training {
            Training::Texts(_, corpus) => corpus,
            Training::Shards(shards) => {
                self.check_shards(shards, given)?;
                return Ok(Box::new(shards.batches(batch_tokens)?));
            }
        };
        ensure_usage!(
            self.buffer >= batch_tokens,
            "--buffer {}: a step takes {batch_tokens} tokens, and many more are needed to mix them",
            self.buffer
        );
        let config = self.stream(batch_tokens);
        let stream = Stream::new(given.model, corpus, config)?;
        Ok(Box::new(stream))
    }

    fn check_shards(&self, shards: &Shards, given: &Given) -> anyhow::Result<()> {
        let manifest = shards.manifest();
        let origin = &manifest.origin;
        ensure_usage!(
            (origin.site, origin.out_site) == (self.site, self.out_site),
            "{}: the shards hold {}, not what --site and --out-site ask for",
            shards.folder().display(),
            origin
                .out_site
                .map_or(origin.site.to_string(), |out| format!(
                    "{} and {out}",
                    origin.site
                ))
        );
        let (d_in, d_out) = (manifest.d_in, manifest.d_out.unwrap_or(manifest.d_in));
        ensure!(
            (d_in, d_out) == (given.d_in, given.d_out),
            "{}: the shards hold activations of {}, {d_in} wide to read and {d_out} to write; those of {} \
             are {} and {}",
            shards.folder().display(),
            origin.model,
            self.model.reference(),
            given.d_in,
            given.d_out
        );
        let name = |reference: &str| Path::new(reference).file_name().map(ToOwned::to_owned);
        if name(&origin.model) != name(self.model.reference()) {
            eprintln!(
                "warning: {}: its activations are those of {}, and the autoencoder will be said to belong to {}",
                shards.folder().display(),
                origin.model,
                self.model.reference()
            );
        }
        Ok(())
    }

    fn stream(&self, batch_tokens: usize) -> StreamConfig {
        StreamConfig {
            site: self.site,
            out_site: self.out_site,
            batch_tokens,
            buffer_tokens: self.buffer,
            skip_first: self.skip_first,
            seed: self.setting.seed,
        }
    }

    fn origin(&self, given: &Given) -> anyhow::Result<ModelOrigin> {
        let captured = match &given.data.training {
            Training::Shards(shards) => shards.manifest().origin.prepend_bos,
            Training::Texts(..) => None,
        };
        let prepend_bos = match captured {
            Some(prepend_bos) => prepend_bos,
            None => self.model.prepends_bos(given.tokenizer)?,
        };
        let (reference, dtype) = (self.model.reference(), self.model.dtype().name());
        Ok(ModelOrigin::of(given.model, reference, dtype, prepend_bos)?)
    }

    /// Everything that makes a run.
    fn described(&self, origin: &ModelOrigin, given: &Given, train: TrainConfig) -> RunConfig {
        let Data {
            training,
            kept_back,
            ..
        } = given.data;
        let (mut corpus, mut activations) = (json!({}), json!({}));
        match training {
            Training::Texts(config, texts) => {
                corpus = json!(config);
                corpus["documents"] = texts.documents().into();
                corpus["tokens"] = texts.tokens().into();
                corpus["held_out_tokens"] = json!(kept_back);
                activations = json!(self.stream(train.batch_tokens));
            }
            Training::Shards(shards) => {
                activations["shards"] = json!(shards.folder());
                activations["manifest"] = json!(shards.manifest());
                activations["held_out_tokens"] = json!(kept_back);
            }
        }
        RunConfig {
            saescope: env!("CARGO_PKG_VERSION").to_owned(),
            model: origin.clone(),
            site: self.site,
            out_site: self.out_site,
            d_in: given.d_in,
            d_out: given.d_out,
            context: training.context(),
            corpus,
            corpus_digest: training.digest().to_owned(),
            activations,
            train,
            input: None,
            machine: Machine {
                instruction_set: Isa::current().to_string(),
                threads: rayon::current_num_threads(),
            },
        }
    }

    /// The folder to write.
    fn folder(&self) -> PathBuf {
        if let Some(folder) = &self.output {
            return folder.clone();
        }
        let model = self.model.reference().split('@').next().unwrap_or_default();
        let model = Path::new(model)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let model: String = model
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        PathBuf::from(format!(
            "{model}-{}-{}",
            self.site,
            self.setting.recipe().name()
        ))
    }

    /// The command that goes on.
    fn to_resume(&self, folder: &Path) -> String {
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        words.retain(|word| word != "--force" && word != "--resume");
        if self.output.is_none() {
            words.extend(["-o".to_owned(), folder.display().to_string()]);
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("saescope {} --resume", words.join(" "))
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What is said where training failed.
fn left_behind(folder: &Path, planned: &[Planned]) -> String {
    let has_checkpoint = planned.iter().any(|run| {
        let saved = SavedRun::open(&run.folder);
        saved.is_ok_and(|saved| saved.checkpoints().is_ok_and(|steps| !steps.is_empty()))
    });
    let kept = match has_checkpoint {
        true => "; its last checkpoint is kept",
        false => "",
    };
    format!("{}: training ended{kept}", folder.display())
}

/// Width of the activations at a site.
fn width(model: &Model, site: Site) -> anyhow::Result<usize> {
    model.check_site(site)?;
    model
        .width(site)
        .with_context(|| format!("site `{site}`: it has no fixed width to train on"))
}

/// Refuses a transcoder that would write before it has read.
fn check_order(model: &Model, site: Site, out_site: Option<Site>) -> anyhow::Result<()> {
    let place = |site: Site| model.sites().position(|at| at == site);
    if let Some(out_site) = out_site {
        ensure_usage!(
            place(site) <= place(out_site),
            "--out-site {out_site}: the model comes to it before --site {site}, and a transcoder reads first"
        );
    }
    Ok(())
}

/// What an autoencoder says of itself.
fn record(config: &RunConfig) -> Record {
    Record {
        d_in: config.d_in,
        d_out: config.d_out,
        d_sae: config.train.d_sae,
        site: Some(config.site),
        out_site: config.out_site,
        model: Some(config.model.reference.clone()),
        prepend_bos: Some(config.model.prepend_bos),
        context: Some(config.context),
        config: json!(config.train),
        ..Record::default()
    }
}
