//! Texts with and without edits, and measurements of the difference.
//!
//! Both models are compared along the steered text. Knows edits and autoencoders; how edits were
//! chosen is the business of [`SteeringRecipe`](super::SteeringRecipe).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use saescope_kernels::Matrix;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::Steer;
use super::measure::{Divergence, divergence, losses, perplexity, repetition};
use crate::complete::{Completion, CompletionRequest, complete};
use crate::edit::{DirectionOp, Edit, Op, share};
use crate::error::Result;
use crate::generate::{Prompt, Sampling};
use crate::hook::{Capture, Hook};
use crate::model::{Model, UNEMBED_ROWS};
use crate::sae::{NamedSae, Sae};
use crate::site::Site;
use crate::tokenizer::Tokenizer;

/// The texts to write.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Token ids, at least one.
    pub prompt: &'a [u32],
    /// Lists of edits; one text per seed is written under each.
    pub settings: &'a [&'a [Edit]],
    /// The autoencoders that the edits name.
    pub saes: &'a [&'a NamedSae],
    /// The rule by which tokens are chosen.
    pub sampling: &'a Sampling,
    /// Seeds; one text is written with each.
    pub seeds: &'a [u64],
}

/// A text, and its quality by the plain model's standards.
///
/// Serialises flat: `text`, `tokens`, `seed`, `stopped_by`, `perplexity`, `repetition`.
#[derive(Clone, Debug)]
pub struct Text {
    /// Seed of its random choices.
    pub seed: u64,
    /// The continuation of the prompt.
    pub completion: Completion,
    /// Perplexity of the continuation under the model without edits; none without tokens.
    pub perplexity: Option<f64>,
    /// Share of its 3-grams of tokens that occurred before in it (seq-rep-3 of Welleck et al. 2020).
    pub repetition: Option<f64>,
}

/// A text written under edits, and their effect. Plain and steered model are compared along the
/// prompt and this text.
///
/// Serialises flat: the fields of its [`Text`], then `kl` and `reverse_kl` (means), `kl_per_token`,
/// `reverse_kl_per_token`, `shift` (site to share), `raw` and `unchanged`.
#[derive(Clone, Debug)]
pub struct Steered {
    /// The text.
    pub text: Text,
    /// Divergence of the plain model at each position from which a token of the text was chosen; for
    /// an empty text, at the last position of the prompt.
    pub divergences: Vec<Divergence>,
    /// Shift of each site with an edit.
    pub shifts: Vec<Shift>,
    /// For each edit, the multiple of its direction that it added: the mean over the tokens in its span.
    pub raw: Vec<f64>,
    /// True if the output of the final norm has every bit that it has without edits.
    pub unchanged: bool,
}

/// Distance by which edits moved the activations at a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The site.
    pub site: Site,
    /// Mean of `|after - before| / |before|` over the tokens in the span of an edit there.
    pub share: f64,
    /// Mean of `|before|` over the same tokens.
    pub norm: f64,
}

/// Texts without and with edits.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Texts of the plain model, one per seed.
    pub plain: Vec<Text>,
    /// Texts under edits: for each setting, one per seed.
    pub steered: Vec<Vec<Steered>>,
}

/// The strongest effect that a setting had on any of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No bit of the logits changed.
    Nothing,
    /// Logits changed, but no token of a text did.
    Logits,
    /// A text differs from the plain one.
    Text,
}

impl Comparison {
    /// The effect of each setting.
    pub fn effects(&self) -> impl Iterator<Item = Effect> {
        self.steered.iter().map(|texts| {
            let mut pairs = texts.iter().zip(&self.plain);
            if texts.iter().all(|text| text.unchanged) {
                Effect::Nothing
            } else if pairs.all(|(s, p)| s.text.completion.tokens == p.completion.tokens) {
                Effect::Logits
            } else {
                Effect::Text
            }
        })
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = serializer.serialize_struct("Text", 6)?;
        text.serialize_field("text", &self.completion.text)?;
        text.serialize_field("tokens", &self.completion.tokens)?;
        text.serialize_field("seed", &self.seed)?;
        text.serialize_field("stopped_by", self.completion.ended_by.name())?;
        text.serialize_field("perplexity", &self.perplexity)?;
        text.serialize_field("repetition", &self.repetition)?;
        text.end()
    }
}

impl Serialize for Steered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            #[serde(flatten)]
            text: &'a Text,
            kl: f64,
            reverse_kl: f64,
            kl_per_token: Vec<f64>,
            reverse_kl_per_token: Vec<f64>,
            shift: BTreeMap<String, f64>,
            raw: &'a [f64],
            unchanged: bool,
        }
        let mean = self.mean();
        let divergences = self.divergences.iter();
        let shifts = self.shifts.iter();
        let flat = Flat {
            text: &self.text,
            kl: mean.kl,
            reverse_kl: mean.reverse_kl,
            kl_per_token: divergences.clone().map(|d| d.kl).collect(),
            reverse_kl_per_token: divergences.map(|d| d.reverse_kl).collect(),
            shift: shifts.map(|s| (s.site.to_string(), s.share)).collect(),
            raw: &self.raw,
            unchanged: self.unchanged,
        };
        flat.serialize(serializer)
    }
}

