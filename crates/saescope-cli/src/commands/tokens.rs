//! `saescope tokens`

use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::model::{BosArgs, ModelRef, TextArgs};
use crate::print::{self, Align, Table, visible};

/// Show the tokens of a text
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope tokens tests/data/stories260K -p \"Once upon a time\"
  saescope tokens tests/data/stories260K --ids 1,403,407,261,378
  saescope tokens tests/data/stories260K -p \"Once upon a time\" --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelRef,
    #[command(flatten)]
    bos: BosArgs,
    #[command(flatten)]
    text: TextArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The JSON of a call.
#[derive(Serialize)]
struct TokensReport<'a> {
    model: &'a str,
    text: &'a str,
    tokens: &'a [u32],
    /// The text of each token alone; bytes that are not a whole character are U+FFFD.
    pieces: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tokenizer = Tokenizer::of_model(&args.model.locate()?)?;
    let text = args.text.read()?;
    let tokens = tokenizer.encode_text(&text, args.bos.bos(), tokenizer.d_vocab())?;
    if args.json {
        let pieces = tokens.iter().map(|&id| tokenizer.token_text(id)).collect();
        let model = args.model.reference();
        return print::json(&TokensReport {
            model,
            text: &tokenizer.written(&text),
            tokens: &tokens,
            pieces,
        });
    }
    let mut table = Table::new(vec![Align::Right, Align::Right, Align::Left]);
    table.header(["position", "id", "piece"]);
    for piece in tokenizer.readable_pieces(&tokens) {
        for position in piece.tokens.clone() {
            // A character that several tokens make together is shown once, at the first of them.
            let first = position == piece.tokens.start;
            let text = if first {
                visible(&piece.text)
            } else {
                "…".to_owned()
            };
            table.row(vec![
                position.to_string().into(),
                tokens[position].to_string().into(),
                text.into(),
            ]);
        }
    }
    table.write(&mut print::styled_stdout(), None)?;
    Ok(())
}
