//! The project's own chores.
//!
//! `cargo xtask ci` is the one command that decides if a change may land; `layers` and `sizes` are two
//! of its steps that can be run alone.

mod ci;
mod demo;
mod house;
mod layers;
mod modules;
mod sizes;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci       layers and sizes, formatting, lints, tests and documentation
  layers   check the direction of imports, circles and commands that import commands
  sizes    print the longest files and functions
  house    print counts that tell how readable the code is
  house FOLDER
           print them for another checkout
  demo     make the files of assets/demo; --corpus FILE names the stories
  demo --check
           check that the demo's features tell feelings apart and steer
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => ci::run(&root()),
        ["layers"] => run_layers(&root()),
        ["sizes"] => run_sizes(&root()),
        ["house"] => run_house(&root()),
        ["house", folder] if !folder.starts_with('-') => run_house(Path::new(folder)),
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
            eprint!("unknown chore `{}`\n{USAGE}", words.join(" "));
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
    if !faults.is_empty() {
        let n = faults.len();
        bail!("{n} breaks of the layers; ARCHITECTURE.md gives the reasons for the order");
    }
    println!("layers: every import points to what stands before it");
    Ok(())
}

fn run_sizes(root: &Path) -> anyhow::Result<()> {
    print!("{}", sizes::report(root).context("sizes")?);
    Ok(())
}

fn run_house(root: &Path) -> anyhow::Result<()> {
    print!("{}", house::report(root).context("house")?);
    Ok(())
}

/// The root of the repository, the folder two above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
