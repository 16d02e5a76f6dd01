//! `saescope info` for an autoencoder: its record and a self-test.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use saescope::sae::{InputNorm, NamedSae, NormSummary, Norms, Record, Sae};
use saescope::session::{LanguageModel, SelfTest};
use saescope::show::number::bytes;
use serde::Serialize;

use super::Args;
use crate::args::hub::offline;
use crate::print::autoencoder::{gate, parts};
use crate::print::{self, Align, Table, chain};
use crate::usage::usage;

/// The output of `--json`.
#[derive(Serialize)]
struct AutoencoderReport<'a> {
    sae: &'a str,
    record: &'a Record,
    gate: String,
    input_norm: InputNorm,
    transcoder: bool,
    /// Always true: opening refuses numbers that are not finite.
    finite: bool,
    #[serde(flatten)]
    norms: NormSummary,
    fit: Option<SelfTest>,
    /// The reason for a missing `fit`.
    unfit: Option<String>,
}

pub(super) fn run(args: &Args, path: &Path) -> anyhow::Result<()> {
    let mut sae = Sae::open(path)?;
    sae.hash_files(path)?;
    if let Some(site) = args.site {
        sae.move_to(site);
    }
    let named = NamedSae {
        reference: args.reference().to_owned(),
        sae,
    };
    let (fit, unfit) = match self_test(args, &named) {
        Ok(fit) => (Some(fit), None),
        // A test that was asked for has to succeed; otherwise the report says why there is none.
        Err(error) if args.of_model.is_some() => return Err(error),
        Err(error) => (None, Some(chain(&error))),
    };
    let sae = &named.sae;
    let report = AutoencoderReport {
        sae: args.reference(),
        record: sae.record(),
        gate: gate(sae),
        input_norm: sae.input_norm(),
        transcoder: sae.is_transcoder(),
        finite: true,
        norms: sae.norms(),
        fit,
        unfit,
    };
    if args.json {
        return print::json(&report);
    }
    print(sae, &report)
}

/// Measures the fit of the autoencoder to the model of --model, or else to that of its record if the
/// files are on this machine.
fn self_test(args: &Args, named: &NamedSae) -> anyhow::Result<SelfTest> {
    let session = args.load.session()?;
    let (reference, path) = match (&args.of_model, &named.sae.record().model) {
        (Some(model), _) => (model.clone(), session.locate_model(model)?),
        (None, Some(model)) => {
            let path = offline(&session).locate_model(model);
            let here = || {
                format!(
                    "{model} is not on this machine; name a model with --model, which downloads it if needed"
                )
            };
            (model.clone(), path.with_context(here)?)
        }
        (None, None) => usage!("the file names no model; name one with --model"),
    };
    let lm = LanguageModel::open(&reference, &path, session.precision, session.bos)?;
    Ok(SelfTest::run(&lm, named)?)
}

fn print(sae: &Sae, report: &AutoencoderReport) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    table.row(vec!["sae".into(), report.sae.into()]);
    for (name, value) in parts(sae) {
        table.row(vec![name.into(), value.into()]);
    }
    for file in &report.record.files {
        let size = bytes(file.bytes);
        // The start of the hash, enough to tell two files apart; the JSON has all of it.
        let hash = file.sha256.as_deref().and_then(|hash| hash.get(..16));
        let hash = hash.map_or(String::new(), |hash| format!(", sha256 {hash}…"));
        let text = format!("{}, {size}{hash}", file.name);
        table.row(vec!["file".into(), text.into()]);
    }
    for note in &report.record.notes {
        table.row(vec!["note".into(), note.as_str().into()]);
    }
    table.row(vec!["weights".into(), "finite, shapes agree".into()]);
    for (name, norms) in [
        ("decoder norms", &report.norms.decoder_norms),
        ("encoder norms", &report.norms.encoder_norms),
    ] {
        let Norms {
            least,
            mean,
            largest,
            zero,
        } = norms;
        let zero = match zero {
            0 => String::new(),
            zero => format!(", {zero} of them 0"),
        };
        let text = format!("{least:.3} to {largest:.3}, mean {mean:.3}{zero}");
        table.row(vec![name.into(), text.into()]);
    }
    let fit = match (&report.fit, &report.unfit) {
        (Some(SelfTest { origin, fit, .. }), _) => format!(
            "L0 {:.1}, FVU {:.3} ({:.3} with first positions) on {} tokens of {}",
            fit.l0, fit.fvu, fit.fvu_with_first, fit.tokens, origin.model
        ),
        (None, reason) => format!("not tested: {}", reason.as_deref().unwrap_or_default()),
    };
    table.row(vec!["self-test".into(), fit.into()]);
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    if report.fit.as_ref().is_some_and(|test| test.fit.mismatch) {
        writeln!(
            out,
            "FVU above 1: the reconstruction is worse than the mean. Model, site or input norm are not \
             those of its training."
        )?;
    }
    Ok(())
}
