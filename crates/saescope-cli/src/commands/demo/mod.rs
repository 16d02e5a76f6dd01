//! `saescope demo`

mod choice;
mod steps;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use self::choice::Choice;
use self::steps::{Call, STEPS, Step};
use crate::print;

/// Show on a bundled model what this program does, in seven steps
///
/// Nothing is downloaded. Each step is one or several calls of the other commands, printed before what
/// they say: typed alone they do the same. docs/demo.md says what there is to see.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope demo
  saescope demo --step 4
  saescope demo --step 2 --json
")]
pub(crate) struct Args {
    /// Do this step only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=STEPS as i64))]
    step: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record {
    step: u32,
    title: &'static str,
    calls: Vec<Done>,
}

#[derive(Serialize)]
struct Done {
    command: String,
    output: Value,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Where runs are written, and no file of the user's is called as a bundled one.
    let folder = tempfile::tempdir().context("a folder for the demo")?;
    let contrast: Value = captured(folder.path(), &steps::contrast())?;
    let choice = Choice::of(&contrast)?;
    let wanted = |step: &Step| args.step.is_none_or(|only| only == step.number);
    let steps = steps::all(&choice);
    let steps = steps.iter().filter(|step| wanted(step));
    if args.json {
        let records: Vec<Record> = steps
            .map(|step| record(folder.path(), step))
            .collect::<anyhow::Result<_>>()?;
        return print::json(&records);
    }
    for step in steps {
        show(folder.path(), step)?;
    }
    Ok(())
}

fn record(folder: &Path, step: &Step) -> anyhow::Result<Record> {
    let done = |call: &Call| {
        Ok(Done {
            command: call.to_string(),
            output: captured(folder, call)?,
        })
    };
    Ok(Record {
        step: step.number,
        title: step.title,
        calls: step.calls.iter().map(done).collect::<anyhow::Result<_>>()?,
    })
}

/// Prints a step and lets its calls print theirs.
fn show(folder: &Path, step: &Step) -> anyhow::Result<()> {
    let bold = anstyle::Style::new().bold();
    let dim = anstyle::Style::new().dimmed();
    let mut out = print::styled_stdout();
    writeln!(out, "{bold}{}. {}{bold:#}", step.number, step.title)?;
    writeln!(out, "{}\n", step.about)?;
    for call in &step.calls {
        writeln!(out, "{dim}$ {call}{dim:#}")?;
        // The call writes to the same place.
        out.flush()?;
        let status = command(folder, call)?.status().context("saescope")?;
        if !status.success() {
            bail!("`{call}` failed");
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What a call prints with `--json`.
fn captured(folder: &Path, call: &Call) -> anyhow::Result<Value> {
    let mut command = command(folder, call)?;
    let output = command.arg("--json").stderr(Stdio::inherit()).output();
    let output = output.context("saescope")?;
    if !output.status.success() {
        bail!("`{call} --json` failed");
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{call} --json`"))
}

fn command(folder: &Path, call: &Call) -> anyhow::Result<Command> {
    let this = std::env::current_exe().context("the program does not know where it is")?;
    let mut command = Command::new(this);
    command.args(&call.args).current_dir(folder);
    Ok(command)
}
