//! The result of a training for people: a table, the verdict, the next commands.

use std::io::Write;
use std::path::Path;

use saescope::jobs::train::FinishedRun;
use saescope::runs::{Advice, ComparisonRow, FieldChange, Finding, Level, SavedRun};

use crate::print::{self, Align, Cell, Table};

/// Names the measurements that texts are missing for, and the command that makes them.
fn say_not_measured(out: &mut impl Write, folder: &Path, runs: &[SavedRun]) -> anyhow::Result<()> {
    if runs.iter().all(|run| run.held_out().on_texts) {
        return Ok(());
    }
    let of = if runs.iter().all(|run| run.held_out().is_measured) {
        "activations that were not trained on, of the same texts"
    } else {
        "the last batch of the training"
    };
    let run = match runs {
        [_] => folder.display().to_string(),
        _ => format!("{}/NAME", folder.display()),
    };
    writeln!(
        out,
        "\nL0 and explained variance are those of {of}. The model's loss with the autoencoder in place\n\
         (cross-entropy, KL) needs other texts. This measures it:\n  saescope eval {run} --corpus FILE"
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

/// Advice, and the flags that set the fields that it names.
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

/// Prints the numbers of runs in a table, and what to type next.
pub(super) fn print(
    folder: &Path,
    runs: &[SavedRun],
    finished: &[FinishedRun],
) -> anyhow::Result<()> {
    let mut out = print::styled_stdout();
    table(runs).write(&mut out, print::terminal_width())?;
    say_not_measured(&mut out, folder, runs)?;
    let shown = folder.display();
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
    let run = only.run.display();
    writeln!(out, "\nwritten to {run}; {run}/report.html shows all of it")?;
    writeln!(out, "next:  saescope features {run} -p \"a text\"")?;
    writeln!(out, "       saescope eval {run} --corpus FILE")?;
    Ok(())
}
