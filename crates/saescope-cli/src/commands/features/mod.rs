//! `saescope features`

use std::io::Write as _;
use std::path::PathBuf;

use saescope::features::{self, FeatureTrace, Position, PromptFeatures, Reading, TopFeatures};
use saescope::session::Edits;
use saescope::show::picture::{Stretch, picture};
use saescope::show::text::one_line;
use saescope::tokenizer::Piece;
use unicode_width::UnicodeWidthStr as _;

use crate::args::edits::EditsArgs;
use crate::args::output::{Written, check_output, save_svg};
use crate::args::pooling::FirstArg;
use crate::args::sae::{Encoded, OpenedSae, PromptsArgs, SaeArgs, encode, slices};
use crate::print::{self, Align, Cell, Table, cut, visible};

/// Show which features of an autoencoder a text activates
///
/// One row per text: its strongest features at the last token, each with its activation. With --feature,
/// the whole text, coloured by the activation of that one feature on each token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope features tests/data/sae -p \"Once upon a time\" -p \"Lily was sad\" --top 5
  saescope features tests/data/sae -p \"Tim saw a big dog.\" --position all --top 3
  saescope features tests/data/sae --prompts tests/data/happy.txt --top 3
  saescope features tests/data/sae -p \"She was very happy\" --feature 87 --plot happy.svg
  saescope features tests/data/sae -p \"Once upon a time\" --top 10 --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    #[command(flatten)]
    texts: PromptsArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// Number of features to show, the strongest first
    #[arg(long, value_name = "K", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Tokens to read: `last`, `all`, a position from 0, or one row of each feature's `max` or `mean`
    #[arg(long, value_name = "WHICH", default_value_t = Position::default())]
    position: Position,
    #[command(flatten)]
    first: FirstArg,
    /// Colour the texts by this feature
    #[arg(long, value_name = "N", conflicts_with_all = ["position", "top", "first"])]
    feature: Option<u32>,
    /// Draw the coloured texts as an SVG
    #[arg(long, value_name = "FILE", requires = "feature")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The texts, their ids and the text of every token.
struct Texts {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    tokens: Vec<Vec<String>>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        check_output(path, Written::Svg)?;
    }
    let prompts = args.texts.read()?;
    let opened = args.sae.open()?;
    let Encoded { texts, ids } = encode(&opened.lm, Some(&opened.sae), &prompts)?;
    let texts = Texts {
        tokens: ids
            .iter()
            .map(|ids| opened.lm.tokenizer.token_texts(ids))
            .collect(),
        texts,
        ids,
    };
    let (model, sae) = (&opened.lm.model, &opened.sae.sae);
    let edits = args.edits.open(&opened.lm)?;
    print::warnings(edits.check_read_at(model, sae.site()?).as_ref());
    if let Some(feature) = args.feature {
        return one(args, &opened, &edits, feature, &texts);
    }
    let reading = Reading {
        position: args.position,
        count_first: args
            .first
            .counts(matches!(args.position, Position::Pooled(pooling) if pooling.omits_first()))?,
    };
    let top = args.top as usize;
    let found = features::features(
        model,
        sae,
        &slices(&texts.ids),
        reading,
        top,
        &mut edits.hook()?,
    )?;
    let row = |found: TopFeatures| {
        let (prompt, tokens) = (&texts.texts[found.prompt], &texts.tokens[found.prompt]);
        PromptFeatures::new(found, args.position, prompt, tokens)
    };
    let rows: Vec<PromptFeatures> = found.into_iter().map(row).collect();
    if args.json {
        return print::json(&rows);
    }
    table(args, &rows).write(&mut print::styled_stdout(), print::terminal_width())?;
    Ok(())
}

fn table(args: &Args, rows: &[PromptFeatures]) -> Table {
    /// Columns to which texts are cut, so that the features stay beside them.
    const TEXT_WIDTH: usize = 40;
    let most = rows.iter().map(|row| row.features.len()).max().unwrap_or(0);
    let mut columns = vec![Align::Left, Align::Right, Align::Left];
    columns.extend(vec![Align::Right; most]);
    let mut table = Table::new(columns);
    let ranks = (1..=most).map(|rank| format!("{rank}."));
    let names = ["text", "position", "token"].map(str::to_owned);
    table.header(names.into_iter().chain(ranks));
    let mut before = None;
    for row in rows {
        // A text with a row for every position is shown once.
        let again = args.position == Position::All && before == Some(row.prompt);
        before = Some(row.prompt);
        let text = if again {
            String::new()
        } else {
            cut(&one_line(row.prompt), TEXT_WIDTH)
        };
        let mut cells: Vec<Cell> = vec![
            text.into(),
            row.position.to_string().into(),
            row.token.map_or(String::new(), visible).into(),
        ];
        let features = row.features.iter();
        cells.extend(features.map(|f| format!("{} {:.2}", f.feature, f.activation).into()));
        table.row(cells);
    }
    table
}

/// The readable pieces of a text, for a picture.
fn stretches<'a>(opened: &OpenedSae, ids: &[u32], activations: &'a [f32]) -> Vec<Stretch<'a>> {
    let pieces = opened.lm.tokenizer.readable_pieces(ids).into_iter();
    let stretch = |piece: Piece| {
        let text = one_line(&piece.text);
        Stretch {
            columns: text.width(),
            text,
            activations: &activations[piece.tokens],
        }
    };
    pieces.map(stretch).collect()
}

/// Prints the texts, coloured by one feature.
fn one(
    args: &Args,
    opened: &OpenedSae,
    edits: &Edits,
    feature: u32,
    texts: &Texts,
) -> anyhow::Result<()> {
    let (model, sae) = (&opened.lm.model, &opened.sae.sae);
    let ids = &texts.ids;
    let activations = features::activations(model, sae, &slices(ids), feature, &mut edits.hook()?)?;
    let strongest = activations.iter().flatten().copied().fold(0.0, f32::max);
    if let Some(path) = &args.plot {
        let stretches: Vec<Vec<Stretch>> = ids
            .iter()
            .zip(&activations)
            .map(|(ids, activations)| stretches(opened, ids, activations))
            .collect();
        let title = format!("feature {feature}, strongest {strongest:.2}");
        let svg = picture(&title, &stretches, strongest);
        save_svg(path, &svg, args.json)?;
    }
    if args.json {
        let all = texts.texts.iter().zip(&texts.tokens).zip(&activations);
        let traces: Vec<FeatureTrace> = all
            .map(|((prompt, tokens), activations)| {
                FeatureTrace::new(prompt, feature, tokens, activations)
            })
            .collect();
        return print::json(&traces);
    }
    let mut out = print::styled_stdout();
    for (ids, activations) in ids.iter().zip(&activations) {
        for piece in opened.lm.tokenizer.readable_pieces(ids) {
            let values = &activations[piece.tokens.clone()];
            out.painted(&piece.text, values, strongest)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "feature {feature}, strongest {strongest:.2}")?;
    Ok(())
}
