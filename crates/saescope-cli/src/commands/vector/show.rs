//! `saescope vector info` and `edits`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::edit::Span;
use saescope::site::Site;

use super::VectorArg;
use super::build::norms;
use crate::args::model::finite;
use crate::args::output::{Written, check_output};
use crate::print::{self, Align, Table};

/// Show the contents of a vector's file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector info tests/data/caa/refusal.safetensors
  saescope vector info tests/golden/vectors/control.gguf --json
  saescope vector info tests/golden/vectors/torch/one.npy --site resid_post.2
")]
pub(super) struct InfoArgs {
    #[command(flatten)]
    file: VectorArg,
    /// The site of a direction that states none, or the only one to show
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Write a vector as a document of edits, for the commands that have --edits
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope vector edits tests/data/caa/refusal.safetensors --site resid_post.3 --scale 4
  saescope vector edits tests/data/caa/refusal.safetensors --scale 4 -o edits.json && \\
      saescope run tests/data/stories260K -p Once --edits edits.json -n 20 --seed 7
")]
pub(super) struct EditsArgs {
    #[command(flatten)]
    file: VectorArg,
    /// Multiplier of every direction
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = finite)]
    scale: f32,
    /// A site of the vector, or that of a direction without one [default: all]. May be given several times
    #[arg(long, value_name = "SITE")]
    site: Vec<Site>,
    /// Add it from this position on; the default omits the first, whose activation is unlike all others
    #[arg(long, value_name = "POSITION", default_value_t = 1)]
    from: usize,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn info(args: &InfoArgs) -> anyhow::Result<()> {
    let mut vector = args.file.open(args.site.as_slice())?;
    vector.retain(args.site.as_slice())?;
    let record = &vector.record;
    if args.json {
        return print::json(&vector.summary());
    }
    let unknown = || "unknown".to_owned();
    let mut table = Table::new(vec![Align::Left; 2]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value.into()]);
    row("model", record.model.clone().unwrap_or_else(unknown));
    row("family", record.model_type.clone().unwrap_or_else(unknown));
    row(
        "method",
        record.method.map_or_else(unknown, |m| m.name().to_owned()),
    );
    for (name, file) in ["made from", ""].iter().zip(&record.dataset) {
        row(name, file.clone());
    }
    if record.positive > 0 {
        let drawn = record.seed.map(|seed| format!(", drawn with seed {seed}"));
        let balanced = if record.balanced {
            ", letters balanced"
        } else {
            ""
        };
        let (positive, negative) = (record.positive, record.negative);
        let drawn = drawn.unwrap_or_default();
        row(
            "texts",
            format!("{positive} positive, {negative} negative{drawn}{balanced}"),
        );
    }
    if !record.edits.is_empty() {
        row(
            "edits",
            format!("{} while texts were read", record.edits.len()),
        );
    }
    if let (Some(dtype), Some(bos)) = (&record.dtype, &record.bos) {
        row("settings", format!("dtype {dtype}, bos {bos}"));
    }
    row(
        "unit length",
        if record.unit { "yes" } else { "no" }.to_owned(),
    );
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    writeln!(out)?;
    norms(&vector).write(&mut out, None)?;
    Ok(())
}

pub(super) fn edits(args: &EditsArgs) -> anyhow::Result<()> {
    let vector = args.file.open(&args.site)?;
    vector.check_sites(&args.site)?;
    let document = vector.document(args.scale, &Span::From(args.from), &args.site);
    let Some(path) = &args.output else {
        return print::json(&document);
    };
    check_output(path, Written::Json)?;
    document.save(path)?;
    let edits = document.edits;
    writeln!(
        print::stdout(),
        "written to {}: {} edit{}",
        path.display(),
        edits.len(),
        if edits.len() == 1 { "" } else { "s" }
    )?;
    Ok(())
}
