//! `saescope convert`

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use saescope::sae::Record;
use serde::Serialize;

use crate::output;
use crate::sae::open_sae;

/// Write an autoencoder as a folder that SAELens opens too
///
/// The folder holds cfg.json and sae_weights.safetensors. docs/formats.md says which files are read
/// and what is folded when they are.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope convert tests/golden/saes/saelens_gated gated
  saescope convert tests/golden/saes/dl_topk topk --json
")]
pub(crate) struct Args {
    /// A file or folder, `org/name[/FOLDER][@revision]` on the Hugging Face Hub, or one of OpenAI's such
    /// as `openai/v5_128k/resid_post_mlp/8`
    #[arg(value_name = "SAE")]
    sae: String,
    /// The folder to write
    #[arg(value_name = "OUT_FOLDER")]
    output: PathBuf,
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

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.output.exists() && !args.force {
        bail!(
            "{}: it is there already; name another folder, or overwrite with --force",
            args.output.display()
        );
    }
    if args.output.is_file() {
        bail!(
            "{}: it is a file, and a folder is written",
            args.output.display()
        );
    }
    let sae = open_sae(&args.sae)?;
    sae.save(&args.output)?;
    let record = sae.record();
    if args.json {
        return output::json(&Written {
            sae: &args.sae,
            output: &args.output,
            record,
        });
    }
    let mut out = output::stdout();
    for (name, value) in crate::info::parts(&sae) {
        writeln!(out, "{name:<14} {value}")?;
    }
    for note in &record.notes {
        writeln!(out, "{:<14} {}", "note", output::printable(note))?;
    }
    writeln!(out, "written to {}", args.output.display())?;
    Ok(())
}
