//! The arguments of sampling, shared by all commands that generate.

use saescope::generate::Sampling;

use crate::args::model::at_least_one;

#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Largest number of tokens to generate
    #[arg(
        short = 'n',
        long = "max-tokens",
        value_name = "N",
        default_value_t = 64
    )]
    pub(crate) max_tokens: usize,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = not_negative)]
    pub(crate) temperature: f32,
    /// Choose among the K likeliest tokens only
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    top_k: Option<usize>,
    /// Choose among the likeliest tokens that together reach the probability P
    #[arg(long, value_name = "P", value_parser = share)]
    top_p: Option<f32>,
    /// Choose among tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", value_parser = share)]
    min_p: Option<f32>,
    /// Divide positive logits of tokens that occurred before by R, and multiply negative ones with it; above
    /// 1 discourages repetition
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = positive)]
    repetition_penalty: f32,
    /// Seed of the random choices; the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

impl SamplingArgs {
    /// The sampling that the arguments describe; `end` are the tokens that end a text.
    pub(crate) fn sampling(&self, end: &[u32]) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            max_tokens: self.max_tokens,
            end: end.to_vec(),
        }
    }
}

fn number(text: &str, expected: &str, holds: impl Fn(f32) -> bool) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| format!("expected {expected}"))?;
    if number.is_finite() && holds(number) {
        Ok(number)
    } else {
        Err(format!("expected {expected}"))
    }
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, "a number of at least 0", |n| n >= 0.0)
}

fn positive(text: &str) -> Result<f32, String> {
    number(text, "a number above 0", |n| n > 0.0)
}

fn share(text: &str) -> Result<f32, String> {
    number(text, "a probability between 0 and 1", |n| {
        (0.0..=1.0).contains(&n)
    })
}
