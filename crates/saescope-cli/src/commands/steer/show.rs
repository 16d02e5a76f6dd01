//! What `steer` prints.

use std::collections::BTreeMap;
use std::io::{self, Write};

use saescope::edit::{DirectionOp, Edit, FeatureOp, Op, Unit};
use saescope::show::number::{brief, whole_percent};
use saescope::steer::{Comparison, Divergence, Steered, Text};
use serde::Serialize;

use super::Args;
use super::setting::{Activation, Setting, Slot};
use crate::print::{self, Align, Table, cut, side_by_side, visible};

pub(super) struct Report<'a> {
    pub(super) args: &'a Args,
    pub(super) model: &'a str,
    pub(super) sae: Option<&'a str>,
    pub(super) prompt: &'a str,
    pub(super) tokens: &'a [u32],
    pub(super) activations: &'a [Activation],
    pub(super) settings: &'a [Setting],
    pub(super) comparison: &'a Comparison,
}

/// What `--json` prints: the names `plain`, `steered`, `text`, `edits` and `kl` are a contract.
#[derive(Serialize)]
struct Record<'a> {
    plain: PlainRecord<'a>,
    steered: Vec<SteeredRecord<'a>>,
}

#[derive(Serialize)]
struct PlainRecord<'a> {
    #[serde(flatten)]
    text: TextRecord<'a>,
    model: &'a str,
    sae: Option<&'a str>,
    dtype: &'static str,
    bos: &'static str,
    prompt: &'a str,
    prompt_tokens: &'a [u32],
    temperature: f32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    activations: &'a [Activation],
    /// Every text, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<TextRecord<'a>>,
}

#[derive(Serialize)]
struct TextRecord<'a> {
    text: &'a str,
    tokens: &'a [u32],
    seed: u64,
    stopped_by: &'static str,
    perplexity: Option<f64>,
    repetition: Option<f64>,
}

#[derive(Serialize)]
struct SteeredRecord<'a> {
    edits: &'a [Edit],
    #[serde(flatten)]
    text: TextRecord<'a>,
    kl: f64,
    reverse_kl: f64,
    kl_per_token: Vec<f64>,
    reverse_kl_per_token: Vec<f64>,
    /// By site, the share of its norm by which it moved.
    shift: BTreeMap<String, f64>,
    /// By edit, the multiple of its direction that it added.
    raw: &'a [f64],
    unchanged: bool,
    features: &'a [u32],
    scale: Option<f32>,
    unit: &'static str,
    slot: Slot,
}

fn text_record(text: &Text) -> TextRecord<'_> {
    TextRecord {
        text: &text.completion.text,
        tokens: &text.completion.tokens,
        seed: text.seed,
        stopped_by: text.completion.ended_by.name(),
        perplexity: text.perplexity,
        repetition: text.repetition,
    }
}

