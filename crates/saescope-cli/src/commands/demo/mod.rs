//! `saescope demo`

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use saescope::demo::{Call, Choice, STEPS, Step, TurnedFeature, contrast, steps};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::print;

/// Show on a bundled model what this program does, in seven steps
///
/// Nothing is downloaded. Each step is one or several calls of other commands, printed before their
/// output; typed alone they do the same. docs/demo.md explains the steps.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope demo
  saescope demo --step 4
  saescope demo --step 2 --json
")]
pub(crate) struct Args {
    /// Run only this step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=STEPS as i64))]
    step: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The JSON of a step.
#[derive(Serialize)]
struct StepReport {
    step: u32,
    title: &'static str,
    calls: Vec<CallReport>,
}

#[derive(Serialize)]
struct CallReport {
    command: String,
    output: Value,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Runs are written here, and no file of the user's has the name of a bundled one here.
    let folder = tempfile::tempdir().context("a folder for the demo")?;
    let features = &captured(folder.path(), &contrast())?["features"];
    let features = Vec::<TurnedFeature>::deserialize(features).context("the output of contrast")?;
    let mut steps = steps(&Choice::new(features)?);
    steps.retain(|step| args.step.is_none_or(|only| only == step.number));
    if args.json {
        let records: Vec<StepReport> = steps
            .iter()
            .map(|step| record(folder.path(), step))
            .collect::<anyhow::Result<_>>()?;
        return print::json(&records);
    }
    for step in &steps {
        show(folder.path(), step)?;
    }
    Ok(())
}

fn record(folder: &Path, step: &Step) -> anyhow::Result<StepReport> {
    let record = |call: &Call| {
        Ok(CallReport {
            command: call.to_string(),
            output: captured(folder, call)?,
        })
    };
    let calls = step.calls.iter().map(record);
    Ok(StepReport {
        step: step.number,
        title: step.title,
        calls: calls.collect::<anyhow::Result<_>>()?,
    })
}

/// Prints a step, and runs its calls, which print their own output.
fn show(folder: &Path, step: &Step) -> anyhow::Result<()> {
    let bold = anstyle::Style::new().bold();
    let dim = anstyle::Style::new().dimmed();
    let mut out = print::styled_stdout();
    out.styled(bold, &format!("{}. {}", step.number, step.title))?;
    writeln!(out, "\n{}\n", step.about)?;
    for call in &step.calls {
        out.styled(dim, &format!("$ {call}"))?;
        writeln!(out)?;
        // The call writes to the same standard output.
        out.flush()?;
        let status = command(folder, call)?.status().context("saescope")?;
        if !status.success() {
            bail!("`{call}` failed");
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The output of a call with `--json`.
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
    let this = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(this);
    command.args(&call.args).current_dir(folder);
    Ok(command)
}
