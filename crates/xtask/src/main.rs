//! The project's own chores.
//!
//! `cargo xtask ci` is the one command that says whether a change may land; `layers` and `sizes`
//! are two of its steps that can be run alone.

mod ci;
mod demo;
mod layers;
mod sizes;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci       everything below, formatting, lints, tests and documentation
  layers   do modules import only what stands before them?
  sizes    the longest files and functions
  demo     makes what assets/demo bundles; --corpus FILE names the stories
  demo --check
           measures whether that tells feelings apart and steers
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => ci::run(&root()),
        ["layers"] => run_layers(&root()),
        ["sizes"] => run_sizes(&root()),
        ["demo"] => demo::make(&root(), None),
        ["demo", "--corpus", file] => demo::make(&root(), Some(file)),
        ["demo", "--check"] => demo::check(&root()),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [] => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
        _ => {
            eprint!("there is no chore `{}`\n{USAGE}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_layers(root: &Path) -> anyhow::Result<()> {
    let faults = layers::check(root).context("layers")?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => {
            println!("layers: every import points to what stands before it");
            Ok(())
        }
        n => bail!("{n} breaks of the layers; ARCHITECTURE.md says why the order is what it is"),
    }
}

fn run_sizes(root: &Path) -> anyhow::Result<()> {
    print!("{}", sizes::report(root).context("sizes")?);
    Ok(())
}

/// The repository: the folder two above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
