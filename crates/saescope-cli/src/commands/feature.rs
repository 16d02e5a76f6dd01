//! `saescope feature`

use std::io::Write;
use std::path::PathBuf;

use saescope::features::{
    self, CutTexts, Example, FeatureEffect, Intervention, LogitEffect, Probe, Role, TokenShift,
};
use saescope::origin::Origin;
use saescope::session::{Edits, LanguageModel};
use saescope::show::text::one_line;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::model::{finite, last_of};
use crate::args::sae::{Encoded, OpenedSae, PromptsArgs, SaeArgs, encode, lines, slices};
use crate::print::{self, Align, Cell, Table, Terminal, cut, visible};
use crate::usage::usage;

/// Show the role of one feature, and its effect on texts
///
/// Its role, by its weights: the tokens whose logits its direction raises and lowers, through the final
/// norm's gain; norms; features with similar directions. Its effect on texts: how the next token's
/// distribution changes when the feature alone is ablated, doubled, or injected at every token.
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
    /// A file with one text per line: show those that activate the feature most, coloured by it
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Number of such texts to show
    #[arg(long, value_name = "K", default_value_t = 5, requires = "texts")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    examples: u32,
    /// The activation to inject [default: that of the strongest feature at the text's last token]
    #[arg(long, value_name = "ACTIVATION", value_parser = finite)]
    inject: Option<f32>,
    /// Number of tokens and features in each list
    #[arg(long, value_name = "K", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output of `--json`.
#[derive(Serialize)]
struct FeatureReport<'a> {
    #[serde(flatten)]
    origin: Origin,
    #[serde(flatten)]
    role: Role,
    prompts: Vec<PromptEffect<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strongest: Vec<Example>,
}

/// The effect of the feature on one text.
#[derive(Serialize)]
struct PromptEffect<'a> {
    prompt: &'a str,
    tokens: Vec<String>,
    #[serde(flatten)]
    effect: FeatureEffect,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let feature = last_of(&mut args.sae.sae.sae, args.feature, "number of a feature");
    let given = args.prompts.read_any()?;
    if args.inject.is_some() && given.is_empty() {
        usage!("--inject: there is no text to inject it into; give one with -p");
    }
    let opened = args.sae.open()?;
    let Encoded { texts, ids } = encode(&opened.lm, Some(&opened.sae), &given)?;
    let LanguageModel {
        model, tokenizer, ..
    } = &opened.lm;
    let (sae, origin) = (&opened.sae.sae, &opened.origin);
    let top = args.top as usize;
    let role = features::role(model, tokenizer, sae, feature, top)?;
    let edits = args.edits.open(&opened.lm)?;
    print::warnings(edits.check_read_at(model, sae.site()?).as_ref());
    let probe = Probe {
        feature,
        inject: args.inject,
        top,
    };
    let mut hook = edits.hook()?;
    let effects = features::effects(model, tokenizer, sae, &slices(&ids), probe, &mut hook)?;
    let report = FeatureReport {
        origin: Origin {
            edits: edits.edits.clone(),
            ..origin.clone()
        },
        role,
        prompts: texts
            .iter()
            .zip(&ids)
            .zip(effects)
            .map(|((prompt, ids), effect)| PromptEffect {
                prompt,
                tokens: tokenizer.token_texts(ids),
                effect,
            })
            .collect(),
        strongest: args.examples(&opened, &edits, feature)?,
    };
    if args.json {
        return print::json(&report);
    }
    print(&report, &mut print::styled_stdout())
}

impl Args {
    /// The texts of the file that activate the feature most, each around its strongest token.
    fn examples(
        &self,
        opened: &OpenedSae,
        edits: &Edits,
        feature: u32,
    ) -> anyhow::Result<Vec<Example>> {
        let Some(file) = &self.texts else {
            return Ok(Vec::new());
        };
        let LanguageModel {
            model, tokenizer, ..
        } = &opened.lm;
        let sae = &opened.sae.sae;
        let texts = lines("--texts", file)?;
        let cut = CutTexts::encode(model, tokenizer, sae, &texts, opened.lm.bos)?;
        print::warnings(&opened.sae.check_cut(&opened.lm, &texts, &cut));
        let ids = slices(&cut.ids);
        let activations = features::activations(model, sae, &ids, feature, &mut edits.hook()?)?;
        let top = self.examples as usize;
        Ok(features::examples(tokenizer, &ids, &activations, top))
    }
}

