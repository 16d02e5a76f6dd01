//! `saescope feature`

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use saescope::edit::Edit;
use saescope::features::{self, Effect, Intervention, Probe, Role, Shift};
use saescope::tokenizer::Tokenizer;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::model::{finite, last_of};
use crate::args::sae::{OpenedSae, Origin, PromptsArgs, SaeArgs, encode, lines, slices};
use crate::print::painted;
use crate::print::{self, Align, Cell, Table, cut, printable, visible};
use crate::usage::usage;
use saescope::session::{Edits, LanguageModel};

/// Show what one feature is, and what it does on texts
///
/// By its weights: the tokens whose logits its direction raises and lowers, through the final norm's
/// gain; norms; features of a like direction. On texts: how the next token's distribution changes
/// when the feature is ablated, doubled, or injected at every token, all else staying as it is.
#[derive(clap::Args)]
#[command(override_usage = "saescope feature [OPTIONS] [SAE] <N>")]
#[command(after_help = "\
Examples:
  saescope feature tests/data/sae 1 --top 5
  saescope feature tests/data/sae 1 -p \"Lily was\" -p \"Once upon a time\" --top 3
  saescope feature tests/data/sae 1 -p \"Lily was\" --inject 10 --json
  saescope feature demo 1 --texts demo/stories.txt --examples 3
")]
pub(crate) struct Args {
    #[command(flatten)]
    sae: SaeArgs,
    /// The feature, from 0
    #[arg(value_name = "N")]
    feature: Option<u32>,
    #[command(flatten)]
    prompts: PromptsArgs,
    #[command(flatten)]
    edits: EditsArgs,
    /// A file with a text on each line: show those that activate the feature most, coloured by it
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// How many of them
    #[arg(long, value_name = "K", default_value_t = 5, requires = "texts")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    examples: u32,
    /// The activation that is injected [default: that of the text's strongest feature at its end]
    #[arg(long, value_name = "ACTIVATION", value_parser = finite)]
    inject: Option<f32>,
    /// How many tokens and features in each list
    #[arg(long, value_name = "K", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    origin: &'a Origin,
    #[serde(skip_serializing_if = "<[Edit]>::is_empty")]
    edits: &'a [Edit],
    feature: u32,
    encoder_norm: f32,
    decoder_norm: f32,
    encoder_bias: f32,
    cosine: Option<f32>,
    promotes: Vec<Token>,
    suppresses: Vec<Token>,
    nearest: Vec<Near>,
    prompts: Vec<OnPrompt<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strongest: Vec<Example>,
}

/// Where a text activates the feature most.
#[derive(Serialize)]
struct Example {
    /// Number of the text.
    text: usize,
    position: usize,
    activation: f32,
    /// The tokens around.
    around: Vec<Piece>,
    /// Whether the text begins before them, and goes on behind them.
    #[serde(skip)]
    more: (bool, bool),
}

#[derive(Serialize)]
struct Piece {
    text: String,
    /// Of its tokens.
    activations: Vec<f32>,
}

#[derive(Serialize)]
struct Token {
    token: u32,
    piece: String,
    effect: f32,
}

#[derive(Serialize)]
struct Near {
    feature: u32,
    cosine: f32,
}

#[derive(Serialize)]
struct OnPrompt<'a> {
    prompt: &'a str,
    tokens: Vec<String>,
    activations: &'a [f32],
    written_scale: f32,
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    intervention: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<f32>,
    kl: f64,
    risers: Vec<Moved>,
    fallers: Vec<Moved>,
}

#[derive(Serialize)]
struct Moved {
    token: u32,
    piece: String,
    before: f32,
    after: f32,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let feature = last_of(&mut args.sae.sae.sae, args.feature, "number of a feature");
    let given = args.prompts.read_any()?;
    if args.inject.is_some() && given.is_empty() {
        usage!("--inject: there is no text to inject it into; give one with -p");
    }
    let opened = args.sae.open()?;
    let ids = encode(&opened.lm, Some(&opened.sae), &given)?;
    let LanguageModel {
        model, tokenizer, ..
    } = &opened.lm;
    let (sae, origin) = (&opened.sae.sae, &opened.origin);
    let top = args.top as usize;
    let role = features::role(model, sae, feature, top)?;
    let edits = args.edits.open(&opened.lm)?;
    let probe = Probe {
        feature,
        inject: args.inject,
        top,
    };
    let effects = features::effects(model, sae, &slices(&ids), probe, &mut edits.hook()?)?;
    let prompts = given.iter().zip(&ids).zip(&effects);
    let prompts = prompts.map(|((prompt, ids), effect)| OnPrompt {
        prompt,
        tokens: tokenizer.token_texts(ids),
        activations: &effect.activations,
        written_scale: effect.written_scale,
        changes: changes(tokenizer, effect),
    });
    let made = (origin, &edits.edits[..]);
    let mut record = record(made, &role, tokenizer, prompts.collect());
    record.strongest = args.examples((&opened, &edits), feature)?;
    if args.json {
        return print::json(&record);
    }
    print(&record, &mut print::styled_stdout())
}

