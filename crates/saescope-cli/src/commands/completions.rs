//! `saescope completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::print;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope completions bash
")]
pub(crate) struct Args {
    /// The shell that is to complete
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut crate::Cli::command(),
        "saescope",
        &mut script,
    );
    std::io::Write::write_all(&mut print::raw_stdout(), &script)?;
    Ok(())
}