/// Columns to which pieces and texts are cut.
const PIECE_WIDTH: usize = 16;
const TEXT_WIDTH: usize = 60;

fn print(report: &FeatureReport, out: &mut Terminal<impl Write>) -> anyhow::Result<()> {
    let (origin, role) = (&report.origin, &report.role);
    let cosine = role
        .cosine
        .map_or(String::new(), |cosine| format!(", cosine {cosine:.3}"));
    writeln!(
        out,
        "feature {} at {} of {}\nnorms: encoder {:.3}, decoder {:.3}{cosine}; encoder bias {:.3}\n",
        role.feature,
        origin
            .site
            .map_or_else(String::new, |site| site.to_string()),
        origin.model,
        role.encoder_norm,
        role.decoder_norm,
        role.encoder_bias
    )?;
    lists(role).write(out, None)?;
    if !report.strongest.is_empty() {
        writeln!(out, "\nstrongest on")?;
    }
    for example in &report.strongest {
        let [before, after] =
            [example.cut_before, example.cut_after].map(|cut| if cut { "…" } else { "" });
        write!(out, "{:>5.2}  {before}", example.activation)?;
        for piece in &example.around {
            let strongest = report.strongest[0].activation;
            out.painted(&piece.text, &piece.activations, strongest)?;
        }
        writeln!(out, "{after}")?;
    }
    for prompt in &report.prompts {
        writeln!(out, "\n{}", cut(&one_line(prompt.prompt), TEXT_WIDTH))?;
        writeln!(out, "active: {}", activations(prompt))?;
        interventions(&prompt.effect).write(out, None)?;
    }
    Ok(())
}

/// Promoted and suppressed tokens and the nearest features, side by side.
fn lists(role: &Role) -> Table {
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
    let tokens = role.promotes.len().max(role.suppresses.len());
    let rows = tokens.max(role.nearest.len());
    for at in 0..rows {
        let mut cells: Vec<Cell> = Vec::new();
        for list in [&role.promotes, &role.suppresses] {
            let cell = |token: &LogitEffect| {
                let piece = cut(&visible(&token.piece), PIECE_WIDTH);
                (piece, format!("{:+.3}", token.effect))
            };
            let (piece, effect) = list.get(at).map(cell).unwrap_or_default();
            cells.extend([piece.into(), effect.into()]);
        }
        let (feature, cosine) = role.nearest.get(at).map_or_else(Default::default, |near| {
            (near.feature.to_string(), format!("{:.3}", near.cosine))
        });
        cells.extend([feature.into(), cosine.into()]);
        table.row(cells);
    }
    table
}

/// The tokens on which the feature is active.
fn activations(prompt: &PromptEffect) -> String {
    let tokens = prompt.tokens.iter().zip(&prompt.effect.activations);
    let active: Vec<String> = tokens
        .enumerate()
        .filter(|(_, (_, activation))| **activation > 0.0)
        .map(|(position, (token, activation))| {
            format!("{} (position {position}) {activation:.2}", visible(token))
        })
        .collect();
    if active.is_empty() {
        "nowhere, so that only injecting the feature changes anything".to_owned()
    } else {
        active.join(", ")
    }
}

/// The effect of each intervention on the next token.
fn interventions(effect: &FeatureEffect) -> Table {
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left, Align::Left]);
    table.header(["feature", "KL (nats)", "likelier next", "less likely next"]);
    for change in &effect.changes {
        let name = match change.intervention {
            Intervention::Ablated => "ablated".to_owned(),
            Intervention::Doubled => "doubled".to_owned(),
            Intervention::Injected(activation) => format!("injected {activation:.2}"),
        };
        let list = |shifts: &[TokenShift]| {
            let shift = |shift: &TokenShift| {
                let piece = cut(&visible(&shift.piece), PIECE_WIDTH);
                let (before, after) = (shift.before * 100.0, shift.after * 100.0);
                format!("{piece} {before:.1}→{after:.1}%")
            };
            shifts.iter().map(shift).collect::<Vec<_>>().join(", ")
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
