//! `saescope lens`

use saescope::edit::Edit;
use saescope::lens::{Guess, LensRow, lens};
use saescope::site::Site;
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::model::{ModelArgs, TextArgs};
use crate::print::{self, Align, Cell, Table, cut, probability_style, visible};
use saescope::session::LanguageModel;

/// Show what every layer would say next, at every position (the logit lens)
///
/// Rows are layers, columns are the tokens of the text. A cell holds the token that would be the
/// likeliest next if that layer were the last one, and its probability.
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
    /// Where in each layer the residual stream is read
    #[arg(long, value_name = "SITE", default_value = "resid_post")]
    #[arg(value_parser = ["resid_pre", "resid_mid", "resid_post"])]
    site: String,
    /// Tokens per cell, the likeliest first
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    model: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "<[Edit]>::is_empty")]
    edits: &'a [Edit],
    tokens: &'a [u32],
    pieces: Vec<String>,
    rows: Vec<RowRecord>,
}

#[derive(Serialize)]
struct RowRecord {
    site: Site,
    positions: Vec<Vec<GuessRecord>>,
}

#[derive(Serialize)]
struct GuessRecord {
    token: u32,
    piece: String,
    probability: f32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let lm = args.model.open()?;
    let LanguageModel {
        model, tokenizer, ..
    } = &lm;
    let text = args.text.read()?;
    let tokens = tokenizer.encode(&text, args.model.bos())?;
    let in_layer = |layer| format!("{}.{layer}", args.site).parse();
    let sites: saescope::Result<Vec<Site>> = (0..model.config().n_layers()).map(in_layer).collect();
    let edits = args.edits.open(&lm)?;
    let rows = lens(
        model,
        &tokens,
        &sites?,
        usize::from(args.top),
        &mut edits.hook()?,
    )?;
    if args.json {
        return print::json(&Record {
            model: args.model.reference(),
            text: &text,
            edits: &edits.edits,
            tokens: &tokens,
            pieces: tokens.iter().map(|&id| tokenizer.token_text(id)).collect(),
            rows: rows.iter().map(|row| record(tokenizer, row)).collect(),
        });
    }
    let table = table(tokenizer, &tokens, &rows);
    table.write(&mut print::styled_stdout(), print::terminal_width())?;
    Ok(())
}

fn record(tokenizer: &Tokenizer, row: &LensRow) -> RowRecord {
    let guess = |guess: &Guess| GuessRecord {
        token: guess.token,
        piece: tokenizer.token_text(guess.token),
        probability: guess.probability,
    };
    RowRecord {
        site: row.site,
        positions: row
            .positions
            .iter()
            .map(|guesses| guesses.iter().map(guess).collect())
            .collect(),
    }
}

fn table(tokenizer: &Tokenizer, tokens: &[u32], rows: &[LensRow]) -> Table {
    /// Longer pieces are cut, so that one of them does not push the others off the screen.
    const PIECE_WIDTH: usize = 14;
    let shown = |id: u32| cut(&visible(&tokenizer.token_text(id)), PIECE_WIDTH);
    let mut table = Table::new(vec![Align::Left; tokens.len() + 1]);
    table.header(std::iter::once("site".to_owned()).chain(tokens.iter().map(|&id| shown(id))));
    for row in rows {
        let ranks = row.positions.first().map_or(0, Vec::len);
        for rank in 0..ranks {
            let name = if rank == 0 {
                row.site.to_string()
            } else {
                String::new()
            };
            let guesses = row.positions.iter().map(|guesses| {
                let Guess { token, probability } = guesses[rank];
                let percent = (probability * 100.0).round();
                Cell {
                    text: format!("{} {percent}%", shown(token)),
                    style: probability_style(probability),
                }
            });
            table.row(std::iter::once(name.into()).chain(guesses).collect());
        }
    }
    table
}
