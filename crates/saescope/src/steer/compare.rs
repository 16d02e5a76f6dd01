//! A text with and without edits, and what the edits did.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use saescope_kernels::Matrix;

use super::measure::{Divergence, divergence, losses, perplexity, repetition};
use super::{Saes, Steer};
use crate::complete::{Completion, CompletionRequest, complete};
use crate::edit::{DirectionOp, Edit, Op, share};
use crate::error::Result;
use crate::generate::{Prompt, Sampling};
use crate::hook::{Capture, Hook};
use crate::model::{Model, UNEMBED_ROWS};
use crate::sae::Sae;
use crate::site::Site;
use crate::tokenizer::Tokenizer;

/// What is to be written.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Token ids, at least one.
    pub prompt: &'a [u32],
    /// One text is written under each of these lists of edits.
    pub settings: &'a [Vec<Edit>],
    /// The autoencoders that the edits name.
    pub saes: &'a Saes<'a>,
    /// How tokens are chosen.
    pub sampling: &'a Sampling,
    /// One text is written with each of these.
    pub seeds: &'a [u64],
}

/// A text, and how good it is by the plain model's standards.
#[derive(Clone, Debug)]
pub struct Text {
    /// Seed of its random choices.
    pub seed: u64,
    /// What was written behind the prompt.
    pub completion: Completion,
    /// Perplexity of its tokens, behind the prompt, under the model without edits; none without tokens.
    pub perplexity: Option<f64>,
    /// Share of its 3-grams of tokens that occurred before in it (seq-rep-3 of Welleck et al. 2020).
    pub repetition: Option<f64>,
}

/// A text written under edits, and what they did. Plain and steered model are compared along the
/// prompt and this text.
#[derive(Clone, Debug)]
pub struct Steered {
    /// The text.
    pub text: Text,
    /// How far the plain model's distribution is from each of the distributions from which the text's
    /// tokens were chosen, or, without a text, from that behind the prompt.
    pub divergences: Vec<Divergence>,
    /// For each site with an edit how far its rows moved.
    pub shifts: Vec<Shift>,
    /// For each edit the multiple of its direction that it added to a token, on the average of the
    /// tokens in its span.
    pub raw: Vec<f64>,
    /// Whether not a single bit changed of what the logits are made from, behind the final norm.
    pub unchanged: bool,
}

/// How far the rows of a site moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Where.
    pub site: Site,
    /// `|after - before| / |before|` on the average of the tokens in an edit's span.
    pub share: f64,
    /// `|before|` on the same average.
    pub norm: f64,
}

/// Texts without and with edits.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One per seed.
    pub plain: Vec<Text>,
    /// For each setting one per seed.
    pub steered: Vec<Vec<Steered>>,
}

impl Steered {
    /// The mean of its divergences.
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
/// When the model lacks a site, an edit does not fit it, or what is written does not fit the context.
pub fn steer(both: (&Model, &Tokenizer), request: &Request) -> Result<Comparison> {
    let (model, tokenizer) = both;
    for edit in request.settings.iter().flatten() {
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
        let read = Read::new(prompt, &completion);
        let choices = read.choices(&final_norm(model, &read.tokens)?);
        let mut all = Vec::new();
        for (block, tokens) in blocks(choices.rows(), &completion.tokens) {
            all.extend(losses(&model.project(&choices.select_rows(&block)), tokens));
        }
        plain.push(text(seed, completion, &all));
    }
    let mut steered = Vec::with_capacity(request.settings.len());
    for edits in request.settings {
        let mut hook = Steer::new(edits, request.saes)?;
        let mut texts = Vec::with_capacity(request.seeds.len());
        for (&seed, completion) in request.seeds.iter().zip(write(&mut hook)?) {
            texts.push(measured(model, request, edits, seed, completion)?);
        }
        steered.push(texts);
    }
    Ok(Comparison { plain, steered })
}

/// What a model has read when it has chosen a text's last token.
struct Read {
    tokens: Vec<u32>,
    prompt: usize,
}

impl Read {
    fn new(prompt: &[u32], completion: &Completion) -> Read {
        let written = completion.tokens.len().saturating_sub(1);
        Read {
            tokens: [prompt, &completion.tokens[..written]].concat(),
            prompt: prompt.len(),
        }
    }