impl Args {
    /// The texts of the file that activate the feature most, each around its strongest token.
    fn examples(
        &self,
        (opened, edits): (&OpenedSae, &Edits),
        feature: u32,
    ) -> anyhow::Result<Vec<Example>> {
        let Some(file) = &self.texts else {
            return Ok(Vec::new());
        };
        let LanguageModel {
            model, tokenizer, ..
        } = &opened.lm;
        let sae = &opened.sae.sae;
        let context = model.config().n_ctx;
        let context = sae.record().context.map_or(context, |c| c.min(context));
        let mut ids = Vec::new();
        for text in lines(file)? {
            let mut tokens = tokenizer.encode(&text, self.sae.load.bos.bos())?;
            tokens.truncate(context);
            ids.push(tokens);
        }
        let activations =
            features::activations(model, sae, &slices(&ids), feature, &mut edits.hook()?)?;
        let moments = features::strongest_texts(&activations, self.examples as usize);
        let example = |moment: &features::Moment| {
            let (ids, activations) = (&ids[moment.text], &activations[moment.text]);
            let first = usize::from(tokenizer.bos() == Some(ids[0]));
            let shown = around(moment.position, first..ids.len());
            let pieces = tokenizer.readable_pieces(ids).into_iter();
            let pieces =
                pieces.filter(|p| p.tokens.start >= shown.start && p.tokens.end <= shown.end);
            Example {
                text: moment.text,
                position: moment.position,
                activation: moment.activation,
                more: (shown.start > first, shown.end < ids.len()),
                around: pieces
                    .map(|p| Piece {
                        activations: activations[p.tokens].to_vec(),
                        text: p.text,
                    })
                    .collect(),
            }
        };
        Ok(moments.iter().map(example).collect())
    }
}

/// The tokens of `text` that are shown around one.
fn around(position: usize, text: Range<usize>) -> Range<usize> {
    /// About a line.
    const BEFORE: usize = 24;
    const AFTER: usize = 12;
    position.saturating_sub(BEFORE).max(text.start)..(position + 1 + AFTER).min(text.end)
}

fn record<'a>(
    (origin, edits): (&'a Origin, &'a [Edit]),
    role: &Role,
    tokenizer: &Tokenizer,
    prompts: Vec<OnPrompt<'a>>,
) -> Record<'a> {
    let tokens = |list: &[(u32, f32)]| {
        let token = |&(token, effect): &(u32, f32)| Token {
            token,
            piece: tokenizer.token_text(token),
            effect,
        };
        list.iter().map(token).collect()
    };
    let near = |&(feature, cosine): &(u32, f32)| Near { feature, cosine };
    Record {
        origin,
        edits,
        feature: role.feature,
        encoder_norm: role.encoder_norm,
        decoder_norm: role.decoder_norm,
        encoder_bias: role.encoder_bias,
        cosine: role.cosine,
        promotes: tokens(&role.promotes),
        suppresses: tokens(&role.suppresses),
        nearest: role.nearest.iter().map(near).collect(),
        prompts,
        strongest: Vec::new(),
    }
}

fn changes(tokenizer: &Tokenizer, effect: &Effect) -> Vec<Change> {
    let moved = |shifts: &[Shift]| {
        let moved = |shift: &Shift| Moved {
            token: shift.token,
            piece: tokenizer.token_text(shift.token),
            before: shift.before,
            after: shift.after,
        };
        shifts.iter().map(moved).collect()
    };
    let change = |change: &features::Changed| {
        let (intervention, activation) = match change.intervention {
            Intervention::Ablated => ("ablated", None),
            Intervention::Doubled => ("doubled", None),
            Intervention::Injected(activation) => ("injected", Some(activation)),
        };
        Change {
            intervention,
            activation,
            kl: change.kl,
            risers: moved(&change.risers),
            fallers: moved(&change.fallers),
        }
    };
    effect.changes.iter().map(change).collect()
}

