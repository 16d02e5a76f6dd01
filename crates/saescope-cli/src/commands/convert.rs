//! `saescope convert`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use saescope::sae::{Record, Sae};
use serde::Serialize;

use crate::args::hub::DEMO;
use crate::args::model::last_of;
use crate::args::sae::SaeRef;
use crate::print;
use crate::print::autoencoder::parts;
use crate::usage::usage;

/// Write an autoencoder as a folder that SAELens opens too
///
/// The folder holds cfg.json and sae_weights.safetensors. docs/formats.md says which files are read
/// and what is folded when they are.
#[derive(clap::Args)]
#[command(override_usage = "saescope convert [OPTIONS] [SAE] <OUT_FOLDER>")]
#[command(after_help = "\
Examples:
  saescope convert tests/golden/saes/saelens_gated gated
  saescope convert tests/golden/saes/dl_topk topk --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeRef,
    /// The folder to write
    #[arg(value_name = "OUT_FOLDER")]
    output: Option<PathBuf>,
    /// Write into a folder that is there already
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    sae: &'a str,
    output: &'a PathBuf,
    record: &'a Record,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    if args.output.is_none() && args.force {
        // The only reference may be the autoencoder, with the folder forgotten.
        usage!(
            "{}: is it the autoencoder, or the folder to write? Name both where --force may overwrite one",
            args.sae.reference()
        );
    }
    let output = last_of(&mut args.sae.sae, args.output, "folder");
    if output == Path::new(DEMO) {
        usage!(
            "`{DEMO}` is the bundled autoencoder; name the folder to write behind it, or write ./{DEMO}"
        );
    }
    if output.exists() && !args.force {
        bail!(
            "{}: it is there already; name another folder, or overwrite with --force",
            output.display()
        );
    }
    if output.is_file() {
        bail!(
            "{}: it is a file, and a folder is written",
            output.display()
        );
    }
    let path = args.sae.locate()?;
    let mut sae = Sae::open(&path)?;
    sae.hash_files(&path)?;
    sae.save(&output)?;
    let record = sae.record();
    if args.json {
        return print::json(&Written {
            sae: args.sae.reference(),
            output: &output,
            record,
        });
    }
    let mut out = print::stdout();
    for (name, value) in parts(&sae) {
        writeln!(out, "{name:<14} {value}")?;
    }
    for note in &record.notes {
        writeln!(out, "{:<14} {}", "note", print::printable(note))?;
    }
    writeln!(out, "written to {}", output.display())?;
    Ok(())
}