impl Steered {
    /// Mean of the divergences.
    pub fn mean(&self) -> Divergence {
        let n = self.divergences.len().max(1) as f64;
        let sum = |part: fn(&Divergence) -> f64| self.divergences.iter().map(part).sum::<f64>() / n;
        Divergence {
            kl: sum(|d| d.kl),
            reverse_kl: sum(|d| d.reverse_kl),
        }
    }
}

/// Continues a prompt without edits and under each setting, with each seed.
///
/// # Errors
/// When the model lacks a site, an edit does not fit the model, or a text does not fit the context.
pub fn steer(model: &Model, tokenizer: &Tokenizer, request: &Request) -> Result<Comparison> {
    for edit in request.settings.iter().copied().flatten() {
        model.check_site(edit.site)?;
    }
    let prompt = request.prompt;
    let write = |hook: &mut dyn Hook| {
        let prompts: Vec<Prompt> = request
            .seeds
            .iter()
            .map(|&seed| Prompt {
                tokens: prompt.to_vec(),
                seed,
            })
            .collect();
        let mut go_on = |_: usize, _: &str| ControlFlow::Continue(());
        let texts = CompletionRequest {
            prompts: &prompts,
            sampling: request.sampling,
            stops: &[],
        };
        complete(model, tokenizer, texts, hook, &mut go_on)
    };
    let mut plain = Vec::with_capacity(request.seeds.len());
    for (&seed, completion) in request.seeds.iter().zip(write(&mut ())?) {
        let read = ReadTokens::new(prompt, &completion);
        let choices = read.choices(&final_norm(model, &read.tokens)?);
        let mut all = Vec::new();
        for (block, tokens) in blocks(choices.rows(), &completion.tokens) {
            all.extend(losses(&model.project(&choices.select_rows(&block)), tokens));
        }
        plain.push(text(seed, completion, &all));
    }
    let mut steered = Vec::with_capacity(request.settings.len());
    for &edits in request.settings {
        let mut hook = Steer::new(edits, request.saes)?;
        let mut texts = Vec::with_capacity(request.seeds.len());
        for (&seed, completion) in request.seeds.iter().zip(write(&mut hook)?) {
            texts.push(measured(model, request, edits, seed, completion)?);
        }
        steered.push(texts);
    }
    Ok(Comparison { plain, steered })
}

/// The tokens that a model has read when it chooses the last token of a text.
struct ReadTokens {
    tokens: Vec<u32>,
    prompt: usize,
}

impl ReadTokens {
    fn new(prompt: &[u32], completion: &Completion) -> ReadTokens {
        let written = completion.tokens.len().saturating_sub(1);
        ReadTokens {
            tokens: [prompt, &completion.tokens[..written]].concat(),
            prompt: prompt.len(),
        }
    }

    /// The rows of `normed`, `[tokens, d_model]`, from which the tokens of the text were chosen.
    fn choices(&self, normed: &Matrix) -> Matrix {
        let rows: Vec<usize> = (self.prompt.max(1) - 1..normed.rows()).collect();
        normed.select_rows(&rows)
    }
}

/// The plain model's output of the final norm: `[tokens, d_model]`.
fn final_norm(model: &Model, tokens: &[u32]) -> Result<Matrix> {
    let mut capture = Capture::new([Site::FinalNorm]);
    model.run(&[tokens], &mut capture)?;
    capture.take(Site::FinalNorm)
}

/// Row numbers in blocks, each with the tokens that were chosen from its rows.
///
/// A block is unembedded at once: with a large vocabulary, the logits of a whole long text are too large.
fn blocks(rows: usize, tokens: &[u32]) -> impl Iterator<Item = (Vec<usize>, &[u32])> {
    (0..rows).step_by(UNEMBED_ROWS).map(move |start| {
        let block = start..rows.min(start + UNEMBED_ROWS);
        let chosen = start.min(tokens.len())..block.end.min(tokens.len());
        (block.collect(), &tokens[chosen])
    })
}

fn text(seed: u64, completion: Completion, losses: &[f64]) -> Text {
    Text {
        seed,
        perplexity: perplexity(losses),
        repetition: repetition(&completion.tokens, 3),
        completion,
    }
}

