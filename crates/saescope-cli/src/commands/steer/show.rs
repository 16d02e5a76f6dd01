//! The output of `steer`.

use std::io::{self, Write};

use saescope::edit::{DirectionOp, Edit, FeatureOp, Op, Unit};
use saescope::norm;
use saescope::origin::Origin;
use saescope::show::number::{brief, whole_percent};
use saescope::steer::{
    Comparison, LargestActivation, ScaleUnit, Setting, SettingName, Steered, Text, setting_names,
};
use serde::Serialize;

use super::Args;
use crate::print::{self, Align, Table, Terminal, cut, side_by_side, visible};

pub(super) struct Output<'a> {
    pub(super) args: &'a Args,
    pub(super) unit: ScaleUnit,
    pub(super) origin: Origin,
    pub(super) prompt: &'a str,
    pub(super) tokens: &'a [u32],
    pub(super) activations: &'a [LargestActivation],
    pub(super) settings: &'a [Setting],
    pub(super) comparison: &'a Comparison,
}

/// The JSON of a call; other programs rely on the names `plain`, `steered`, `text`, `edits` and `kl`.
#[derive(Serialize)]
struct SteerReport<'a> {
    plain: PlainReport<'a>,
    steered: Vec<SteeredReport<'a>>,
}

#[derive(Serialize)]
struct PlainReport<'a> {
    #[serde(flatten)]
    text: &'a Text,
    #[serde(flatten)]
    origin: &'a Origin,
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    temperature: f32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    activations: &'a [LargestActivation],
    /// Every text, if there are several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    samples: &'a [Text],
}

#[derive(Serialize)]
struct SteeredReport<'a> {
    edits: &'a [Edit],
    #[serde(flatten)]
    steered: &'a Steered,
    #[serde(flatten)]
    setting: &'a SettingName,
}

