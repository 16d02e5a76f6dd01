//! The sink of a run: writes its folder, updates the view, and ends it on Ctrl-C.

use std::ops::ControlFlow;

use saescope::Result;
use saescope::runs::{MetricsLine, Writer};
use saescope::train::{Metrics, Sink, State};

use super::stop::Stop;
use crate::print::live::LiveView;
use crate::print::rss;

/// The sink of one run of a training.
pub(crate) struct RunSink<'a> {
    stop: &'a Stop,
    view: &'a LiveView,
    writer: Writer,
    /// The number of the run in the view.
    number: usize,
    /// Steps of the run.
    steps: u64,
    /// Tokens trained on since the training began or resumed.
    tokens: f64,
    /// Seconds that these tokens took.
    seconds: f64,
}

impl<'a> RunSink<'a> {
    pub(crate) fn new(
        stop: &'a Stop,
        view: &'a LiveView,
        writer: Writer,
        number: usize,
        steps: u64,
    ) -> RunSink<'a> {
        RunSink {
            stop,
            view,
            writer,
            number,
            steps,
            tokens: 0.0,
            seconds: 0.0,
        }
    }

    pub(crate) fn into_writer(self) -> Writer {
        self.writer
    }
}

impl Sink for RunSink<'_> {
    fn step(&mut self, step: u64) -> ControlFlow<()> {
        self.view.step(step);
        if self.stop.behind(step) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let per_step = metrics.tokens as f64 / metrics.step.max(1) as f64;
        let left = self.steps.saturating_sub(metrics.step) as f64 * per_step;
        // The speed of all lines together: a single one has all of a fill of the buffer or nothing of it.
        let seconds = metrics.seconds_batches + metrics.seconds_train;
        self.tokens += metrics.tokens_per_s * seconds;
        self.seconds += seconds;
        let speed = self.tokens / self.seconds;
        let line = MetricsLine {
            memory_mb: rss::held_mb(),
            seconds_left: if speed > 0.0 { left / speed } else { 0.0 },
            ..MetricsLine::new(metrics)
        };
        self.writer.line(&line)?;
        self.view.line(self.number, line);
        Ok(())
    }

    fn checkpoint(&mut self, state: &State) -> Result<()> {
        self.writer.checkpoint(state)
    }
}