/// Compares the plain with the steered model along a steered text.
fn measured(
    model: &Model,
    request: &Request,
    edits: &[Edit],
    seed: u64,
    completion: Completion,
) -> Result<Steered> {
    let read = ReadTokens::new(request.prompt, &completion);
    let pass = SteeredPass::along(model, &read.tokens, edits, request.saes)?;
    let plain = final_norm(model, &read.tokens)?;
    let plain_choices = read.choices(&plain);
    let steered_choices = read.choices(&pass.normed);
    let (mut divergences, mut all) = (Vec::new(), Vec::new());
    for (block, tokens) in blocks(plain_choices.rows(), &completion.tokens) {
        let logits = |normed: &Matrix| model.project(&normed.select_rows(&block)); // [block, d_vocab]
        let plain = logits(&plain_choices);
        divergences.extend(divergence(&plain, &logits(&steered_choices)));
        all.extend(losses(&plain, tokens));
    }
    let mut shifts: Vec<Shift> = Vec::new();
    let mut raw = Vec::with_capacity(edits.len());
    for edit in edits {
        if shifts.iter().all(|shift| shift.site != edit.site) {
            shifts.push(pass.shift(edits, edit.site));
        }
        raw.push(pass.added(edit, sae_of(edit, request.saes))?);
    }
    Ok(Steered {
        divergences,
        text: text(seed, completion, &all),
        shifts,
        raw,
        unchanged: plain == pass.normed,
    })
}

/// The autoencoder whose feature an edit changes.
fn sae_of<'a>(edit: &Edit, saes: &[&'a NamedSae]) -> Option<&'a Sae> {
    NamedSae::find(saes, edit.sae()?)
}

/// Activations of a pass under edits, `[tokens, d]` each.
struct SteeredPass {
    /// At the sites with edits before the edits, and at the sites where transcoders read.
    before: BTreeMap<Site, Matrix>,
    /// At the sites with edits after them.
    after: BTreeMap<Site, Matrix>,
    /// Output of the final norm: `[tokens, d_model]`.
    normed: Matrix,
}

impl SteeredPass {
    fn along(
        model: &Model,
        tokens: &[u32],
        edits: &[Edit],
        saes: &[&NamedSae],
    ) -> Result<SteeredPass> {
        let sites: BTreeSet<Site> = edits.iter().map(|edit| edit.site).collect();
        let mut read = sites.clone();
        for sae in edits.iter().filter_map(|edit| sae_of(edit, saes)) {
            if sae.is_transcoder() {
                read.insert(sae.site()?);
            }
        }
        let mut before = Capture::new(read.iter().copied());
        let mut after = Capture::new(sites.iter().copied());
        let mut hook = Steer::new(edits, saes)?;
        let mut normed = Capture::new([Site::FinalNorm]);
        let mut hooks = (&mut before, (&mut hook, (&mut after, &mut normed)));
        model.run(&[tokens], &mut hooks)?;
        let taken = |capture: &mut Capture, sites: BTreeSet<Site>| {
            let taken = sites
                .into_iter()
                .map(|site| Ok((site, capture.take(site)?)));
            taken.collect::<Result<BTreeMap<Site, Matrix>>>()
        };
        Ok(SteeredPass {
            before: taken(&mut before, read)?,
            after: taken(&mut after, sites)?,
            normed: normed.take(Site::FinalNorm)?,
        })
    }

    /// Shift of a site, over the rows in the span of an edit there.
    fn shift(&self, edits: &[Edit], site: Site) -> Shift {
        let (before, after) = (&self.before[&site], &self.after[&site]);
        let edited = |position: &usize| {
            let mut here = edits.iter().filter(|edit| edit.site == site);
            here.any(|edit| edit.span.contains(*position))
        };
        let length =
            |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let (mut shares, mut norms) = (Vec::new(), Vec::new());
        for position in (0..before.rows()).filter(edited) {
            let (x, y) = (before.row(position), after.row(position));
            let norm = length(&mut x.iter().copied());
            let moved = length(&mut x.iter().zip(y).map(|(x, y)| y - x));
            norms.push(norm);
            if norm > 0.0 {
                shares.push(moved / norm);
            }
        }
        Shift {
            site,
            share: mean(&shares),
            norm: mean(&norms),
        }
    }

    /// The multiple of its direction that an edit added: the mean over the tokens in its span.
    fn added(&self, edit: &Edit, sae: Option<&Sae>) -> Result<f64> {
        let read = match sae {
            Some(sae) if sae.is_transcoder() => sae.site()?,
            _ => edit.site,
        };
        let x = &self.before[&read];
        let rows: Vec<usize> = (0..x.rows())
            .filter(|row| edit.span.contains(*row))
            .collect();
        let x = x.select_rows(&rows);
        let encoded = sae.map(|sae| sae.encode(&x)).transpose()?;
        let added = (0..x.rows()).map(|row| {
            f64::from(match &edit.op {
                Op::Direction(DirectionOp::Add {
                    direction,
                    scale,
                    unit,
                }) => scale * unit.size(x.row(row), direction),
                Op::Direction(DirectionOp::Ablate { direction }) => -share(x.row(row), direction),
                Op::Feature { feature, op, .. } => encoded.as_ref().map_or(0.0, |encoded| {
                    let activation = encoded.features.value(row, *feature);
                    (op.apply(activation) - activation) * encoded.written_scale(row)
                }),
            })
        });
        Ok(mean(&added.collect::<Vec<f64>>()))
    }
}

/// The mean of some numbers, 0 if there are none.
fn mean(values: &[f64]) -> f64 {
    // The sum of no numbers is -0.0.
    (0.0 + values.iter().sum::<f64>()) / values.len().max(1) as f64
}
