//! `saescope store merge` and `store copy`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::show::number::bytes;
use saescope_store::Store;

use super::StoreArg;
use crate::args::output::{Written, check_output};
use crate::print;

/// Put the stores of parts of one corpus together
///
/// The parts are those of `harvest --shard`. All of them together make the same store as one pass over the
/// whole corpus. Labels and lists are taken over.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope store merge part-1.db part-2.db -o whole.db
")]
pub(super) struct MergeArgs {
    /// The files that `harvest --shard` wrote
    #[arg(value_name = "STORE", required = true)]
    stores: Vec<PathBuf>,
    /// The file to write, which must be new
    #[arg(short, long, value_name = "STORE")]
    output: PathBuf,
}

pub(super) fn merge(args: &MergeArgs) -> anyhow::Result<()> {
    check_output(&args.output, Written::Store)?;
    let parts: Vec<Store> = args
        .stores
        .iter()
        .map(|path| Store::open(path))
        .collect::<saescope::Result<_>>()?;
    let store = saescope_store::merge(&parts, &args.output)?;
    let parts = &store.header().parts;
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    let tokens = store.counts()?;
    let mut out = print::styled_stdout();
    writeln!(
        out,
        "{} tokens, parts {}, {}",
        tokens.counted + tokens.left_out,
        parts.join(" "),
        bytes(size(&args.output))
    )?;
    writeln!(out, "written to {}", args.output.display())?;
    Ok(())
}

/// Copy a store while others read and write it
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  saescope store copy store.db copy.db
")]
pub(super) struct CopyArgs {
    #[command(flatten)]
    store: StoreArg,
    /// The file to write, which must be new
    #[arg(value_name = "COPY")]
    output: PathBuf,
}

pub(super) fn copy(args: &CopyArgs) -> anyhow::Result<()> {
    check_output(&args.output, Written::Store)?;
    let store = Store::open(args.store.path())?;
    saescope_store::copy(&store, &args.output)?;
    let mut out = print::styled_stdout();
    writeln!(out, "{}", bytes(size(&args.output)))?;
    writeln!(out, "written to {}", args.output.display())?;
    Ok(())
}

fn size(path: &PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