impl Report<'_> {
    /// Says on standard error what a person would otherwise overlook.
    pub(super) fn warn(&self) {
        for (setting, texts) in self.settings.iter().zip(&self.comparison.steered) {
            // Scale 0 stands in a sweep to be the same.
            if setting.scale == Some(0.0) {
                continue;
            }
            let name = self.name(setting);
            let name = if name.is_empty() { "the edits" } else { &name };
            let same = texts.iter().zip(&self.comparison.plain);
            let same = same.filter(|(s, p)| s.text.completion.tokens == p.completion.tokens);
            if texts.iter().all(|text| text.unchanged) {
                eprintln!("warning: {name}: nothing changed, every logit is as it was");
            } else if same.count() == texts.len() && self.args.sampling.max_tokens > 0 {
                let advice = match self.args.asks_for_scale() {
                    true => "; try a larger --scale",
                    false => "",
                };
                eprintln!("warning: {name}: the text is the same{advice}");
            }
        }
    }

    pub(super) fn json(&self) -> anyhow::Result<()> {
        let args = self.args;
        let plain = &self.comparison.plain;
        let several = plain.len() > 1;
        let steered = self.settings.iter().zip(&self.comparison.steered);
        print::json(&Record {
            plain: PlainRecord {
                text: text_record(&plain[0]),
                model: self.model,
                sae: self.sae,
                dtype: args.sae.load.dtype.name(),
                bos: args.sae.load.bos.name(),
                prompt: self.prompt,
                prompt_tokens: self.tokens,
                temperature: args.sampling.temperature,
                activations: self.activations,
                samples: plain.iter().filter(|_| several).map(text_record).collect(),
            },
            steered: steered
                .flat_map(|(setting, texts)| texts.iter().map(|text| self.record(setting, text)))
                .collect(),
        })
    }

    fn record<'a>(&self, setting: &'a Setting, steered: &'a Steered) -> SteeredRecord<'a> {
        let mean = steered.mean();
        let per_token = |part: fn(&Divergence) -> f64| steered.divergences.iter().map(part);
        let shifts = steered.shifts.iter();
        SteeredRecord {
            edits: &setting.edits,
            text: text_record(&steered.text),
            kl: mean.kl,
            reverse_kl: mean.reverse_kl,
            kl_per_token: per_token(|d| d.kl).collect(),
            reverse_kl_per_token: per_token(|d| d.reverse_kl).collect(),
            shift: shifts.map(|s| (s.site.to_string(), s.share)).collect(),
            raw: &steered.raw,
            unchanged: steered.unchanged,
            features: &setting.features,
            scale: setting.scale,
            unit: self.args.unit().name(),
            slot: setting.slot,
        }
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut out = print::styled_stdout();
        self.print_activations(&mut out)?;
        if !self.args.ablate && self.args.asks_for_scale() {
            let scale = self.args.scale.map(|scale| format!(", scale {scale}"));
            let unit = self.args.unit().name();
            writeln!(out, "unit {unit}{}", scale.unwrap_or_default())?;
        }
        let one = self.settings.len() == 1;
        for (setting, texts) in self.settings.iter().zip(&self.comparison.steered) {
            self.print_added(&mut out, setting, texts)?;
        }
        writeln!(out)?;
        if one {
            for (plain, steered) in self
                .comparison
                .plain
                .iter()
                .zip(&self.comparison.steered[0])
            {
                self.print_pair(&mut out, plain, steered)?;
            }
        } else {
            self.print_table(&mut out)?;
        }
        Ok(())
    }

    fn print_activations(&self, out: &mut impl Write) -> io::Result<()> {
        for activation in self.activations {
            let Activation {
                feature,
                activation,
                token,
                text,
            } = activation;
            if *activation > 0.0 {
                let activation = brief(f64::from(*activation));
                writeln!(
                    out,
                    "feature {feature}: at most {activation} on {text}, at {token}"
                )?;
            } else {
                writeln!(out, "feature {feature}: never active on {text}")?;
            }
        }
        Ok(())
    }

    /// What each edit of a setting added, in its unit and in raw terms.
    fn print_added(
        &self,
        out: &mut impl Write,
        setting: &Setting,
        texts: &[Steered],
    ) -> io::Result<()> {
        // Each subset adds what the whole set adds, less some.
        if self.args.brief || setting.features.len() < self.args.feature.len() {
            return Ok(());
        }
        let name = self.name(setting);
        for (at, edit) in setting.edits.iter().enumerate() {
            let raw = texts.iter().map(|text| text.raw[at]).sum::<f64>() / texts.len() as f64;
            let label = edit.label.clone().unwrap_or_else(|| "edit".to_owned());
            let what = described(edit, raw);
            let before = if name.is_empty() {
                String::new()
            } else {
                format!("[{name}] ")
            };
            writeln!(out, "{before}{label} at {}: {what}", edit.site)?;
        }
        Ok(())
    }

    /// What tells a setting from the others; nothing when there are none.
    fn name(&self, setting: &Setting) -> String {
        let mut parts = Vec::new();
        if self.args.combinations {
            let features: Vec<String> = setting.features.iter().map(u32::to_string).collect();
            parts.push(features.join("+"));
        }
        if self.args.slot == Slot::Actual {
            let slot = match setting.slot {
                Slot::One => "slot 1",
                Slot::Actual => "slot actual",
            };
            parts.push(slot.to_owned());
        }
        if let (false, Some(scale)) = (self.args.sweep.is_empty(), setting.scale) {
            parts.push(format!("{scale}"));
        }
        parts.join(", ")
    }

    fn print_pair(
        &self,
        out: &mut impl Write,
        plain: &Text,
        steered: &Steered,
    ) -> anyhow::Result<()> {
        let width = print::terminal_width().unwrap_or(100).max(40);
        let whole = |text: &Text| format!("{}{}", self.prompt, text.completion.text);
        let heads = ("plain", format!("steered (seed {})", plain.seed));
        let texts = (whole(plain), whole(&steered.text));
        side_by_side(out, width, (heads.0, &heads.1), (&texts.0, &texts.1))?;
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

    fn print_table(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut columns = vec![Align::Right; 6];
        columns[0] = Align::Left;
        columns[5] = Align::Left;
        let mut table = Table::new(columns);
        table.header(["setting", "KL", "shift", "perplexity", "repetition", "text"]);
        let shown = |text: &Text| {
            let text = visible(&text.completion.text);
            match print::terminal_width() {
                // The other columns take about half a line.
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
        for (setting, texts) in self.settings.iter().zip(&self.comparison.steered) {
            for steered in texts {
                let shift = steered.shifts.iter().map(|shift| shift.share);
                let mut cells = vec![
                    self.name(setting).into(),
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

/// An edit in its own unit and in raw terms.
fn described(edit: &Edit, raw: f64) -> String {
    let norm = |direction: &[f32]| {
        let squares = direction.iter().map(|&x| f64::from(x).powi(2));
        squares.sum::<f64>().sqrt()
    };
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