    /// Of the rows behind every token those from which the text's tokens were chosen.
    fn choices(&self, normed: &Matrix) -> Matrix {
        let rows: Vec<usize> = (self.prompt.max(1) - 1..normed.rows()).collect();
        normed.select_rows(&rows)
    }
}

/// What the plain model's logits are made from: `[tokens, d_model]`.
fn final_norm(model: &Model, tokens: &[u32]) -> Result<Matrix> {
    let mut capture = Capture::new([Site::FinalNorm]);
    model.run(&[tokens], &mut capture)?;
    capture.take(Site::FinalNorm)
}

/// The numbers of so many rows in blocks that are unembedded at once, since the logits of a long text
/// are large where the vocabulary is, and the tokens that were chosen from the rows of each.
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
    let read = Read::new(request.prompt, &completion);
    let tokens: &[u32] = &read.tokens;
    let seen = Seen::along(model, tokens, edits, request.saes)?;
    let plain = final_norm(model, tokens)?;
    let choices = (read.choices(&plain), read.choices(&seen.normed));
    let (mut divergences, mut all) = (Vec::new(), Vec::new());
    for (block, tokens) in blocks(choices.0.rows(), &completion.tokens) {
        let logits = |normed: &Matrix| model.project(&normed.select_rows(&block)); // [block, d_vocab]
        let plain = logits(&choices.0);
        divergences.extend(divergence(&plain, &logits(&choices.1)));
        all.extend(losses(&plain, tokens));
    }
    let mut shifts: Vec<Shift> = Vec::new();
    let mut raw = Vec::with_capacity(edits.len());
    for edit in edits {
        if shifts.iter().all(|shift| shift.site != edit.site) {
            shifts.push(seen.shift(edits, edit.site));
        }
        raw.push(seen.added(edit, sae_of(edit, request.saes))?);
    }
    Ok(Steered {
        divergences,
        text: text(seed, completion, &all),
        shifts,
        raw,
        unchanged: plain == seen.normed,
    })
}

/// The autoencoder whose feature an edit changes.
fn sae_of<'a>(edit: &Edit, saes: &Saes<'a>) -> Option<&'a Sae> {
    let name = edit.sae()?;
    let found = saes.iter().find(|(known, _)| *known == name);
    found.map(|(_, sae)| *sae)
}

/// What a steered pass went through.
struct Seen {
    /// Activations as they came to the sites with edits, and to those where autoencoders read.
    before: BTreeMap<Site, Matrix>,
    /// Activations as they left the sites with edits.
    after: BTreeMap<Site, Matrix>,
    /// What the logits are made from: `[tokens, d_model]`.
    normed: Matrix,
}

impl Seen {
    fn along(model: &Model, tokens: &[u32], edits: &[Edit], saes: &Saes) -> Result<Seen> {
        let sites: BTreeSet<Site> = edits.iter().map(|edit| edit.site).collect();
        let transcoders = edits.iter().filter_map(|edit| sae_of(edit, saes));
        let transcoders = transcoders.filter(|sae| sae.is_transcoder());
        let mut read = sites.clone();
        for transcoder in transcoders {
            read.insert(transcoder.site()?);
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
        Ok(Seen {
            before: taken(&mut before, read)?,
            after: taken(&mut after, sites)?,
            normed: normed.take(Site::FinalNorm)?,
        })
    }

    /// How far the rows of a site moved that lie in the span of an edit there.
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

    /// The multiple of its direction that an edit added, on the average of the tokens in its span.
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

/// 0 of nothing.
fn mean(values: &[f64]) -> f64 {
    // The sum of no numbers is -0.
    (0.0 + values.iter().sum::<f64>()) / values.len().max(1) as f64
}
