//! Training as a job: data and held-out part, plan, runs begun or resumed, evaluation, reports.

mod data;
mod evaluate;
mod plan;
mod sink;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use saescope_kernels::Isa;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::data::ActivationSource;
use self::data::{Data, Opener, TrainingData};
pub use self::plan::Plan;
use self::sink::{RunSink, Watcher};
use super::cancel::{Cancel, StepStop};
use crate::activations::{Batches, Shards, Stream, StreamConfig};
use crate::corpus::{self, CorpusConfig};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::runs::{
    ComparisonRow, Difference, Existing, Machine, MetricsLine, ModelOrigin, PlannedRun,
    ResourceEstimate, RunConfig, SavedRun, Verdict, begin, verdict, write_comparison,
};
use crate::sae::Record;
use crate::session::{LanguageModel, Warning, same_name};
use crate::site::Site;
use crate::train::{Axis, Choice, Run, State, TrainConfig, Transcoder, Widths, settings, train};

/// A training as it is asked for.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// Site at which activations are read.
    pub site: Site,
    /// Site at which a transcoder writes.
    pub out_site: Option<Site>,
    /// True if a linear map of a transcoder bypasses the features.
    pub skip: bool,
    /// The source of activations.
    pub activations: ActivationSource,
    /// Texts to evaluate on at the end; by default a part of the training data is held out.
    pub eval_corpus: Option<CorpusConfig>,
    /// True if sequences of `eval_corpus` are as long as those that shards were captured from.
    pub context_of_shards: bool,
    /// Tokens to evaluate on at the end, 0 for no evaluation; 65,536 by default, and at most a tenth of
    /// what a part is held out from.
    pub eval_tokens: Option<u64>,
    /// Tokens whose activations are mixed with each other.
    pub buffer_tokens: usize,
    /// True if the first token of every text is omitted.
    pub skip_first: bool,
    /// The configuration of the training.
    pub choice: Choice,
    /// Combinations to train side by side, each in a folder of its own.
    pub sweep: Vec<Axis>,
    /// The folder of the run, or of a sweep's runs.
    pub folder: PathBuf,
    /// The fate of runs that are in the folder already.
    pub existing: Existing,
}

/// Default number of tokens whose activations are mixed with each other.
pub const BUFFER_TOKENS: usize = 262_144;

impl TrainRequest {
    /// An autoencoder of the activations at `site`, by the defaults, in `folder`.
    pub fn new(site: Site, activations: ActivationSource, folder: PathBuf) -> TrainRequest {
        TrainRequest {
            site,
            out_site: None,
            skip: false,
            activations,
            eval_corpus: None,
            context_of_shards: true,
            eval_tokens: None,
            buffer_tokens: BUFFER_TOKENS,
            skip_first: false,
            choice: Choice::default(),
            sweep: Vec::new(),
            folder,
            existing: Existing::Refuse,
        }
    }
}

/// An event of a training under way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// All runs have done so many steps.
    Step {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
    /// A run has a new line of metrics.
    Line {
        /// Number of the run, in the order of [`TrainJob::runs`].
        run: usize,
        /// The line.
        line: &'a MetricsLine,
    },
    /// A run that is resumed differs from its beginning in a way that is not fatal.
    Warning(&'a Warning),
    /// The last step is done and the autoencoders are written. The evaluation, which comes next, does not
    /// look at [`Cancel`].
    Trained,
    /// Progress of the evaluation.
    Evaluation {
        /// Tokens read, counted anew in every pass over the texts.
        done: u64,
        /// Tokens of all passes.
        total: u64,
    },
}

/// A run that has done all its steps.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedRun {
    /// Its folder.
    pub run: PathBuf,
    /// The folder of its autoencoder.
    pub sae: PathBuf,
    /// The file of its report.
    pub report: PathBuf,
    /// Steps done.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// The evaluation on data that was held out.
    pub evaluation: Option<Value>,
    /// The judgement of its numbers.
    pub verdict: Verdict,
}

/// The result of a training.
#[derive(Debug)]
pub enum Outcome {
    /// All steps are done. The runs as they were saved, and their summaries in the same order.
    Finished {
        /// The runs with all their lines.
        saved: Vec<SavedRun>,
        /// Their summaries.
        runs: Vec<FinishedRun>,
    },
    /// The training was cancelled; each run has a checkpoint at this step.
    Cancelled {
        /// The step.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
}

/// A training that is ready to run: everything is open and checked.
pub struct TrainJob<'a> {
    lm: &'a LanguageModel,
    request: TrainRequest,
    data: Data,
    widths: Widths,
    planned: Vec<PlannedRun>,
    /// None where all steps are done.
    plan: Option<Plan>,
    /// Doubts found so far.
    pub warnings: Vec<Warning>,
}

