//! `saescope info` of an autoencoder: its record and a self-test.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use saescope::features::{self, Fit};
use saescope::sae::{InputNorm, Record, Sae};
use saescope::show::number::bytes;
use serde::Serialize;

use super::Args;
use crate::args::hub::offline;
use crate::print::autoencoder::{gate, parts};
use crate::print::{self, Align, Table, chain, printable};
use crate::usage::usage;
use saescope::session::LanguageModel;

/// What the self-test reads: plain prose, less than the context of any autoencoder at a time.
const TEXT: [&str; 4] = [
    "The old lighthouse stood at the edge of the harbour. Every evening its keeper climbed the stairs, \
     lit the lamp and watched the boats come home.",
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One \
     day, she saw a big, red ball under a tree.",
    "Water boils at a lower temperature on a mountain than at the sea, because there is less air above \
     it to press it down.",
    "\"I did not know that you were here,\" he said. She laughed, shut the door behind her and put the \
     letter on the table.",
];

#[derive(Serialize)]
struct Report<'a> {
    sae: &'a str,
    record: &'a Record,
    gate: String,
    input_norm: InputNorm,
    transcoder: bool,
    /// Reading has refused anything that is no finite number.
    finite: bool,
    decoder_norms: Norms,
    encoder_norms: Norms,
    fit: Option<Fitted>,
    /// Why there is no `fit`.
    unfit: Option<String>,
}

#[derive(Serialize)]
struct Norms {
    least: f32,
    mean: f64,
    largest: f32,
    /// How many are 0.
    zero: usize,
}

#[derive(Serialize)]
struct Fitted {
    model: String,
    dtype: &'static str,
    bos: &'static str,
    tokens: usize,
    l0: f64,
    fvu: f64,
    fvu_with_first: f64,
    /// FVU above 1: the mean alone would do better.
    mismatch: bool,
}

pub(super) fn run(args: &Args, path: &Path) -> anyhow::Result<()> {
    let mut sae = Sae::open(path)?;
    sae.hash_files(path)?;
    if let Some(site) = args.site {
        sae.move_to(site);
    }
    let (fit, unfit) = match fitted(args, &sae) {
        Ok(fit) => (Some(fit), None),
        // What was asked for has to work; what would only be nice to have is told.
        Err(error) if args.of_model.is_some() => return Err(error),
        Err(error) => (None, Some(chain(&error))),
    };
    let report = Report {
        sae: args.reference(),
        record: sae.record(),
        gate: gate(&sae),
        input_norm: sae.input_norm(),
        transcoder: sae.is_transcoder(),
        finite: true,
        decoder_norms: norms(&sae.decoder_norms()),
        encoder_norms: norms(&sae.encoder_norms()),
        fit,
        unfit,
    };
    if args.json {
        return print::json(&report);
    }
    print(&sae, &report)
}

/// How well the autoencoder does on the text, with the model named or the one of its record if that
/// is here.
fn fitted(args: &Args, sae: &Sae) -> anyhow::Result<Fitted> {
    let session = args.load.session()?;
    let (reference, path) = match (&args.of_model, &sae.record().model) {
        (Some(model), _) => (model.clone(), session.locate_model(model)?),
        (None, Some(model)) => {
            let path = offline(&session).locate_model(model);
            let here =
                || format!("{model} is not at hand; --model names one and downloads it if need be");
            (model.clone(), path.with_context(here)?)
        }
        (None, None) => usage!("the file names no model; name one with --model"),
    };
    let lm = LanguageModel::open(&reference, &path, session.precision, session.bos)?;
    let ids = lm.encode(&TEXT.map(str::to_owned))?;
    let prompts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let fit = features::fit(&lm.model, sae, &prompts).context(reference.clone())?;
    let Fit {
        tokens,
        l0,
        fvu,
        fvu_with_first,
    } = fit;
    Ok(Fitted {
        model: reference,
        dtype: args.load.dtype.name(),
        bos: args.load.bos.name(),
        tokens,
        l0,
        fvu,
        fvu_with_first,
        mismatch: fvu > 1.0,
    })
}

fn norms(norms: &[f32]) -> Norms {
    Norms {
        least: norms.iter().copied().fold(f32::INFINITY, f32::min),
        mean: norms.iter().map(|&n| f64::from(n)).sum::<f64>() / norms.len() as f64,
        largest: norms.iter().copied().fold(0.0, f32::max),
        zero: norms.iter().filter(|&&n| n == 0.0).count(),
    }
}

fn print(sae: &Sae, report: &Report) -> anyhow::Result<()> {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    table.row(vec!["sae".into(), report.sae.into()]);
    for (name, value) in parts(sae) {
        table.row(vec![name.into(), value.into()]);
    }
    for file in &report.record.files {
        let size = bytes(file.bytes);
        // As much of the hash as tells two files apart; the rest is in the JSON.
        let hash = file.sha256.as_deref().and_then(|hash| hash.get(..16));
        let hash = hash.map_or(String::new(), |hash| format!(", sha256 {hash}…"));
        let text = format!("{}, {size}{hash}", printable(&file.name));
        table.row(vec!["file".into(), text.into()]);
    }
    for note in &report.record.notes {
        table.row(vec!["note".into(), printable(note).into()]);
    }
    table.row(vec!["weights".into(), "finite, shapes agree".into()]);
    for (name, norms) in [
        ("decoder norms", &report.decoder_norms),
        ("encoder norms", &report.encoder_norms),
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
        (Some(fit), _) => format!(
            "L0 {:.1}, FVU {:.3} ({:.3} with first positions) on {} tokens of {}",
            fit.l0, fit.fvu, fit.fvu_with_first, fit.tokens, fit.model
        ),
        (None, why) => format!("not tested: {}", why.as_deref().unwrap_or_default()),
    };
    table.row(vec!["self-test".into(), fit.into()]);
    let mut out = print::styled_stdout();
    table.write(&mut out, None)?;
    if report.fit.as_ref().is_some_and(|fit| fit.mismatch) {
        writeln!(
            out,
            "FVU above 1: it reconstructs worse than the mean would. Model, site or input norm are \
             not those it was trained with."
        )?;
    }
    Ok(())
}