impl Output<'_> {
    pub(super) fn json(&self) -> anyhow::Result<()> {
        let args = self.args;
        let plain = &self.comparison.plain;
        let mut steered = Vec::new();
        for (setting, texts) in self.settings.iter().zip(&self.comparison.steered) {
            steered.extend(texts.iter().map(|steered| SteeredReport {
                edits: &setting.edits,
                steered,
                setting: &setting.name,
            }));
        }
        print::json(&SteerReport {
            plain: PlainReport {
                text: &plain[0],
                origin: &self.origin,
                prompt: self.prompt,
                prompt_tokens: self.tokens,
                temperature: args.sampling.temperature,
                activations: self.activations,
                samples: if plain.len() > 1 { plain } else { &[] },
            },
            steered,
        })
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut out = print::styled_stdout();
        self.print_activations(&mut out)?;
        if !self.args.ablate && self.args.has_scale() {
            let scale = self.args.scale.map(|scale| format!(", scale {scale}"));
            writeln!(out, "unit {}{}", self.unit, scale.unwrap_or_default())?;
        }
        let names = setting_names(self.settings);
        let settings = self.settings.iter().zip(&self.comparison.steered);
        for ((setting, texts), name) in settings.zip(&names) {
            self.print_added(&mut out, name, setting, texts)?;
        }
        writeln!(out)?;
        let Comparison { plain, steered } = self.comparison;
        let [texts] = steered.as_slice() else {
            return self.print_table(&mut out, &names);
        };
        for (plain, steered) in plain.iter().zip(texts) {
            self.print_pair(&mut out, plain, steered)?;
        }
        Ok(())
    }

    fn print_activations(&self, out: &mut impl Write) -> io::Result<()> {
        for activation in self.activations {
            let LargestActivation {
                feature,
                activation,
                token,
                text,
            } = activation;
            if *activation > 0.0 {
                let activation = brief(f64::from(*activation));
                writeln!(
                    out,
                    "feature {feature}: at most {activation} on {text}, at {}",
                    visible(token)
                )?;
            } else {
                writeln!(out, "feature {feature}: never active on {text}")?;
            }
        }
        Ok(())
    }

    /// Prints what each edit of a setting added, in its unit and in raw terms.
    fn print_added(
        &self,
        out: &mut impl Write,
        name: &str,
        setting: &Setting,
        texts: &[Steered],
    ) -> io::Result<()> {
        // The lines of a subset are among those of the whole set.
        if self.args.brief || setting.name.features.len() < self.args.feature.len() {
            return Ok(());
        }
        for (at, edit) in setting.edits.iter().enumerate() {
            let raw = texts.iter().map(|text| text.raw[at]).sum::<f64>() / texts.len() as f64;
            let label = edit.label.clone().unwrap_or_else(|| "edit".to_owned());
            let effect = described(edit, raw);
            let before = if name.is_empty() {
                String::new()
            } else {
                format!("[{name}] ")
            };
            writeln!(out, "{before}{label} at {}: {effect}", edit.site)?;
        }
        Ok(())
    }

    fn print_pair(
        &self,
        out: &mut Terminal<impl Write>,
        plain: &Text,
        steered: &Steered,
    ) -> anyhow::Result<()> {
        let width = print::terminal_width().unwrap_or(100).max(40);
        let whole = |text: &Text| format!("{}{}", self.prompt, text.completion.text);
        let head = format!("steered (seed {})", plain.seed);
        let texts = (whole(plain), whole(&steered.text));
        side_by_side(out, width, ("plain", &head), (&texts.0, &texts.1))?;
        writeln!(out)?;
        let mut table = Table::new(vec![Align::Left, Align::Right, Align::Right]);
        table.header(["", "plain", "steered"]);
        let mut row = |name: &str, plain: String, steered: String| {
            table.row(vec![name.into(), plain.into(), steered.into()]);
        };
        let tokens = |text: &Text| text.completion.tokens.len().to_string();
        row("tokens", tokens(plain), tokens(&steered.text));
        let perplexity = |text: &Text| text.perplexity.map_or("-".to_owned(), brief);
        row("perplexity", perplexity(plain), perplexity(&steered.text));
        let repetition = |text: &Text| text.repetition.map_or("-".to_owned(), whole_percent);
        row("repetition", repetition(plain), repetition(&steered.text));
        let mean = steered.mean();
        row("KL(steered || plain)", String::new(), brief(mean.kl));
        row(
            "KL(plain || steered)",
            String::new(),
            brief(mean.reverse_kl),
        );
        for shift in &steered.shifts {
            row(
                &format!("shift of {}", shift.site),
                String::new(),
                whole_percent(shift.share),
            );
        }
        table.write(out, None)?;
        Ok(())
    }

    fn print_table(&self, out: &mut Terminal<impl Write>, names: &[String]) -> anyhow::Result<()> {
        let mut columns = vec![Align::Right; 6];
        columns[0] = Align::Left;
        columns[5] = Align::Left;
        let mut table = Table::new(columns);
        table.header(["setting", "KL", "shift", "perplexity", "repetition", "text"]);
        let shown = |text: &Text| {
            let text = visible(&text.completion.text);
            match print::terminal_width() {
                // Half a line is left by the other columns.
                Some(width) => cut(&text, width.saturating_sub(52).max(24)),
                None => text,
            }
        };
        let quality = |text: &Text| {
            [
                text.perplexity.map_or("-".to_owned(), brief),
                text.repetition.map_or("-".to_owned(), whole_percent),
                shown(text),
            ]
        };
        for text in &self.comparison.plain {
            let mut cells = vec!["plain".into(), "".into(), "".into()];
            cells.extend(quality(text).map(Into::into));
            table.row(cells);
        }
        for (name, texts) in names.iter().zip(&self.comparison.steered) {
            for steered in texts {
                let shift = steered.shifts.iter().map(|shift| shift.share);
                let mut cells = vec![
                    name.as_str().into(),
                    brief(steered.mean().kl).into(),
                    whole_percent(shift.fold(0.0, f64::max)).into(),
                ];
                cells.extend(quality(&steered.text).map(Into::into));
                table.row(cells);
            }
        }
        table.write(out, None)?;
        Ok(())
    }
}

/// An edit in its own unit, and as the multiple `raw` of its direction.
fn described(edit: &Edit, raw: f64) -> String {
    match &edit.op {
        Op::Direction(DirectionOp::Add {
            direction,
            scale,
            unit,
        }) => {
            let scale = match unit {
                Unit::Raw => String::new(),
                Unit::Std => format!("{} std, ", brief(f64::from(*scale))),
                Unit::Norm => format!("{} norm, ", brief(f64::from(*scale))),
            };
            let (raw, norm) = (brief(raw), brief(norm(direction)));
            format!("{scale}adds {raw} x its direction, of norm {norm}")
        }
        Op::Direction(DirectionOp::Ablate { .. }) => {
            format!("ablates its direction, adds {} x it", brief(raw))
        }
        Op::Feature {
            op: FeatureOp::Set(activation),
            ..
        } => {
            let activation = brief(f64::from(*activation));
            format!(
                "activation {activation}, adds {} x its direction",
                brief(raw)
            )
        }
        Op::Feature {
            op: FeatureOp::Multiply(factor),
            ..
        } => {
            let factor = brief(f64::from(*factor));
            format!("activation x {factor}, adds {} x its direction", brief(raw))
        }
    }
}
