//! Generation: continues prompts token by token.
//!
//! Owns sampling and the loop over a cache. Knows token ids only; [`complete`](mod@crate::complete)
//! makes text of them.

use std::ops::ControlFlow;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::hook::Hook;
use crate::model::{Cache, Model};

/// The rule by which the next token is chosen. Its filters apply in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides positive and multiplies negative logits of tokens that occurred before; 1 for none
    /// (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// Divides the logits; 0 takes the most likely token, of equal ones that with the lowest id.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the fewest tokens that together reach this probability (Holtzman et al. 2020).
    pub top_p: Option<f32>,
    /// Keeps tokens at least this probable relative to the most likely one (Nguyen et al. 2024).
    pub min_p: Option<f32>,
    /// Maximum number of tokens of a continuation.
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

/// A text to continue, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, at least one.
    pub tokens: Vec<u32>,
    /// Seed of its random choices. Each prompt has its own, so that it continues in the same way alone
    /// and among others.
    pub seed: u64,
}

/// A continuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// Its tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// The reason why it ends.
    pub stopped_by: StoppedBy,
}

/// The reason why a continuation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// It has [`Sampling::max_tokens`] tokens.
    Length,
    /// The model chose a token of [`Sampling::end`].
    EndToken,
    /// The caller ended it.
    Caller,
}

/// Continues every prompt.
///
/// `on_token` receives the number of a prompt and each token as it is chosen; it may end that
/// continuation, which then includes the token. `hook` sees absolute positions, and the cache keeps
/// edited keys and values, so the tokens are the same as if every step recomputed everything.
///
/// # Errors
/// When a prompt and its continuation do not fit the context, `sampling` holds an invalid value, a logit
/// is not a number, or `hook` fails.
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
    // The model never reads the last token of a continuation.
    let capacity = longest + sampling.max_tokens.saturating_sub(1);
    let mut cache = Cache::new(model.config(), prompts.len(), capacity)?;
    let mut continuations: Vec<Continuation> = prompts.iter().map(Continuation::new).collect();
    let mut active: Vec<usize> = if sampling.max_tokens == 0 {
        Vec::new()
    } else {
        (0..continuations.len()).collect()
    };
    while !active.is_empty() {
        let batch: Vec<(usize, &[u32])> = active
            .iter()
            .map(|&i| (i, &continuations[i].tokens[cache.len(i)..]))
            .collect();
        let mut logits = model.extend(&mut cache, &batch, hook)?; // [active, d_vocab]
        let mut row = 0;
        let mut failed = None;
        active.retain(|&i| {
            let goes_on = continuations[i].step(logits.row_mut(row), sampling, &mut |token| {
                on_token(i, token)
            });
            row += 1;
            goes_on.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(continuations
        .into_iter()
        .map(Continuation::finish)
        .collect())
}

impl Sampling {
    fn check(&self) -> Result<()> {
        let fraction = |p: Option<f32>| p.is_none_or(|p| (0.0..=1.0).contains(&p));
        let wrong = if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            format!(
                "temperature is {}, not a finite number of at least 0",
                self.temperature
            )
        } else if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            format!(
                "repetition_penalty is {}, not a finite number above 0",
                self.repetition_penalty
            )
        } else if self.top_k == Some(0) {
            "top_k is 0, which leaves no token to choose from".to_owned()
        } else if !fraction(self.top_p) || !fraction(self.min_p) {
            "top_p and min_p must be from 0 to 1".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::Argument(wrong))
    }

    /// Chooses a token by `logits`, `[d_vocab]`, which it overwrites; `before` are the tokens so far.
    fn choose(&self, logits: &mut [f32], before: &[u32], rng: &mut ChaCha8Rng) -> Result<u32> {
        if let Some(token) = logits.iter().position(|logit| logit.is_nan()) {
            let what = format!("the logit of token {token}");
            return Err(Error::Overflow { what });
        }
        self.penalise(logits, before);
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

    fn penalise(&self, logits: &mut [f32], before: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut distinct = before.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        for token in distinct {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 {
                *logit / self.repetition_penalty
            } else {
                *logit * self.repetition_penalty
            };
        }
    }

    /// The tokens that pass the filters, with their weights, the most likely first.
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

/// The token with the largest logit; of equal ones that with the lowest id.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

/// A continuation in progress.
struct Continuation {
    /// The prompt and the tokens chosen so far.
    tokens: Vec<u32>,
    prompt_len: usize,
    rng: ChaCha8Rng,
    stopped_by: StoppedBy,
}

impl Continuation {
    fn new(prompt: &Prompt) -> Continuation {
        Continuation {
            tokens: prompt.tokens.clone(),
            prompt_len: prompt.tokens.len(),
            rng: ChaCha8Rng::seed_from_u64(prompt.seed),
            stopped_by: StoppedBy::Length,
        }
    }

    /// Chooses the next token; true if another should follow.
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
