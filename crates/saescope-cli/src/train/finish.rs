//! What comes behind the last step: evaluation, report, table.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use saescope::corpus::Corpus;
use saescope::eval::{EvalConfig, evaluate};
use saescope::model::Model;
use saescope::runs::{Compared, Finding, Level, SavedRun, Verdict, verdict, write_comparison};
use saescope::sae::Sae;
use serde::Serialize;
use serde_json::Value;

use crate::output::{self, Align, Table};

/// A run that went to its end, as `--json` has it.
#[derive(Serialize)]
pub(crate) struct Finished {
    run: PathBuf,
    sae: PathBuf,
    report: PathBuf,
    steps: u64,
    tokens: u64,
    evaluation: Option<Value>,
    verdict: Verdict,
}

/// Texts that training did not see.
pub(crate) struct HeldOut<'a> {
    pub(crate) model: &'a Model,
    pub(crate) corpus: &'a Corpus,
    pub(crate) tokens: u64,
}

impl HeldOut<'_> {
    /// Evaluates the autoencoders of finished runs, and writes beside each how it does.
    pub(crate) fn evaluate(&self, runs: &mut [SavedRun], quiet: bool) -> anyhow::Result<()> {
        let texts = self.texts();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        // As they were written: what is evaluated is what others will open.
        let saes = runs.iter().map(|run| Sae::open(&run.sae_folder()));
        let saes: Vec<Sae> = saes.collect::<Result<_, _>>()?;
        let saes: Vec<&Sae> = saes.iter().collect();
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(0),
        };
        if let Ok(style) = ProgressStyle::with_template("evaluation  {wide_bar}  {percent} %") {
            bar.set_style(style);
        }
        let mut show = |done: u64, all: u64| {
            bar.set_length(all);
            bar.set_position(done);
        };
        let config = EvalConfig::default();
        let found = evaluate(self.model, &saes, &texts, &config, &mut show);
        bar.finish_and_clear();
        let found = found.context("the evaluation on held-out text")?;
        for (run, evaluation) in runs.iter_mut().zip(&found) {
            run.write_evaluation(evaluation)?;
        }
        Ok(())
    }

    fn texts(&self) -> Vec<Vec<u32>> {
        let mut missing = self.tokens;
        let mut texts = Vec::new();
        for number in 0..self.corpus.sequences() {
            if missing == 0 {
                break;
            }
            let text = self.corpus.sequence(number);
            missing = missing.saturating_sub(text.len() as u64);
            texts.push(text);
        }
        texts
    }
}

/// Writes the reports of finished runs, and for several their comparison in `folder`.
pub(crate) fn report(
    folder: &Path,
    runs: &[SavedRun],
    title: &str,
) -> anyhow::Result<Vec<Finished>> {
    let mut finished = Vec::new();
    for run in runs {
        let last = run.lines.last().map(|line| &line.metrics);
        finished.push(Finished {
            run: run.folder().to_path_buf(),
            sae: run.sae_folder(),
            report: run.write_report()?,
            steps: last.map_or(0, |metrics| metrics.step),
            tokens: last.map_or(0, |metrics| metrics.tokens),
            verdict: verdict(run),
            evaluation: run.evaluation.clone(),
        });
    }
    if runs.iter().any(|run| run.folder() != folder) {
        let compared: Vec<Compared> = runs.iter().filter_map(Compared::of).collect();
        write_comparison(folder, title, &compared)?;
    }
    Ok(finished)
}

/// The numbers of runs in a table, and what to type next.
pub(crate) fn print(folder: &Path, runs: &[SavedRun], finished: &[Finished]) -> anyhow::Result<()> {
    let mut out = output::styled_stdout();
    numbers(runs).write(&mut out, output::terminal_width())?;
    let shown = output::printable(&folder.display().to_string());
    let [only] = finished else {
        writeln!(
            out,
            "\nwritten to {shown}; {shown}/comparison.html compares them"
        )?;
        return Ok(());
    };
    writeln!(out, "\n{}", only.verdict.says)?;
    let remarks = only
        .verdict
        .findings
        .iter()
        .filter(|finding| finding.level != Level::Good);
    for Finding {
        level,
        says,
        advice,
    } in remarks
    {
        writeln!(
            out,
            "  {level}: {says} {}",
            advice.as_deref().unwrap_or_default()
        )?;
    }
    let run = output::printable(&only.run.display().to_string());
    writeln!(out, "\nwritten to {run}; {run}/report.html shows all of it")?;
    writeln!(out, "next:  saescope features {run} -p \"a text\"")?;
    writeln!(out, "       saescope eval {run} --corpus FILE")?;
    Ok(())
}

/// A row for each run.
fn numbers(runs: &[SavedRun]) -> Table {
    let mut table = Table::new([vec![Align::Left], vec![Align::Right; 8]].concat());
    table.header([
        "run",
        "features",
        "L0",
        "explained",
        "CE rise",
        "recovered",
        "dead",
        "mean |cos|",
        "verdict",
    ]);
    for one in runs.iter().filter_map(Compared::of) {
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
        table.row(vec![
            one.name.into(),
            one.d_sae.to_string().into(),
            format!("{:.1}", one.l0).into(),
            format!("{:.4}", one.explained_variance).into(),
            optional(one.ce_increase).into(),
            optional(one.ce_recovered).into(),
            format!("{:.1} %", one.dead * 100.0).into(),
            format!("{:.4}", one.off_diag_mean).into(),
            one.level.to_string().into(),
        ]);
    }
    table
}
