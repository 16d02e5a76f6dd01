//! `saescope convert`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use saescope::sae::{Record, Sae};
use saescope::show::text::one_line;
use serde::Serialize;

use crate::args::hub::DEMO;
use crate::args::model::last_of;
use crate::args::output::check_folder;
use crate::args::sae::SaeRef;
use crate::print;
use crate::print::autoencoder::parts;
use crate::usage::usage;

/// Write an autoencoder as a folder that SAELens opens too
///
/// The folder holds cfg.json and sae_weights.safetensors. docs/formats.md lists the files that can be read
/// and what is folded on reading.
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
    /// Write into an existing folder
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct ConvertReport<'a> {
    sae: &'a str,
    output: &'a PathBuf,
    record: &'a Record,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    if args.output.is_none() && args.force {
        // The only name may be the autoencoder's, with the folder forgotten.
        usage!(
            "{}: name both the autoencoder and the folder to write, since --force may overwrite a folder",
            args.sae.reference()
        );
    }
    let output = last_of(&mut args.sae.sae, args.output, "folder");
    if output == Path::new(DEMO) {
        usage!(
            "`{DEMO}` is the bundled autoencoder; name the folder to write after it, or write to ./{DEMO}"
        );
    }
    if output.exists() && !args.force {
        bail!(
            "{}: the folder exists already; name another, or overwrite it with --force",
            output.display()
        );
    }
    if output.is_file() {
        bail!(
            "{}: this is a file; name a folder to write",
            output.display()
        );
    }
    check_folder(&output)?;
    let path = args.sae.locate()?;
    let mut sae = Sae::open(&path)?;
    sae.hash_files(&path)?;
    sae.save(&output)?;
    let record = sae.record();
    if args.json {
        return print::json(&ConvertReport {
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
        writeln!(out, "{:<14} {}", "note", one_line(note))?;
    }
    writeln!(out, "written to {}", output.display())?;
    Ok(())
}
