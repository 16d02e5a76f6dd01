//! Training several runs side by side on one stream of batches.

use std::time::Instant;

use super::TrainConfig;
use super::metrics::{Clock, line};
use super::sink::Sink;
use super::state::State;
use super::step::step;
use crate::activations::{Batch, Batches};
use crate::error::{Error, Result};
use crate::sae::{Record, Sae};

/// An autoencoder to be trained, and the sink of its results.
pub struct Run<'a> {
    /// The configuration.
    pub config: &'a TrainConfig,
    /// The record of the autoencoder.
    pub record: Record,
    /// The state of a checkpoint to continue from.
    pub resume: Option<State>,
    /// The sink of metrics and checkpoints.
    pub sink: &'a mut dyn Sink,
}

/// A run in progress.
struct ActiveRun<'a> {
    config: &'a TrainConfig,
    record: Record,
    sink: &'a mut dyn Sink,
    /// None until the first batch, unless the run resumes.
    state: Option<State>,
    clock: Clock,
    stopped: bool,
}

/// Trains every run on the same batches, at least as many as the longest run has steps left. Runs that
/// resume must be at the same step, and `batches` must continue after the batches that they have seen.
///
/// # Errors
/// When a configuration makes no sense, a batch fails or does not fit, activations or the loss are not
/// finite, or a sink fails. The last checkpoint remains valid.
pub fn train(runs: Vec<Run>, batches: &mut dyn Batches) -> Result<Vec<Sae>> {
    let mut runs: Vec<ActiveRun> = runs
        .into_iter()
        .map(ActiveRun::new)
        .collect::<Result<_>>()?;
    same_step(&runs)?;
    while runs.iter().any(ActiveRun::goes_on) {
        let waiting = Instant::now();
        let batch = batches.next();
        let waited = waiting.elapsed();
        let at = runs.iter().map(ActiveRun::step).max().unwrap_or(0);
        let batch = batch.ok_or_else(|| Error::Training {
            step: at,
            reason:
                "the activations ended before the last step; use a larger corpus or fewer `steps`"
                    .to_owned(),
        })??;
        check_batch(at, &batch)?;
        for run in runs.iter_mut().filter(|run| run.goes_on()) {
            run.clock.waited(waited, batches.clocks());
            run.step_on(&batch)?;
        }
    }
    runs.into_iter().map(ActiveRun::end).collect()
}

/// # Errors
/// When runs resume at different steps.
fn same_step(runs: &[ActiveRun]) -> Result<()> {
    let Some(first) = runs.first() else {
        return Ok(());
    };
    match runs.iter().find(|run| run.step() != first.step()) {
        None => Ok(()),
        Some(run) => Err(Error::Training {
            step: first.step(),
            reason: format!(
                "runs on one stream must resume at the same step; another run is at step {}",
                run.step()
            ),
        }),
    }
}

/// # Errors
/// When an activation is not finite, or the target has another number of rows.
fn check_batch(step: u64, batch: &Batch) -> Result<()> {
    for (what, x) in [
        ("activation", Some(&batch.x)),
        ("target", batch.target.as_ref()),
    ] {
        let Some(x) = x else {
            continue;
        };
        if x.rows() != batch.x.rows() {
            return Err(wrong(
                "rows of the target of a batch",
                batch.x.rows(),
                x.rows(),
            ));
        }
        if let Some((row, value)) = x.first_not_finite() {
            return Err(Error::Training {
                step,
                reason: format!(
                    "the {what} of row {row} of the batch holds {value}; the model overflowed on that text"
                ),
            });
        }
    }
    Ok(())
}

fn wrong(what: &str, expected: usize, found: usize) -> Error {
    Error::Shape {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl<'a> ActiveRun<'a> {
    fn new(run: Run<'a>) -> Result<ActiveRun<'a>> {
        if let Some(state) = &run.resume {
            state.check_config(run.config)?;
        }
        Ok(ActiveRun {
            config: run.config,
            record: run.record,
            sink: run.sink,
            state: run.resume,
            clock: Clock::start(),
            stopped: false,
        })
    }

    fn step(&self) -> u64 {
        self.state.as_ref().map_or(0, State::step)
    }

    fn goes_on(&self) -> bool {
        !self.stopped && self.step() < self.config.steps
    }

    /// Takes one step, and then logs and writes a checkpoint if they are due.
    fn step_on(&mut self, batch: &Batch) -> Result<()> {
        let started = Instant::now();
        self.check_widths(batch)?;
        let state = self
            .state
            .get_or_insert_with(|| State::new(self.config, batch));
        let done = state.step() + 1;
        let last = done == self.config.steps;
        let log = done.is_multiple_of(self.config.log_every) || done == 1 || last;
        let report = step(state, batch, log)?;
        self.clock.trained(started.elapsed());
        if log {
            self.sink.metrics(&line(state, &report, &mut self.clock))?;
        }
        self.stopped = self.sink.step(done).is_break();
        let every = self.config.checkpoint_every;
        if last || self.stopped || (every > 0 && done.is_multiple_of(every)) {
            self.sink.checkpoint(state)?;
        }
        Ok(())
    }

    fn check_widths(&self, batch: &Batch) -> Result<()> {
        let target = batch.target.as_ref().unwrap_or(&batch.x);
        if self.state.is_none() {
            self.config.check(batch.x.cols(), target.cols())?;
        }
        if batch.x.rows() != self.config.batch_tokens {
            return Err(wrong(
                "tokens of a batch",
                self.config.batch_tokens,
                batch.x.rows(),
            ));
        }
        if batch.target.is_some() != self.config.transcoder.is_some() {
            return Err(Error::Training {
                step: self.step(),
                reason: "a transcoder needs batches with a target, an autoencoder batches without"
                    .to_owned(),
            });
        }
        let Some(state) = &self.state else {
            return Ok(());
        };
        if (batch.x.cols(), target.cols()) != (state.d_in(), state.d_out()) {
            return Err(wrong(
                "width of an activation",
                state.d_in(),
                batch.x.cols(),
            ));
        }
        Ok(())
    }

    fn end(self) -> Result<Sae> {
        match self.state {
            Some(state) => state.into_sae(self.record),
            None => Err(Error::Argument("`steps` is 0".to_owned())),
        }
    }
}
