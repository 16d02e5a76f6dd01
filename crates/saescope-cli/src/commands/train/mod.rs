//! `saescope train`

mod choice;
mod data;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::bail;
use indicatif::ProgressDrawTarget;
use saescope::jobs::train::{
    BUFFER_TOKENS, Event, Outcome, Plan, TrainJob, TrainRequest, check_free,
};
use saescope::runs::Existing;
use saescope::show::number::bytes;
use saescope::site::Site;

use self::choice::ChoiceArgs;
use self::data::{DataArgs, RequestedData};
use crate::args::corpus::{corpus_cache, reading};
use crate::args::model::ModelArgs;
use crate::args::output::check_folder;
use crate::args::stop::listen;
use crate::print;
use crate::print::bar::{Counted, bar};
use crate::print::live::{LiveView, ViewMode};

/// Train sparse autoencoders on a model's activations
///
/// Writes a folder with the configuration, the metrics of every log step, checkpoints, the autoencoder
/// as SAELens 6 lays it out, its evaluation on texts that were held out, and a report. Ctrl-C ends it
/// after a step, and --resume continues as if nothing had happened. docs/training.md is the guide.
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
    /// The site to read, such as `resid_post.8`
    #[arg(long, value_name = "SITE")]
    site: Site,
    /// Train a transcoder, which writes here
    #[arg(long, value_name = "SITE")]
    out_site: Option<Site>,
    /// Let a linear map of a transcoder bypass the features
    #[arg(long, requires = "out_site")]
    skip: bool,
    #[command(flatten)]
    data: DataArgs,
    /// Tokens whose activations are mixed with each other
    #[arg(
        long,
        value_name = "N",
        default_value_t = BUFFER_TOKENS,
        conflicts_with = "shards"
    )]
    buffer: usize,
    /// Omit the first token of every text, whose activation is unlike all others
    #[arg(long, conflicts_with = "shards")]
    skip_first: bool,
    /// The folder to write [default: named after the model, the site and the recipe]
    #[arg(short, long, value_name = "RUN")]
    output: Option<PathBuf>,
    /// Continue the run in that folder from its last checkpoint, with all else as it was given before
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace a run in that folder
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    // Last, since fields after it would stand under its heading.
    #[command(flatten)]
    choice: ChoiceArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.folder();
    args.choice.check()?;
    if let Some(folder) = &args.output {
        check_folder(folder)?;
    }
    check_free(&folder, args.existing())?;
    let lm = args.model.open()?;
    let request = args.request(folder.clone())?;
    let cache = corpus_cache()?;
    let job = reading(|on_reading| TrainJob::prepare(&lm, request, cache.as_deref(), on_reading))?;
    print::warnings(&job.warnings);
    match job.plan() {
        _ if args.json => {}
        Some(plan) => announce(plan),
        None => print::note!("{}: all steps were done before", folder.display()),
    }
    match args.watched(&job)? {
        Outcome::Cancelled { step, .. } => {
            let again = args.to_resume(&folder);
            bail!("stopped after step {step}; continue with\n  {again}")
        }
        Outcome::Finished { saved, runs } if !args.json => summary::print(&folder, &saved, &runs),
        Outcome::Finished { runs, .. } => match runs.as_slice() {
            [only] if args.choice.sweep().is_empty() => print::json(only),
            all => print::json(&all),
        },
    }
}

/// Prints the memory and disk that the training will take.
fn announce(plan: &Plan) {
    print::note!(
        "memory: about {} (model {}, autoencoder {}, moments {}, buffer {}, step {})",
        bytes(plan.memory()),
        bytes(plan.model),
        bytes(plan.weights),
        bytes(plan.moments),
        bytes(plan.buffer),
        bytes(plan.step)
    );
    print::note!(
        "disk: up to {} (checkpoints {}, autoencoder {})",
        bytes(plan.disk()),
        bytes(plan.checkpoints),
        bytes(plan.sae)
    );
}

impl Args {
    fn existing(&self) -> Existing {
        match (self.resume, self.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        }
    }

    fn request(&self, folder: PathBuf) -> anyhow::Result<TrainRequest> {
        let choice = self.choice.choice();
        let RequestedData {
            activations,
            eval_corpus,
            context_of_shards,
            eval_tokens,
        } = self.data.request(self.model.bos(), choice.seed)?;
        Ok(TrainRequest {
            site: self.site,
            out_site: self.out_site,
            skip: self.skip,
            activations,
            eval_corpus,
            context_of_shards,
            eval_tokens,
            buffer_tokens: self.buffer,
            skip_first: self.skip_first,
            choice,
            sweep: self.choice.sweep().to_vec(),
            folder,
            existing: self.existing(),
        })
    }

    /// Runs the job under a live view, until its end or Ctrl-C.
    fn watched(&self, job: &TrainJob) -> anyhow::Result<Outcome> {
        let signals = listen()?;
        let names = job.runs().iter().map(|run| run.name.clone()).collect();
        let view = LiveView::new(ViewMode::fitting(self.json), names, job.steps());
        let evaluating = bar("evaluating", Counted::Share, 0);
        if self.json {
            evaluating.set_draw_target(ProgressDrawTarget::hidden());
        }
        let outcome = job.run(&signals.cancel, &mut |event| match event {
            Event::Step { step, .. } => view.step(step),
            Event::Line { run, line } => view.line(run, line.clone()),
            Event::Warning(warning) => print::warnings([warning]),
            Event::Trained => {
                view.end();
                signals.end_at_once();
            }
            Event::Evaluation { done, total } => {
                evaluating.set_length(total);
                evaluating.set_position(done);
            }
        });
        view.end();
        evaluating.finish_and_clear();
        Ok(outcome?)
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
            self.choice.choice().recipe
        ))
    }

    /// The command that continues the run.
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
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
