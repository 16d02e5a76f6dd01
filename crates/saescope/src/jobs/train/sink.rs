//! The sink of a run under way: its folder, and whoever watches.

use std::cell::RefCell;
use std::ops::ControlFlow;

use super::Event;
use crate::error::Result;
use crate::jobs::cancel::StepStop;
use crate::resources;
use crate::runs::{MetricsLine, Writer};
use crate::train::{Metrics, Sink, State};

/// Receives events.
pub(super) type Watcher<'a> = RefCell<&'a mut (dyn FnMut(Event) + 'a)>;

/// Writes one run's folder and passes events on.
pub(super) struct RunSink<'a, 'b> {
    pub(super) writer: Writer,
    stop: &'a StepStop<'a>,
    watcher: &'a Watcher<'b>,
    /// Number of the run.
    run: usize,
    steps: u64,
    /// Tokens trained on since the job began or continued, and their seconds.
    tokens: f64,
    seconds: f64,
}

impl<'a, 'b> RunSink<'a, 'b> {
    pub(super) fn new(
        writer: Writer,
        stop: &'a StepStop<'a>,
        watcher: &'a Watcher<'b>,
        run: usize,
        steps: u64,
    ) -> RunSink<'a, 'b> {
        RunSink {
            writer,
            stop,
            watcher,
            run,
            steps,
            tokens: 0.0,
            seconds: 0.0,
        }
    }

    /// Seconds that the steps left will take at the pace so far. A pace over all lines, since a single
    /// one may or may not hold a fill of the buffer.
    fn seconds_left(&mut self, metrics: &Metrics) -> f64 {
        let per_step = metrics.tokens as f64 / metrics.step.max(1) as f64;
        let left = self.steps.saturating_sub(metrics.step) as f64 * per_step;
        let seconds = metrics.seconds_batches + metrics.seconds_train;
        self.tokens += metrics.tokens_per_s * seconds;
        self.seconds += seconds;
        let speed = self.tokens / self.seconds;
        if speed > 0.0 { left / speed } else { 0.0 }
    }
}

impl Sink for RunSink<'_, '_> {
    fn step(&mut self, step: u64) -> ControlFlow<()> {
        let steps = self.steps;
        self.watcher.borrow_mut()(Event::Step { step, steps });
        if self.stop.after(step) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let line = MetricsLine {
            memory_mb: resources::held_mb(),
            seconds_left: self.seconds_left(metrics),
            ..MetricsLine::new(metrics)
        };
        self.writer.line(&line)?;
        self.watcher.borrow_mut()(Event::Line {
            run: self.run,
            line: &line,
        });
        Ok(())
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        self.writer.checkpoint(state)
    }
}