/// Longer pieces and texts are cut.
const PIECE_WIDTH: usize = 16;
const TEXT_WIDTH: usize = 60;

fn print(record: &Record, out: &mut impl Write) -> anyhow::Result<()> {
    let cosine = record
        .cosine
        .map_or(String::new(), |cosine| format!(", cosine {cosine:.3}"));
    writeln!(
        out,
        "feature {} at {} of {}\nnorms: encoder {:.3}, decoder {:.3}{cosine}; encoder bias {:.3}\n",
        record.feature,
        record.origin.site,
        record.origin.model,
        record.encoder_norm,
        record.decoder_norm,
        record.encoder_bias
    )?;
    lists(record).write(out, None)?;
    if !record.strongest.is_empty() {
        writeln!(out, "\nstrongest on")?;
    }
    for example in &record.strongest {
        let mut line = String::new();
        for piece in &example.around {
            let strongest = record.strongest[0].activation;
            line += &painted(&printable(&piece.text), &piece.activations, strongest);
        }
        let [before, after] =
            <[bool; 2]>::from(example.more).map(|more| if more { "…" } else { "" });
        writeln!(out, "{:>5.2}  {before}{line}{after}", example.activation)?;
    }
    for prompt in &record.prompts {
        writeln!(out, "\n{}", cut(&printable(prompt.prompt), TEXT_WIDTH))?;
        writeln!(out, "active: {}", activations(prompt))?;
        moves(prompt).write(out, None)?;
    }
    Ok(())
}

/// Promoted and suppressed tokens and near features, side by side.
fn lists(record: &Record) -> Table {
    let mut table = Table::new(vec![
        Align::Left,
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
    ]);
    table.header([
        "promotes",
        "logit",
        "suppresses",
        "logit",
        "nearest",
        "cosine",
    ]);
    let rows = [&record.promotes, &record.suppresses].map(Vec::len);
    let rows = rows
        .into_iter()
        .max()
        .unwrap_or(0)
        .max(record.nearest.len());
    for at in 0..rows {
        let mut cells: Vec<Cell> = Vec::new();
        for list in [&record.promotes, &record.suppresses] {
            let (piece, effect) = list.get(at).map_or_else(Default::default, |token| {
                let piece = cut(&visible(&token.piece), PIECE_WIDTH);
                (piece, format!("{:+.3}", token.effect))
            });
            cells.extend([piece.into(), effect.into()]);
        }
        let (feature, cosine) = record
            .nearest
            .get(at)
            .map_or_else(Default::default, |near| {
                (near.feature.to_string(), format!("{:.3}", near.cosine))
            });
        cells.extend([feature.into(), cosine.into()]);
        table.row(cells);
    }
    table
}

fn activations(prompt: &OnPrompt) -> String {
    let active = prompt.tokens.iter().zip(prompt.activations).enumerate();
    let active = active.filter(|(_, (_, activation))| **activation > 0.0);
    let active = active.map(|(position, (token, activation))| {
        format!("{} (position {position}) {activation:.2}", visible(token))
    });
    let active: Vec<String> = active.collect();
    match active.is_empty() {
        true => "nowhere, so that only injecting it changes anything".to_owned(),
        false => active.join(", "),
    }
}

/// What each intervention does to the next token.
fn moves(prompt: &OnPrompt) -> Table {
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left, Align::Left]);
    table.header(["feature", "KL (nats)", "likelier next", "less likely next"]);
    for change in &prompt.changes {
        let name = match change.activation {
            Some(activation) => format!("{} {activation:.2}", change.intervention),
            None => change.intervention.to_owned(),
        };
        let list = |moved: &[Moved]| {
            let moved = moved.iter().map(|m| {
                let piece = cut(&visible(&m.piece), PIECE_WIDTH);
                let (before, after) = (m.before * 100.0, m.after * 100.0);
                format!("{piece} {before:.1}→{after:.1}%")
            });
            moved.collect::<Vec<_>>().join(", ")
        };
        table.row(vec![
            name.into(),
            format!("{:.4}", change.kl).into(),
            list(&change.risers).into(),
            list(&change.fallers).into(),
        ]);
    }
    table
}
