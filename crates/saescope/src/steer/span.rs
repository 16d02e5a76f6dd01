//! Positions of a text, some of which depend on the length of its prompt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::edit::Span;
use crate::error::{Error, Result};

/// Token positions, absolute or relative to the prompt; written as `all`, `prompt`, `generated`, `N..` or
/// `N,M,…`.
///
/// The default is `1..`, every position but the first: there the activations of many models are ten or
/// a hundred times as long as elsewhere, and every later token attends to it (Xiao et al. 2023, Sun et
/// al. 2024), so that edits there mostly damage the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RelativeSpan {
    /// The tokens of the prompt.
    Prompt,
    /// The tokens after the prompt.
    Generated,
    /// Positions that do not depend on the prompt.
    Absolute(Span),
}

impl RelativeSpan {
    /// The positions in a text whose prompt has `prompt` tokens.
    pub fn of(&self, prompt: usize) -> Span {
        match self {
            RelativeSpan::Prompt => Span::Only((0..prompt).collect()),
            RelativeSpan::Generated => Span::From(prompt),
            RelativeSpan::Absolute(span) => span.clone(),
        }
    }
}

impl Default for RelativeSpan {
    fn default() -> RelativeSpan {
        RelativeSpan::Absolute(Span::From(1))
    }
}

impl fmt::Display for RelativeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelativeSpan::Prompt => f.write_str("prompt"),
            RelativeSpan::Generated => f.write_str("generated"),
            RelativeSpan::Absolute(Span::All) => f.write_str("all"),
            RelativeSpan::Absolute(Span::From(first)) => write!(f, "{first}.."),
            RelativeSpan::Absolute(Span::Only(positions)) => {
                let positions: Vec<String> = positions.iter().map(usize::to_string).collect();
                f.write_str(&positions.join(","))
            }
        }
    }
}

impl FromStr for RelativeSpan {
    type Err = Error;

    fn from_str(text: &str) -> Result<RelativeSpan> {
        let number = |number: &str| {
            number.parse::<usize>().map_err(|_| {
                let message =
                    format!("unknown span `{text}`; use all, prompt, generated, N.. or N,M,…");
                Error::Argument(message)
            })
        };
        Ok(match text {
            "all" => RelativeSpan::Absolute(Span::All),
            "prompt" => RelativeSpan::Prompt,
            "generated" => RelativeSpan::Generated,
            _ => RelativeSpan::Absolute(match text.strip_suffix("..") {
                Some(first) => Span::From(number(first)?),
                None => Span::Only(text.split(',').map(number).collect::<Result<_>>()?),
            }),
        })
    }
}

impl TryFrom<String> for RelativeSpan {
    type Error = Error;

    fn try_from(text: String) -> Result<RelativeSpan> {
        text.parse()
    }
}

impl From<RelativeSpan> for String {
    fn from(span: RelativeSpan) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_parsed_as_it_is_printed() {
        for text in ["all", "prompt", "generated", "0..", "5..", "3", "3,7"] {
            let span: RelativeSpan = text.parse().unwrap();
            assert_eq!(span.to_string(), text);
            let json = serde_json::to_string(&span).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<RelativeSpan>(&json).unwrap(), span);
        }
        for text in ["", "3-5", "..", "..3", "1,", "-1", "first"] {
            let refused = text.parse::<RelativeSpan>();
            assert!(
                matches!(refused, Err(Error::Argument(_))),
                "{text}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_default_span_omits_the_first_position_only() {
        for prompt in [1, 4] {
            let span = RelativeSpan::default().of(prompt);
            assert!(!span.contains(0));
            assert!((1..9).all(|position| span.contains(position)));
        }
    }

    #[test]
    fn prompt_and_generated_share_no_position_and_omit_none() {
        for prompt in [1, 4] {
            let [before, after] =
                [RelativeSpan::Prompt, RelativeSpan::Generated].map(|span| span.of(prompt));
            for position in 0..9 {
                assert_eq!(before.contains(position), position < prompt);
                assert_eq!(after.contains(position), position >= prompt);
            }
        }
    }
}
