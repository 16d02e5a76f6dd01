//! Completion: generation as text.
//!
//! Turns the tokens of [`generate`] into characters as they come, and ends a text at a stop string.
//! Knows no template and no terminal: the caller encodes its prompts and shows the pieces of text.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::error::Result;
use crate::generate::{Prompt, Sampling, StoppedBy, generate};
use crate::hook::Hook;
use crate::model::Model;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// The texts to write.
#[derive(Clone, Copy, Debug)]
pub struct CompletionRequest<'a> {
    /// The prompts to continue.
    pub prompts: &'a [Prompt],
    /// The rule by which tokens are chosen.
    pub sampling: &'a Sampling,
    /// Strings that end a text and are not part of it.
    pub stops: &'a [String],
}

/// A continuation as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Completion {
    /// The text after the prompt, up to the stop string if one ended it.
    pub text: String,
    /// Its tokens, those of the stop string included.
    pub tokens: Vec<u32>,
    /// The reason why it ends.
    #[serde(flatten)]
    pub ended_by: EndedBy,
}

/// The reason why a text ends. In JSON the field `stopped_by`, and `stop_string` beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stopped_by", content = "stop_string", rename_all = "snake_case")]
pub enum EndedBy {
    /// It has [`Sampling::max_tokens`] tokens.
    Length,
    /// The model chose a token of [`Sampling::end`].
    EndToken,
    /// The caller ended it.
    Caller,
    /// This stop string follows it.
    StopString(String),
}

impl EndedBy {
    /// Its name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            EndedBy::Length => "length",
            EndedBy::EndToken => "end_token",
            EndedBy::Caller => "caller",
            EndedBy::StopString(_) => "stop_string",
        }
    }
}

impl From<StoppedBy> for EndedBy {
    fn from(stopped_by: StoppedBy) -> EndedBy {
        match stopped_by {
            StoppedBy::Length => EndedBy::Length,
            StoppedBy::EndToken => EndedBy::EndToken,
            StoppedBy::Caller => EndedBy::Caller,
        }
    }
}

/// Continues each prompt until the model ends it, the limit of tokens is reached, or a stop string
/// appears in the text.
///
/// `on_text` receives the number of a prompt and each new piece of its text, cut between characters
/// and never within a stop string; it may end that text.
///
/// # Errors
/// Those of [`generate`].
pub fn complete(
    model: &Model,
    tokenizer: &Tokenizer,
    request: CompletionRequest,
    hook: &mut dyn Hook,
    on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
) -> Result<Vec<Completion>> {
    let CompletionRequest {
        prompts,
        sampling,
        stops,
    } = request;
    let mut writers: Vec<Writer> = prompts
        .iter()
        .map(|prompt| Writer {
            decoder: StreamDecoder::after(tokenizer, &prompt.tokens),
            stops: StopStrings::new(stops),
            text: String::new(),
        })
        .collect();
    let generated = generate(model, prompts, sampling, hook, &mut |prompt, token| {
        let writer = &mut writers[prompt];
        let shown = writer.push(token);
        if !shown.is_empty() {
            on_text(prompt, &shown)?;
        }
        match writer.stops.found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    let mut completions = Vec::with_capacity(prompts.len());
    for (prompt, (generated, writer)) in generated.into_iter().zip(writers).enumerate() {
        let (text, rest, stop) = writer.finish();
        if !rest.is_empty() {
            // The text is complete, so a request to end it has no effect.
            let _ = on_text(prompt, &rest);
        }
        completions.push(Completion {
            text: text + &rest,
            tokens: generated.tokens,
            ended_by: stop.map_or(generated.stopped_by.into(), EndedBy::StopString),
        });
    }
    Ok(completions)
}

/// The text of one prompt as it grows.
struct Writer<'a> {
    decoder: StreamDecoder<'a>,
    stops: StopStrings<'a>,
    text: String,
}

impl Writer<'_> {
    /// Takes `token` and returns the text that it makes certain.
    fn push(&mut self, token: u32) -> String {
        let shown = self.stops.push(&self.decoder.push(token));
        self.text.push_str(&shown);
        shown
    }

    /// The text so far, the end of it that was held back, and the stop string that ended it.
    fn finish(mut self) -> (String, String, Option<String>) {
        let mut rest = self.stops.push(&self.decoder.finish());
        if self.stops.found.is_none() {
            rest.push_str(&self.stops.held);
        }
        (self.text, rest, self.stops.found)
    }
}