impl<'a> TrainJob<'a> {
    /// Opens the data of a training and checks all of it. `cache` keeps the tokens of texts for the next
    /// time; `on_reading` sees how far texts are read.
    ///
    /// # Errors
    /// When the folder holds a run that is neither resumed nor replaced, the model lacks a site, a
    /// configuration makes no sense, data cannot be read or does not fit the model, or the disk has too
    /// little room.
    pub fn prepare(
        lm: &'a LanguageModel,
        request: TrainRequest,
        cache: Option<&Path>,
        on_reading: &mut dyn FnMut(corpus::Progress),
    ) -> Result<TrainJob<'a>> {
        check_free(&request.folder, request.existing)?;
        let d_in = width(&lm.model, request.site)?;
        let d_out = request
            .out_site
            .map_or(Ok(d_in), |site| width(&lm.model, site))?;
        let widths = Widths { d_in, d_out };
        check_order(&lm.model, request.site, request.out_site)?;
        let skip = request.skip;
        let transcoder = request.out_site.map(|_| Transcoder { skip });
        let settings = settings(&request.choice, &request.sweep, widths, transcoder)?;
        let mut opener = Opener {
            lm,
            cache,
            on_reading,
        };
        let mut job = TrainJob {
            lm,
            data: Data::open(&request, &mut opener)?,
            request,
            widths,
            planned: Vec::new(),
            plan: None,
            warnings: Vec::new(),
        };
        let origin = job.model_origin()?;
        for setting in settings {
            let folder = &job.request.folder;
            let run = PlannedRun {
                folder: if setting.name.is_empty() {
                    folder.clone()
                } else {
                    folder.join(&setting.name)
                },
                name: setting.name,
                config: job.run_config(&origin, setting.config),
            };
            job.planned.push(run);
        }
        // A finished run takes no more memory or disk.
        if job.is_trained()? {
            job.warn_of_differences()?;
        } else {
            job.predict()?;
        }
        Ok(job)
    }

    /// Warns of tolerable differences between finished runs and what is asked for now.
    fn warn_of_differences(&mut self) -> Result<()> {
        for run in &self.planned {
            for difference in run.finished()?.unwrap_or_default() {
                self.warnings
                    .push(not_bit_for_bit(&run.folder, &difference));
            }
        }
        Ok(())
    }

    /// The runs that will be trained.
    pub fn runs(&self) -> &[PlannedRun] {
        &self.planned
    }

    /// Steps of each run.
    pub fn steps(&self) -> u64 {
        self.planned.first().map_or(0, |run| run.config.train.steps)
    }

    /// The memory and disk that it will take; none where all steps are done ([`TrainJob::is_trained`]).
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// True if runs are resumed that have done all their steps, so that evaluation and reports alone
    /// may be missing.
    ///
    /// # Errors
    /// When a finished run has another configuration.
    pub fn is_trained(&self) -> Result<bool> {
        if self.request.existing != Existing::Resume {
            return Ok(false);
        }
        for run in &self.planned {
            if run.finished()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Trains all runs to their ends, evaluates them and writes their reports. `on_event` sees every
    /// step and line. Once `cancel` is raised, all runs write a checkpoint after the same step and end.
    ///
    /// # Errors
    /// When training fails ([`train`]), or a file cannot be written. The last checkpoints stay good.
    pub fn run(&self, cancel: &Cancel, on_event: &mut dyn FnMut(Event)) -> Result<Outcome> {
        if !self.is_trained()?
            && let Some(step) = self.train(cancel, on_event)?
        {
            let steps = self.steps();
            return Ok(Outcome::Cancelled { step, steps });
        }
        let opened = self.planned.iter().map(|run| SavedRun::open(&run.folder));
        let mut saved: Vec<SavedRun> = opened.collect::<Result<_>>()?;
        if let Some(held_out) = &self.data.held_out
            && saved.iter().any(|run| run.evaluation.is_none())
        {
            let mut on_progress =
                |done: u64, total: u64| on_event(Event::Evaluation { done, total });
            held_out.evaluate(&self.lm.model, &mut saved, &mut on_progress)?;
        }
        let runs = self.report(&saved)?;
        Ok(Outcome::Finished { saved, runs })
    }

    /// Trains; returns the step after which it was cancelled, if it was.
    fn train(&self, cancel: &Cancel, on_event: &mut dyn FnMut(Event)) -> Result<Option<u64>> {
        let mut batches = self.batches()?;
        let ready = begin(&self.planned, self.request.existing)?;
        for (run, planned) in ready.iter().zip(&self.planned) {
            for difference in &run.differences {
                on_event(Event::Warning(&not_bit_for_bit(
                    &planned.folder,
                    difference,
                )));
            }
        }
        batches.seek(ready[0].state.as_ref().map_or(0, State::step));
        let (stop, steps) = (StepStop::new(cancel), self.steps());
        let watcher: Watcher = RefCell::new(on_event);
        let (mut sinks, mut states) = (Vec::new(), Vec::new());
        for (number, run) in ready.into_iter().enumerate() {
            sinks.push(RunSink::new(run.writer, &stop, &watcher, number, steps));
            states.push(run.state);
        }
        let runs = sinks.iter_mut().zip(&self.planned).zip(states);
        let runs = runs.map(|((sink, planned), resume)| Run {
            config: &planned.config.train,
            record: sae_record(&planned.config),
            resume,
            sink,
        });
        let trained = train(runs.collect(), &mut *batches).map_err(|error| self.kept(error))?;
        if let Some(step) = stop.stopped_after().filter(|step| *step < steps) {
            return Ok(Some(step));
        }
        for (sink, sae) in sinks.into_iter().zip(&trained) {
            sink.writer.finish(sae)?;
        }
        watcher.into_inner()(Event::Trained);
        Ok(None)
    }

    /// The failure of a training, with what is left of it.
    fn kept(&self, error: Error) -> Error {
        let has_checkpoint = self.planned.iter().any(|run| {
            let saved = SavedRun::open(&run.folder);
            saved.is_ok_and(|saved| saved.checkpoints().is_ok_and(|steps| !steps.is_empty()))
        });
        let kept = if has_checkpoint {
            "; the last checkpoint is kept"
        } else {
            ""
        };
        error.at(format!(
            "{}: training ended{kept}",
            self.request.folder.display()
        ))
    }

    /// Writes the reports of finished runs, and for several their comparison.
    fn report(&self, saved: &[SavedRun]) -> Result<Vec<FinishedRun>> {
        let folder = &self.request.folder;
        let mut finished = Vec::new();
        for run in saved {
            let last = run.lines.last().map(|line| &line.metrics);
            finished.push(FinishedRun {
                run: run.folder().to_path_buf(),
                sae: run.sae_folder(),
                report: run.write_report()?,
                steps: last.map_or(0, |metrics| metrics.step),
                tokens: last.map_or(0, |metrics| metrics.tokens),
                verdict: verdict(run),
                evaluation: run.evaluation.clone(),
            });
        }
        if saved.iter().any(|run| run.folder() != folder) {
            let title = format!("{} {}", self.lm.reference, self.request.site);
            let compared: Vec<ComparisonRow> = saved.iter().filter_map(ComparisonRow::of).collect();
            write_comparison(folder, &title, &compared)?;
        }
        Ok(finished)
    }

    /// Predicts memory and disk, and checks both.
    fn predict(&mut self) -> Result<()> {
        let Widths { d_in, d_out } = self.widths;
        let predicted = self
            .planned
            .iter()
            .map(|run| ResourceEstimate::of(&run.config.train, d_in, d_out))
            .fold(ResourceEstimate::default(), |all, one| all + one);
        let buffer = self.batches()?.predicted_bytes();
        let plan = Plan::new(predicted, self.lm.model.bytes() as u64, buffer);
        self.warnings.extend(plan.check(&self.request.folder)?);
        self.plan = Some(plan);
        if let TrainingData::Shards(shards) = &self.data.training {
            self.warnings.extend(self.shards_warning(shards));
        }
        Ok(())
    }

    /// The batches of activations, from the first on.
    fn batches(&self) -> Result<Box<dyn Batches + '_>> {
        let batch_sizes = || self.planned.iter().map(|run| run.config.train.batch_tokens);
        let batch_tokens = batch_sizes().next().unwrap_or(0);
        if batch_sizes().any(|other| other != batch_tokens) {
            return Err(Error::Argument(
                "sweep: these recipes have batches of different sizes and share one stream; set the \
                 batch"
                    .to_owned(),
            ));
        }
        let corpus = match &self.data.training {
            TrainingData::Texts(_, corpus) => corpus,
            TrainingData::Shards(shards) => {
                self.check_shards(shards)?;
                return Ok(Box::new(shards.batches(batch_tokens)?));
            }
        };
        let buffer = self.request.buffer_tokens;
        if buffer < batch_tokens {
            return Err(Error::Argument(format!(
                "`buffer_tokens` is {buffer}, less than one step of {batch_tokens}; use many times as much, so \
                 that tokens are mixed"
            )));
        }
        let config = self.stream_config(batch_tokens);
        Ok(Box::new(Stream::new(&self.lm.model, corpus, config)?))
    }

    fn stream_config(&self, batch_tokens: usize) -> StreamConfig {
        let request = &self.request;
        StreamConfig {
            site: request.site,
            out_site: request.out_site,
            batch_tokens,
            buffer_tokens: request.buffer_tokens,
            skip_first: request.skip_first,
            seed: request.choice.seed,
        }
    }

    fn check_shards(&self, shards: &Shards) -> Result<()> {
        let manifest = shards.manifest();
        let origin = &manifest.origin;
        let folder = shards.folder().display();
        if (origin.site, origin.out_site) != (self.request.site, self.request.out_site) {
            let held = origin.out_site.map_or(origin.site.to_string(), |out| {
                format!("{} and {out}", origin.site)
            });
            return Err(Error::Argument(format!(
                "{folder}: the shards hold {held}, not what was asked for; train at {held}, or capture shards \
                 of the other sites"
            )));
        }
        let (d_in, d_out) = (manifest.d_in, manifest.d_out.unwrap_or(manifest.d_in));
        if (d_in, d_out) != (self.widths.d_in, self.widths.d_out) {
            return Err(Error::format(
                shards.folder(),
                format!(
                    "the shards hold activations of {}, {d_in} wide to read and {d_out} to write; those \
                     of {} are {} and {}",
                    origin.model, self.lm.reference, self.widths.d_in, self.widths.d_out
                ),
            ));
        }
        Ok(())
    }

    fn shards_warning(&self, shards: &Shards) -> Option<Warning> {
        let captured_from = &shards.manifest().origin.model;
        (!same_name(captured_from, &self.lm.reference)).then(|| Warning::ShardsOfOtherModel {
            shards: shards.folder().to_path_buf(),
            captured_from: captured_from.clone(),
            recorded_as: self.lm.reference.clone(),
        })
    }

    fn model_origin(&self) -> Result<ModelOrigin> {
        let captured = match &self.data.training {
            TrainingData::Shards(shards) => shards.manifest().origin.prepend_bos,
            TrainingData::Texts(..) => None,
        };
        let prepend_bos = match captured {
            Some(prepend_bos) => prepend_bos,
            None => self.lm.prepends_bos()?,
        };
        let precision = self.lm.precision.name();
        ModelOrigin::of(&self.lm.model, &self.lm.reference, precision, prepend_bos)
    }

    /// Everything that makes a run.
    fn run_config(&self, origin: &ModelOrigin, train: TrainConfig) -> RunConfig {
        let Data {
            training,
            held_out_tokens,
            ..
        } = &self.data;
        let (mut corpus, mut activations) = (json!({}), json!({}));
        match training {
            TrainingData::Texts(config, texts) => {
                corpus = json!(config);
                corpus["documents"] = texts.documents().into();
                corpus["tokens"] = texts.tokens().into();
                corpus["held_out_tokens"] = json!(held_out_tokens);
                activations = json!(self.stream_config(train.batch_tokens));
            }
            TrainingData::Shards(shards) => {
                activations["shards"] = json!(shards.folder());
                activations["manifest"] = json!(shards.manifest());
                activations["held_out_tokens"] = json!(held_out_tokens);
            }
        }
        RunConfig {
            saescope: env!("CARGO_PKG_VERSION").to_owned(),
            model: origin.clone(),
            site: self.request.site,
            out_site: self.request.out_site,
            d_in: self.widths.d_in,
            d_out: self.widths.d_out,
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
}

fn not_bit_for_bit(run: &Path, difference: &Difference) -> Warning {
    Warning::NotBitForBit {
        run: run.to_path_buf(),
        field: difference.field.clone(),
        began_with: difference.ours.to_string(),
        is_now: difference.theirs.to_string(),
    }
}

/// Refuses a folder that holds a run, unless it is to be resumed or replaced.
///
/// # Errors
/// When it does. Front ends call it before they load a model, which takes longer.
pub fn check_free(folder: &Path, existing: Existing) -> Result<()> {
    if existing == Existing::Refuse && SavedRun::is_at(folder) {
        return Err(Error::RunExists {
            folder: folder.to_path_buf(),
        });
    }
    Ok(())
}

/// Width of the activations at a site.
fn width(model: &Model, site: Site) -> Result<usize> {
    model.check_site(site)?;
    model.width(site).ok_or_else(|| Error::Site {
        site: site.to_string(),
        reason: "it has no fixed width to train on".to_owned(),
    })
}

/// Refuses a transcoder that would write before it has read.
fn check_order(model: &Model, site: Site, out_site: Option<Site>) -> Result<()> {
    let place = |site: Site| model.sites().position(|at| at == site);
    match out_site {
        Some(out_site) if place(site) > place(out_site) => Err(Error::Argument(format!(
            "out_site {out_site}: the model reaches it before {site}, and a transcoder reads first"
        ))),
        _ => Ok(()),
    }
}

/// The record of the autoencoder of a run.
fn sae_record(config: &RunConfig) -> Record {
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
