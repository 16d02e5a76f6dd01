//! The `saescope` command: each subcommand parses its arguments, makes one call of the library and
//! prints what comes back.

// Text reaches a terminal through `print` alone, which makes it harmless.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod print;

mod usage;

mod args;

mod commands;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use saescope::{Error, Isa, session};

use crate::commands::{
    bench, capture, completions, contrast, convert, demo, eval, feature, features, harvest, info,
    lens, run, search, steer, store, tokens, train, vector,
};
use crate::usage::Usage;

/// Open a language model up: run it, see its activations, change them
#[derive(Parser)]
#[command(
    name = "saescope",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Instruction set to compute with [default: the best of the machine]
    // For tests and measurements of the fallbacks: nobody else has a use for a slower one.
    #[arg(long, global = true, hide = true, value_name = "SET")]
    isa: Option<Isa>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(Box<run::Args>),
    Tokens(tokens::Args),
    Capture(Box<capture::Args>),
    Lens(lens::Args),
    Features(features::Args),
    Contrast(contrast::Args),
    Feature(feature::Args),
    Eval(Box<eval::Args>),
    Harvest(Box<harvest::Args>),
    Store(store::Args),
    Search(Box<search::Args>),
    Steer(Box<steer::Args>),
    Vector(vector::Args),
    Convert(convert::Args),
    Info(info::Args),
    Train(Box<train::Args>),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// Exit codes: 0 done, 1 failed, 2 wrong usage, found by clap, a command ([`Usage`]) or the library
/// ([`Error::is_usage`]).
fn main() -> ExitCode {
    let matches = taking_negative_numbers(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match with_threads(threads(&matches), || dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as in `saescope tokens … | head`.
        Err(error) if print::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::note!("error: {}", print::refusal(&error));
            if is_usage(&error) {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// True if the arguments of the call are wrong.
fn is_usage(error: &anyhow::Error) -> bool {
    let library = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<Error>();
        error.is_some_and(Error::is_usage)
    };
    error.is::<Usage>() || error.chain().any(library)
}

/// A number below zero is a value and no flag, so that what cannot take it says why.
fn taking_negative_numbers(command: clap::Command) -> clap::Command {
    let of_arg = |arg: clap::Arg| {
        let takes_value = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_value)
    };
    command
        .mut_args(of_arg)
        .mut_subcommands(taking_negative_numbers)
}

/// `--threads` of the subcommand, if it has that flag.
fn threads(matches: &ArgMatches) -> Option<u16> {
    if let Some((_, inner)) = matches.subcommand() {
        return threads(inner);
    }
    matches.try_get_one("threads").ok().flatten().copied()
}

/// Runs a command in a pool of so many threads, or in rayon's own.
fn with_threads(
    threads: Option<u16>,
    command: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    match threads {
        None => command(),
        Some(number) => session::threads(number.into())
            .context("--threads")?
            .install(command),
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    // Before the command, since weights are packed for the set in use.
    if let Some(isa) = cli.isa {
        compute_with(isa)?;
    }
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Lens(args) => lens::run(&args),
        Command::Features(args) => features::run(&args),
        Command::Contrast(args) => contrast::run(&args),
        Command::Feature(args) => feature::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Eval(args) => eval::run(&args),
        Command::Harvest(args) => harvest::run(&args),
        Command::Store(args) => store::run(args),
        Command::Search(args) => search::run(&args),
        Command::Steer(args) => steer::run(&args),
        Command::Vector(args) => vector::run(args),
        Command::Info(args) => info::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

fn compute_with(isa: Isa) -> anyhow::Result<()> {
    if !Isa::force(isa) {
        let available: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        let available = available.join(", ");
        bail!("--isa: this machine has no {isa}; it has {available}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// The calls of a text's blocks, each as the words that a shell makes of it.
    fn calls(text: &str, folder: &Path) -> Vec<Vec<String>> {
        let mut calls = Vec::new();
        for block in text.split("```").skip(1).step_by(2) {
            // A line may continue after a backslash.
            for line in block.replace("\\\n", " ").lines() {
                let line = line.trim().trim_start_matches("$ ");
                let call = line.split([';', '|', '>']).next().unwrap_or_default();
                if !call.starts_with("saescope ") || call.contains('…') {
                    continue;
                }
                let script = format!(
                    "saescope() {{ printf '%s\\n' \"$@\"; }}; p=a i=1 SAE=a MODEL=a TEXTS=a; {call}"
                );
                let words = Command::new("sh")
                    .args(["-c", &script])
                    .current_dir(folder)
                    .output();
                let words = String::from_utf8(words.unwrap().stdout).unwrap();
                calls.push(words.lines().map(str::to_owned).collect());
            }
        }
        calls
    }

    /// Most calls need a model of hundreds of megabytes to run, but none to be understood.
    #[test]
    fn every_call_of_the_documentation_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec![root.join("README.md")];
        let docs = std::fs::read_dir(root.join("docs")).unwrap();
        files.extend(docs.map(|entry| entry.unwrap().path()));
        files.retain(|file| file.extension().is_some_and(|e| e == "md"));
        let folder = tempfile::tempdir().unwrap();
        let (mut understood, mut wrong) = (0, Vec::new());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for words in calls(&text, folder.path()) {
                let given = std::iter::once("saescope".to_owned()).chain(words.clone());
                let matches = taking_negative_numbers(Cli::command()).try_get_matches_from(given);
                match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
                    Ok(_) => understood += 1,
                    Err(error) => wrong.push(format!("{}: {words:?}\n{error}", file.display())),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(understood > 70, "{understood}");
    }
}
