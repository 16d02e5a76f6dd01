//! The lists of edits that the arguments of `steer` ask for.

use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use saescope::checkpoint::Checkpoint;
use saescope::edit::{Document, Edit, Op, Span, Unit};
use saescope::sae::Sae;
use saescope::site::Site;
use saescope::steer::{Amount, Peak, REFERENCE_TEXTS, feature_edit, peaks};
use saescope::vector::Vector;
use serde::Serialize;

use super::Args;
use crate::args::sae::lines;
use crate::print::visible;
use crate::usage::usage;
use saescope::session::LanguageModel;

/// `N` or `N=WEIGHT`.
#[derive(Clone, Copy)]
pub(super) struct FeatureArg {
    pub(super) feature: u32,
    pub(super) weight: f32,
}

impl FromStr for FeatureArg {
    type Err = String;

    fn from_str(text: &str) -> Result<FeatureArg, String> {
        let (feature, weight) = text.split_once('=').unwrap_or((text, "1"));
        let feature = feature.parse().ok();
        let weight = weight.parse().ok().filter(|w: &f32| w.is_finite());
        match (feature, weight) {
            (Some(feature), Some(weight)) => Ok(FeatureArg { feature, weight }),
            _ => Err("expected a feature's number, such as 12 or 12=1.5".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnitArg {
    /// Multiples of the decoder row, or of the vector
    Raw,
    /// What a feature writes when this is its activation, the autoencoder's norm undone
    Activation,
    /// Multiples of the feature's largest activation on the reference text
    Max,
    /// Shares of the token's norm
    Norm,
}

impl UnitArg {
    pub(super) fn name(self) -> &'static str {
        match self {
            UnitArg::Raw => "raw",
            UnitArg::Activation => "activation",
            UnitArg::Max => "max",
            UnitArg::Norm => "norm",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Slot {
    /// 1
    One,
    /// Both 1 and the activation that the feature really has on the reference prompt
    Actual,
}

/// Positions, some of which depend on the prompt.
#[derive(Clone)]
pub(super) enum SpanArg {
    Prompt,
    Generated,
    Fixed(Span),
}

impl FromStr for SpanArg {
    type Err = String;

    fn from_str(text: &str) -> Result<SpanArg, String> {
        let expected = "expected all, prompt, generated, N.. or N,M,…";
        let number = |text: &str| text.parse::<usize>().map_err(|_| expected.to_owned());
        Ok(match text {
            "all" => SpanArg::Fixed(Span::All),
            "prompt" => SpanArg::Prompt,
            "generated" => SpanArg::Generated,
            _ => SpanArg::Fixed(match text.strip_suffix("..") {
                Some(first) => Span::From(number(first)?),
                None => Span::Only(text.split(',').map(number).collect::<Result<_, _>>()?),
            }),
        })
    }
}

impl SpanArg {
    fn of(&self, prompt: usize) -> Span {
        match self {
            SpanArg::Prompt => Span::Only((0..prompt).collect()),
            SpanArg::Generated => Span::From(prompt),
            SpanArg::Fixed(span) => span.clone(),
        }
    }
}

/// A direction from a file.
pub(super) struct Direction {
    file: String,
    site: Site,
    direction: Vec<f32>,
}

/// The directions of a vector's file, of several only that at `wanted`; one without a site, named
/// `vector`, is at `wanted` or else at `recorded`.
pub(super) fn read_vector(
    path: &Path,
    (wanted, recorded): (Option<Site>, Option<Site>),
) -> anyhow::Result<Vec<Direction>> {
    let file = path.display().to_string();
    let checkpoint = Checkpoint::open(path)?;
    let directions = match checkpoint.tensor("vector") {
        Ok(tensor) => {
            let site = wanted
                .or(recorded)
                .with_context(|| format!("{file}: the vector has no site; name it with --site"))?;
            let direction = tensor.to_vec()?;
            tensor.check_finite(&direction, 0)?;
            vec![(site, direction)]
        }
        Err(_) => {
            let vector = Vector::open(path)?;
            vector
                .check_sites(wanted.as_slice())
                .with_context(|| file.clone())?;
            let chosen = |site: &Site| wanted.is_none_or(|wanted| wanted == *site);
            let directions = vector.directions.into_iter();
            directions.filter(|(site, _)| chosen(site)).collect()
        }
    };
    let held = directions.into_iter();
    let held = held.map(|(site, direction)| Direction {
        file: file.clone(),
        site,
        direction,
    });
    Ok(held.collect())
}

/// One list of edits, and what tells it from the others.
pub(super) struct Setting {
    /// Features that are edited.
    pub(super) features: Vec<u32>,
    /// None for what has no scale.
    pub(super) scale: Option<f32>,
    pub(super) slot: Slot,
    pub(super) edits: Vec<Edit>,
}

/// An activation that a setting was made from.
#[derive(Serialize)]
pub(super) struct Activation {
    pub(super) feature: u32,
    pub(super) activation: f32,
    /// The token where it is largest.
    pub(super) token: String,
    /// The text in which it was looked for.
    pub(super) text: String,
}

/// Makes edits of the arguments.
pub(super) struct Builder<'a> {
    args: &'a Args,
    opened: &'a LanguageModel,
    sae: Option<&'a Sae>,
    /// On the reference text, for `--unit max`, feature by feature.
    largest: Vec<Peak>,
    /// On the reference prompt, for `--slot actual`.
    actual: Vec<Peak>,
    activations: Vec<Activation>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        args: &'a Args,
        opened: &'a LanguageModel,
        sae: Option<&'a Sae>,
    ) -> Builder<'a> {
        Builder {
            args,
            opened,
            sae,
            largest: Vec::new(),
            actual: Vec::new(),
            activations: Vec::new(),
        }
    }

    pub(super) fn activations(self) -> Vec<Activation> {
        self.activations
    }

    /// Looks for the activations that the unit and the slot need.
    pub(super) fn find_peaks(&mut self) -> anyhow::Result<()> {
        let args = self.args;
        if self.unit() == UnitArg::Max {
            let (name, texts) = match &args.reference {
                None => {
                    let texts = REFERENCE_TEXTS.lines().map(str::to_owned);
                    ("the built-in text".to_owned(), texts.collect())
                }
                Some(path) => (path.display().to_string(), lines(path)?),
            };
            self.largest = self.peaks(&name, &texts)?;
        }
        if let (Slot::Actual, Some(prompt)) = (args.slot, &args.reference_prompt) {
            self.actual = self.peaks("the reference prompt", std::slice::from_ref(prompt))?;
        }
        Ok(())
    }

    fn peaks(&mut self, name: &str, texts: &[String]) -> anyhow::Result<Vec<Peak>> {
        let Some(sae) = self.sae else {
            return Ok(Vec::new());
        };
        let LanguageModel {
            model, tokenizer, ..
        } = self.opened;
        let longest = sae.record().context.unwrap_or(usize::MAX);
        let longest = longest.min(model.config().n_ctx);
        let mut encoded = Vec::new();
        for text in texts {
            let mut tokens = tokenizer.encode(text, self.args.sae.load.bos.bos())?;
            tokens.truncate(longest);
            encoded.push(tokens);
        }
        let features: Vec<u32> = self.args.feature.iter().map(|f| f.feature).collect();
        let peaks = peaks(model, sae, &encoded, &features)?;
        for peak in &peaks {
            let token = encoded.get(peak.text).and_then(|t| t.get(peak.position));
            let piece = token.map(|&id| tokenizer.token_text(id));
            self.activations.push(Activation {
                feature: peak.feature,
                activation: peak.activation,
                token: piece.map_or(String::new(), |piece| visible(&piece)),
                text: name.to_owned(),
            });
        }
        Ok(peaks)
    }

    pub(super) fn unit(&self) -> UnitArg {
        self.args.unit()
    }

    /// Every combination of features, slot and scale that is asked for.
    pub(super) fn settings(
        &self,
        vectors: &[Direction],
        document: &Document,
        prompt: usize,
    ) -> anyhow::Result<Vec<Setting>> {
        let args = self.args;
        let scales: Vec<Option<f32>> = match args.sweep.as_slice() {
            [] => vec![args.scale],
            scales => scales.iter().copied().map(Some).collect(),
        };
        let slots: &[Slot] = match args.slot {
            Slot::One => &[Slot::One],
            Slot::Actual => &[Slot::One, Slot::Actual],
        };
        let mut settings = Vec::new();
        for features in subsets(&args.feature, args.combinations)? {
            for &slot in slots {
                for &scale in &scales {
                    let mut edits = document.edits.clone();
                    let own = self.edits(&features, vectors, scale, slot)?;
                    let span = args.span.of(prompt);
                    edits.extend(own.into_iter().map(|edit| Edit {
                        span: span.clone(),
                        ..edit
                    }));
                    settings.push(Setting {
                        features: features.iter().map(|f| f.feature).collect(),
                        scale,
                        slot,
                        edits,
                    });
                }
            }
        }
        Ok(settings)
    }

    fn edits(
        &self,
        features: &[FeatureArg],
        vectors: &[Direction],
        scale: Option<f32>,
        slot: Slot,
    ) -> anyhow::Result<Vec<Edit>> {
        let mut edits = Vec::new();
        if let Some(sae) = self.sae {
            for feature in features {
                edits.push(self.feature(sae, *feature, scale, slot)?);
            }
        }
        if vectors.is_empty() {
            return Ok(edits);
        }
        let unit = match self.unit() {
            UnitArg::Raw => Unit::Raw,
            UnitArg::Norm => Unit::Norm,
            unit => usage!("a vector has no {}; its unit is raw or norm", unit.name()),
        };
        for vector in vectors {
            let op = Op::Add {
                direction: vector.direction.clone(),
                scale: scale.unwrap_or(1.0),
                unit,
            };
            edits.push(Edit {
                label: Some(format!("vector {}", vector.file)),
                ..Edit::new(vector.site, op)
            });
        }
        Ok(edits)
    }

    fn feature(
        &self,
        sae: &Sae,
        FeatureArg { feature, weight }: FeatureArg,
        scale: Option<f32>,
        slot: Slot,
    ) -> anyhow::Result<Edit> {
        let of = |peaks: &[Peak]| peaks.iter().find(|peak| peak.feature == feature).copied();
        let actual = of(&self.actual).map_or(0.0, |peak| peak.activation);
        let slot = match slot {
            Slot::One => 1.0,
            Slot::Actual => actual,
        };
        let scale = scale.unwrap_or(1.0) * weight * slot;
        let amount = match self.unit() {
            UnitArg::Raw => Amount::Raw(scale),
            UnitArg::Activation => Amount::Activation(scale),
            UnitArg::Norm => Amount::Norm(scale),
            UnitArg::Max => of(&self.largest)
                .context("no largest activation")?
                .times(scale)?,
        };
        if !self.args.ablate && !self.args.clamp {
            return Ok(feature_edit(sae, feature, amount)?);
        }
        sae.direction(feature)?;
        let activation = match amount {
            _ if self.args.ablate => 0.0,
            Amount::Activation(activation) => activation,
            Amount::Max { multiple, largest } => multiple * largest,
            Amount::Raw(_) | Amount::Norm(_) => usage!(
                "--clamp sets an activation; its unit is activation or max, not {}",
                self.unit().name()
            ),
        };
        let op = Op::Set {
            sae: self.args.sae.reference().to_owned(),
            feature,
            activation,
        };
        Ok(Edit {
            label: Some(format!("feature {feature}")),
            ..Edit::new(sae.out_site()?, op)
        })
    }
}

impl Args {
    /// Whether there is anything that the scale multiplies.
    pub(super) fn asks_for_scale(&self) -> bool {
        !self.feature.is_empty() || !self.vector.is_empty()
    }

    /// What the scale counts.
    pub(super) fn unit(&self) -> UnitArg {
        self.unit.unwrap_or(if self.clamp {
            UnitArg::Activation
        } else {
            UnitArg::Raw
        })
    }
}

/// All features, or each subset of them that has any, smaller ones first.
fn subsets(features: &[FeatureArg], each: bool) -> anyhow::Result<Vec<Vec<FeatureArg>>> {
    const MOST: usize = 6;
    if !each {
        return Ok(vec![features.to_vec()]);
    }
    let n = features.len();
    if n > MOST {
        usage!(
            "--combinations of {n} features are {} texts; give at most {MOST}",
            (1_u128 << n.min(100)) - 1
        );
    }
    let mut masks: Vec<u32> = (1..1 << n).collect();
    // Among subsets of a size, those with the features given first.
    masks.sort_by_key(|mask| (mask.count_ones(), std::cmp::Reverse(mask.reverse_bits())));
    let chosen = |mask: u32| {
        let all = features.iter().enumerate();
        all.filter(move |(i, _)| mask >> i & 1 == 1)
            .map(|(_, f)| *f)
    };
    Ok(masks
        .into_iter()
        .map(|mask| chosen(mask).collect())
        .collect())
}
