//! `saescope lens`

use saescope::lens::{LensRow, Prediction, lens};
use saescope::origin::Origin;
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::model::{ModelArgs, TextArgs};
use crate::print::{self, Align, Cell, Table, cut, probability_style, visible};
use saescope::session::LanguageModel;

/// Show the next token that every layer predicts, at every position (the logit lens)
///
/// Rows are layers, columns are the tokens of the text. A cell holds the token that would be the most
/// likely to come next if that layer were the last one, and its probability.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope lens tests/data/stories260K -p \"Once upon a time, there was a little\"
  saescope lens tests/data/stories260K -p \"Once upon a\" --top 3 --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// Place in each layer where the residual stream is read
    #[arg(long, value_name = "SITE", default_value = "resid_post")]
    #[arg(value_parser = ["resid_pre", "resid_mid", "resid_post"])]
    site: String,
    /// Tokens per cell, the most likely first
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The JSON of a call.
#[derive(Serialize)]
struct LensReport<'a> {
    #[serde(flatten)]
    origin: Origin,
    text: &'a str,
    tokens: &'a [u32],
    pieces: Vec<String>,
    rows: &'a [LensRow],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let lm = args.model.open()?;
    let LanguageModel {
        model, tokenizer, ..
    } = &lm;
    let text = args.text.read()?;
    let tokens = lm.encode_one(&text)?;
    let in_layer = |layer| format!("{}.{layer}", args.site).parse();
    let sites: saescope::Result<Vec<Site>> = (0..model.config().n_layers()).map(in_layer).collect();
    let edits = args.edits.open(&lm)?;
    let rows = lens(
        model,
        tokenizer,
        &tokens,
        &sites?,
        usize::from(args.top),
        &mut edits.hook()?,
    )?;
    if args.json {
        return print::json(&LensReport {
            origin: Origin {
                edits: edits.edits,
                ..lm.origin()
            },
            text: &tokenizer.written(&text),
            tokens: &tokens,
            pieces: tokens.iter().map(|&id| tokenizer.token_text(id)).collect(),
            rows: &rows,
        });
    }
    let table = table(tokenizer, &tokens, &rows);
    table.write(&mut print::styled_stdout(), print::terminal_width())?;
    Ok(())
}

fn table(tokenizer: &Tokenizer, tokens: &[u32], rows: &[LensRow]) -> Table {
    /// Longer pieces are cut, so that none pushes the other columns off the screen.
    const PIECE_WIDTH: usize = 14;
    let shown = |piece: &str| cut(&visible(piece), PIECE_WIDTH);
    let mut table = Table::new(vec![Align::Left; tokens.len() + 1]);
    let heads = tokens.iter().map(|&id| shown(&tokenizer.token_text(id)));
    table.header(std::iter::once("site".to_owned()).chain(heads));
    for row in rows {
        let ranks = row.positions.first().map_or(0, Vec::len);
        for rank in 0..ranks {
            let name = if rank == 0 {
                row.site.to_string()
            } else {
                String::new()
            };
            let cells = row.positions.iter().map(|predictions| {
                let Prediction {
                    piece, probability, ..
                } = &predictions[rank];
                let percent = (probability * 100.0).round();
                Cell {
                    text: format!("{} {percent}%", shown(piece)),
                    style: probability_style(*probability),
                }
            });
            table.row(std::iter::once(name.into()).chain(cells).collect());
        }
    }
    table
}
