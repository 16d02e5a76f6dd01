//! The `saescope` command: each subcommand parses its arguments, makes one call of the library and
//! prints what comes back.

mod bench;
mod capture;
mod chat;
mod completions;
mod hub;
mod info;
mod lens;
mod open;
mod output;
mod rss;
mod run;
mod sampling;
mod tokens;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Tokens(tokens::Args),
    Capture(capture::Args),
    Lens(lens::Args),
    Info(info::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// Exit codes: 0 done, 1 failed, 2 wrong usage. The last is clap's to give.
fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Lens(args) => lens::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has read enough, as in `saescope tokens … | head`.
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::chain(&error));
            ExitCode::FAILURE
        }
    }
}
