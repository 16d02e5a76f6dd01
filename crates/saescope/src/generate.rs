//! Continuing prompts token by token. Knows token ids only, no text.

use std::ops::ControlFlow;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::{Cache, Model};

/// How the next token is chosen. The filters apply in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides positive and multiplies negative logits of tokens seen before; 1 for none
    /// (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// Divides the logits; 0 takes the most likely token, the lowest id among equals.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the fewest tokens that together reach this probability (Holtzman et al. 2020).
    pub top_p: Option<f32>,
    /// Keeps tokens at least this probable relative to the most likely one (Nguyen et al. 2024).
    pub min_p: Option<f32>,
    /// Most tokens of a continuation.
    pub max_tokens: usize,
    /// Tokens that end a continuation and are not part of it.
    pub end: Vec<u32>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            repetition_penalty: 1.0,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            max_tokens: 64,
            end: Vec::new(),
        }
    }
}

/// What is to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, at least one.
    pub tokens: Vec<u32>,
    /// Seed of its own random choices, so that a prompt continues alike alone and among others.
    pub seed: u64,
}

/// A continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// Why it ends.
    pub stopped_by: StoppedBy,
}

/// Why a continuation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// It is as long as it may be.
    Length,
    /// The model produced a token of [`Sampling::end`].
    EndToken,
    /// The caller asked to stop.
    Caller,
}

/// Continues every prompt. `on_token` receives the number of a prompt and its next token as it is
/// chosen, and may end that continuation; the token is part of it all the same.
///
/// Edits see absolute positions and the cache keeps edited keys and values, so that the tokens are
/// those that recomputing everything at every step would give.
///
/// # Errors
/// When a prompt and its continuation do not fit the context, a setting makes no sense, or `hook`
/// fails.
pub fn generate(
    model: &Model,
    prompts: &[Prompt],
    sampling: &Sampling,
    hook: &mut dyn Hook,
    on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>> {
    sampling.check()?;
    let longest = prompts
        .iter()
        .map(|prompt| prompt.tokens.len())
        .max()
        .unwrap_or(0);
    // The last token is chosen but never read.
    let capacity = longest + sampling.max_tokens.saturating_sub(1);
    let mut cache = Cache::new(model.config(), prompts.len(), capacity)?;
    let mut runs: Vec<Run> = prompts.iter().map(Run::new).collect();
    let mut active: Vec<usize> = if sampling.max_tokens == 0 {
        Vec::new()
    } else {
        (0..runs.len()).collect()
    };
    while !active.is_empty() {
        let batch: Vec<(usize, &[u32])> = active
            .iter()
            .map(|&i| (i, &runs[i].tokens[cache.len(i)..]))
            .collect();
        let mut logits = model.extend(&mut cache, &batch, hook)?; // [active, d_vocab]
        let mut row = 0;
        let mut failed = None;
        active.retain(|&i| {
            let going = runs[i].step(logits.row_mut(row), sampling, &mut |token| {
                on_token(i, token)
            });
            row += 1;
            going.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(runs.into_iter().map(Run::finish).collect())
}

impl Sampling {
    fn check(&self) -> Result<()> {
        let fraction = |p: Option<f32>| p.is_none_or(|p| (0.0..=1.0).contains(&p));
        let wrong = if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            format!("temperature {} is not a number from 0 up", self.temperature)
        } else if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            format!(
                "repetition penalty {} is not above 0",
                self.repetition_penalty
            )
        } else if self.top_k == Some(0) {
            "top-k 0 leaves no token to choose".to_owned()
        } else if !fraction(self.top_p) || !fraction(self.min_p) {
            "top-p and min-p are shares from 0 to 1".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Argument(wrong))
    }

    /// Chooses a token by its logits, which are overwritten.
    fn choose(&self, logits: &mut [f32], seen: &[u32], rng: &mut ChaCha8Rng) -> Result<u32> {
        if let Some(token) = logits.iter().position(|logit| logit.is_nan()) {
            let what = format!("the logit of token {token}");
            return Err(Error::Overflow { what });
        }
        self.penalise(logits, seen);
        if self.temperature == 0.0 {
            return Ok(most_likely(logits));
        }
        let mut choices = self.filter(logits);
        let total: f64 = choices.iter().map(|(_, p)| p).sum();
        // 53 random bits: a uniform number in 0..1.
        let mut point = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        let (last, _) = choices.pop().unwrap_or((most_likely(logits), 1.0));
        for (token, probability) in choices {
            if point < probability {
                return Ok(token);
            }
            point -= probability;
        }
        Ok(last)
    }

    fn penalise(&self, logits: &mut [f32], seen: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 {
                *logit / self.repetition_penalty
            } else {
                *logit * self.repetition_penalty
            };
        }
    }

    /// The tokens that may be chosen with their weights, most likely first.
    fn filter(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let largest = f64::from(logits[most_likely(logits) as usize]);
        let weight =
            |logit: f32| ((f64::from(logit) - largest) / f64::from(self.temperature)).exp();
        let weights = logits.iter().map(|&logit| weight(logit));
        let mut choices: Vec<(u32, f64)> = (0..).zip(weights).collect();
        let by_weight = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let Some(k) = self.top_k.filter(|&k| k < choices.len()) {
            choices.select_nth_unstable_by(k, by_weight);
            choices.truncate(k);
        }
        choices.sort_unstable_by(by_weight);
        if let Some(top_p) = self.top_p {
            let total: f64 = choices.iter().map(|(_, p)| p).sum();
            let mut reached = 0.0;
            let needed = choices.iter().take_while(|(_, p)| {
                let short = reached < f64::from(top_p) * total;
                reached += p;
                short
            });
            let needed = needed.count().max(1);
            choices.truncate(needed);
        }
        if let Some(min_p) = self.min_p {
            let most = choices[0].1;
            choices.retain(|(_, p)| *p >= f64::from(min_p) * most);
        }
        choices
    }
}

/// The token with the largest logit, the lowest id among equals.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

/// A continuation under way.
struct Run {
    /// The prompt and what was chosen so far.
    tokens: Vec<u32>,
    prompt_len: usize,
    rng: ChaCha8Rng,
    stopped_by: StoppedBy,
}

impl Run {
    fn new(prompt: &Prompt) -> Run {
        Run {
            tokens: prompt.tokens.clone(),
            prompt_len: prompt.tokens.len(),
            rng: ChaCha8Rng::seed_from_u64(prompt.seed),
            stopped_by: StoppedBy::Length,
        }
    }

    /// Chooses the next token; whether another is wanted.
    fn step(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<bool> {
        let token = sampling.choose(logits, &self.tokens, &mut self.rng)?;
        if sampling.end.contains(&token) {
            self.stopped_by = StoppedBy::EndToken;
            return Ok(false);
        }
        self.tokens.push(token);
        if on_token(token).is_break() {
            self.stopped_by = StoppedBy::Caller;
            return Ok(false);
        }
        Ok(self.tokens.len() - self.prompt_len < sampling.max_tokens)
    }

    fn finish(self) -> Generated {
        let tokens = self.tokens[self.prompt_len..].to_vec();
        Generated {
            tokens,
            stopped_by: self.stopped_by,
        }
    }
}
