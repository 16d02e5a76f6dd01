//! What comes behind the last step: evaluation, report, table.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressDrawTarget;
use saescope::activations::Shards;
use saescope::corpus::Corpus;
use saescope::eval::{EvalConfig, Evaluation, OnActivations, evaluate, evaluate_activations};
use saescope::model::Model;
use saescope::runs::{
    Advice, ComparisonRow, FieldChange, Finding, Level, SavedRun, Verdict, verdict,
    write_comparison,
};
use saescope::sae::Sae;
use serde::Serialize;
use serde_json::Value;

use super::data::HeldOut;
use crate::args::sae::slices;
use crate::print::bar::{Counted, bar};
use crate::print::{self, Align, Cell, Table};

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

/// An evaluation, and what it was done on.
#[derive(Serialize)]
struct On<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus: Option<&'a [PathBuf]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus_digest: Option<&'a str>,
    #[serde(flatten)]
    evaluation: &'a T,
}

impl HeldOut {
    /// Evaluates the autoencoders of finished runs, and writes beside each how it does.
    pub(super) fn evaluate(
        &self,
        model: &Model,
        runs: &mut [SavedRun],
        quiet: bool,
    ) -> anyhow::Result<()> {
        // As they were written: what is evaluated is what others will open.
        let saes = runs.iter().map(|run| Sae::open(&run.sae_folder()));
        let saes: Vec<Sae> = saes.collect::<Result<_, _>>()?;
        let saes: Vec<&Sae> = saes.iter().collect();
        match self {
            HeldOut::Texts {
                files,
                corpus,
                tokens,
            } => {
                let found = on_texts(model, &saes, &first(corpus, *tokens), quiet)?;
                for (run, evaluation) in runs.iter_mut().zip(&found) {
                    run.write_evaluation(&On {
                        corpus: Some(files),
                        corpus_digest: Some(corpus.digest()),
                        evaluation,
                    })?;
                }
            }
            HeldOut::Rows(shards) => {
                let found = on_rows(&saes, shards)?;
                for (run, evaluation) in runs.iter_mut().zip(&found) {
                    run.write_evaluation(&On {
                        corpus: None,
                        corpus_digest: None,
                        evaluation,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// What an evaluation has only where there were texts.
const CE: &str = "ce_with_sae";

fn is_measured(run: &SavedRun, key: &str) -> bool {
    let found = run.evaluation.as_ref();
    found.is_some_and(|found| found.get(key).is_some())
}

fn on_texts(
    model: &Model,
    saes: &[&Sae],
    texts: &[Vec<u32>],
    quiet: bool,
) -> anyhow::Result<Vec<Evaluation>> {
    let bar = bar("evaluating", Counted::Share, 0);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let mut show = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let config = EvalConfig::default();
    let found = evaluate(model, saes, &slices(texts), &config, &mut (), &mut show);
    bar.finish_and_clear();
    found.context("the evaluation on held-out text")
}

/// The first sequences that have so many tokens together, or all.
fn first(corpus: &Corpus, tokens: u64) -> Vec<Vec<u32>> {
    let mut missing = tokens;
    let mut texts = Vec::new();
    for number in 0..corpus.sequences() {
        if missing == 0 {
            break;
        }
        let text = corpus.sequence(number);
        missing = missing.saturating_sub(text.len() as u64);
        texts.push(text);
    }
    texts
}

/// On all rows of `shards`, less the few that fill no batch.
fn on_rows(saes: &[&Sae], shards: &Shards) -> anyhow::Result<Vec<OnActivations>> {
    let config = EvalConfig::default();
    let batch = (config.batch_tokens as u64).min(shards.tokens());
    let batches = shards.batches(batch as usize)?;
    let batches = batches.take((shards.tokens() / batch) as usize);
    let found = evaluate_activations(saes, batches, &config);
    found.context("the evaluation on rows of the shards that were held out")
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
        let compared: Vec<ComparisonRow> = runs.iter().filter_map(ComparisonRow::of).collect();
        write_comparison(folder, title, &compared)?;
    }
    Ok(finished)
}

/// Says what of the evaluation there was no text for, and what measures it.
fn say_not_measured(out: &mut impl Write, folder: &Path, runs: &[SavedRun]) -> anyhow::Result<()> {
    if runs.iter().all(|run| is_measured(run, CE)) {
        return Ok(());
    }
    let of = match runs.iter().all(|run| run.evaluation.is_some()) {
        true => "activations that were not trained on, of the same texts",
        false => "the last batch of the training",
    };
    let run = match runs {
        [_] => folder.display().to_string(),
        _ => format!("{}/NAME", folder.display()),
    };
    let run = print::printable(&run);
    writeln!(
        out,
        "\nL0 and explained variance are those of {of}. Not measured, for want of other texts, is what\n\
         the model loses with the autoencoder in place (cross-entropy, KL). This measures it:\n  \
         saescope eval {run} --corpus FILE"
    )?;
    Ok(())
}

/// The numbers of runs as a table.
fn table(runs: &[SavedRun]) -> Table {
    let sides = vec![Align::Right; ComparisonRow::COLUMNS.len() + 1];
    let mut table = Table::new([vec![Align::Left], sides].concat());
    let numbers = ComparisonRow::COLUMNS.into_iter();
    table.header(["run"].into_iter().chain(numbers).chain(["verdict"]));
    for run in runs.iter().filter_map(ComparisonRow::of) {
        let cells = run.cells().map(Cell::from);
        let (name, level) = (run.name.into(), run.level.to_string().into());
        table.row([name].into_iter().chain(cells).chain([level]).collect());
    }
    table
}

/// Advice, and the flags that set the fields it names.
fn with_flags(advice: Advice) -> String {
    let flag = |change: &FieldChange| match (change.field, change.value) {
        ("recipe", Some(recipe)) => format!("--recipe {recipe}"),
        ("adam.lr", _) => "--lr".to_owned(),
        (field, value) => format!("--set {field}={}", value.unwrap_or("VALUE")),
    };
    let flags: Vec<String> = advice.changes().iter().map(flag).collect();
    if flags.is_empty() {
        advice.to_string()
    } else {
        format!("{advice} ({})", flags.join(", "))
    }
}

/// The numbers of runs in a table, and what to type next.
pub(crate) fn print(folder: &Path, runs: &[SavedRun], finished: &[Finished]) -> anyhow::Result<()> {
    let mut out = print::styled_stdout();
    table(runs).write(&mut out, print::terminal_width())?;
    say_not_measured(&mut out, folder, runs)?;
    let shown = print::printable(&folder.display().to_string());
    let [only] = finished else {
        writeln!(
            out,
            "\nwritten to {shown}; {shown}/comparison.html compares them"
        )?;
        return Ok(());
    };
    writeln!(out, "\n{}", only.verdict.text)?;
    for Finding {
        level,
        text,
        advice,
    } in &only.verdict.findings
    {
        if *level != Level::Good {
            let advice = advice.map(with_flags).unwrap_or_default();
            writeln!(out, "  {level}: {text} {advice}")?;
        }
    }
    let run = print::printable(&only.run.display().to_string());
    writeln!(out, "\nwritten to {run}; {run}/report.html shows all of it")?;
    writeln!(out, "next:  saescope features {run} -p \"a text\"")?;
    writeln!(out, "       saescope eval {run} --corpus FILE")?;
    Ok(())
}