/// Finds the first of several strings in a text that comes in pieces.
struct StopStrings<'a> {
    stops: &'a [String],
    /// The end of the text that may yet be the beginning of a stop string.
    held: String,
    found: Option<String>,
}

impl StopStrings<'_> {
    fn new(stops: &[String]) -> StopStrings<'_> {
        StopStrings {
            stops,
            held: String::new(),
            found: None,
        }
    }

    /// Takes the next piece and returns the text that certainly precedes any stop string. Of two stop
    /// strings that begin at the same place, the first of the list counts.
    fn push(&mut self, piece: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        let stops = self.stops.iter().filter(|stop| !stop.is_empty());
        let first = stops
            .filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = first {
            self.found = Some(stop.clone());
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = self.held.len() - self.open_end();
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// Length of the longest end of the held text with which a stop string begins.
    fn open_end(&self) -> usize {
        let ends = |stop: &String| {
            let beginnings = stop.char_indices().map(|(at, _)| &stop[..at]);
            let open = beginnings.filter(|beginning| self.held.ends_with(beginning));
            open.map(str::len).max()
        };
        self.stops.iter().filter_map(ends).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text shown for each of `pieces`, the stop string found, and the text held back at the end.
    fn shown(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>, String) {
        let stops: Vec<String> = stops.iter().map(|&s| s.to_owned()).collect();
        let mut finder = StopStrings::new(&stops);
        let shown = pieces.iter().map(|piece| finder.push(piece)).collect();
        (shown, finder.found, finder.held)
    }

    #[test]
    fn a_stop_string_across_pieces_is_never_shown() {
        let (shown, found, _) = shown(&["END"], &["one E", "N", "D two"]);
        assert_eq!(shown, ["one ", "", ""]);
        assert_eq!(found.as_deref(), Some("END"));
    }

    #[test]
    fn text_that_only_began_like_a_stop_string_is_shown_later() {
        let (shown, found, held) = shown(&["END"], &["E", "EN", "O", "E"]);
        assert_eq!(shown, ["", "E", "ENO", ""]);
        assert_eq!((found, held.as_str()), (None, "E"));
    }

    #[test]
    fn the_stop_string_that_begins_first_counts() {
        let (shown, found, _) = shown(&["c", "bc"], &["abcd"]);
        assert_eq!((shown[0].as_str(), found.as_deref()), ("a", Some("bc")));
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        let (shown, found, _) = shown(&[""], &["a", "b"]);
        assert_eq!((shown.concat().as_str(), found), ("ab", None));
    }

    #[test]
    fn the_end_of_a_text_is_one_or_two_keys_of_json() {
        let json = |ended_by| {
            let completion = Completion {
                text: "a".to_owned(),
                tokens: vec![1],
                ended_by,
            };
            serde_json::to_string(&completion).unwrap()
        };
        let length = r#"{"text":"a","tokens":[1],"stopped_by":"length"}"#;
        assert_eq!(json(StoppedBy::Length.into()), length);
        let stop = EndedBy::StopString(".".to_owned());
        assert_eq!(stop.name(), "stop_string");
        assert_eq!(
            json(stop),
            r#"{"text":"a","tokens":[1],"stopped_by":"stop_string","stop_string":"."}"#
        );
    }

    proptest! {
        /// The result equals a search of the whole text.
        #[test]
        fn the_division_into_pieces_does_not_matter(
            pieces in prop::collection::vec("[ab한]{0,3}", 0..12),
            stops in prop::collection::vec("[ab한]{1,4}", 0..3),
        ) {
            let text = pieces.concat();
            let mut finder = StopStrings::new(&stops);
            let mut shown: String = pieces.iter().map(|piece| finder.push(piece)).collect();
            if finder.found.is_none() {
                shown.push_str(&finder.held);
            }
            // Pieces decide which of two overlapping stop strings is complete first, so the text
            // ends before one of them and holds none.
            prop_assert!(text.starts_with(&shown));
            prop_assert!(stops.iter().all(|stop| !shown.contains(stop.as_str())));
            match finder.found {
                None => prop_assert_eq!(shown, text),
                Some(stop) => prop_assert!(text[shown.len()..].starts_with(&stop)),
            }
        }
    }
}
