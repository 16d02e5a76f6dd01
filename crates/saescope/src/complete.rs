//! Generation as text: tokens become characters as they come, and stop strings end it.
//!
//! [`generate`] knows token ids only; this is what a command or a server
//! needs on top of it.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::generate::{Prompt, Sampling, StoppedBy, generate};
use crate::hook::Hook;
use crate::model::Model;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// What a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text behind the prompt, up to the stop string where one ended it.
    pub text: String,
    /// Its tokens, those of the stop string included.
    pub tokens: Vec<u32>,
    /// What ended it.
    pub ended_by: EndedBy,
}

/// What ended a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The model itself, or the limit of tokens.
    Model(StoppedBy),
    /// This stop string.
    StopString(String),
}

impl EndedBy {
    /// What ended it in a word, as JSON has it.
    pub fn name(&self) -> &'static str {
        match self {
            EndedBy::StopString(_) => "stop_string",
            EndedBy::Model(StoppedBy::EndToken) => "end_token",
            EndedBy::Model(StoppedBy::Length) => "length",
            EndedBy::Model(StoppedBy::Caller) => "caller",
        }
    }
}

/// Continues each of `prompts` until the model ends it, the limit is reached or one of `stops`
/// appears in the text. `on_text` gets the number of the prompt and every new piece of its text, cut
/// between characters and never into a stop string; it may break a prompt off.
///
/// # Errors
/// Those of [`generate`].
pub fn complete(
    (model, tokenizer): (&Model, &Tokenizer),
    prompts: &[Prompt],
    sampling: &Sampling,
    stops: &[String],
    hook: &mut dyn Hook,
    on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
) -> Result<Vec<Completion>> {
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
        let (text, rest, found) = writer.finish();
        if !rest.is_empty() {
            // The text is complete: there is nothing left to break off.
            let _ = on_text(prompt, &rest);
        }
        completions.push(Completion {
            text: text + &rest,
            tokens: generated.tokens,
            ended_by: found.map_or(EndedBy::Model(generated.stopped_by), EndedBy::StopString),
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
    /// What can be shown now that `token` has come.
    fn push(&mut self, token: u32) -> String {
        let shown = self.stops.push(&self.decoder.push(token));
        self.text.push_str(&shown);
        shown
    }

    /// The text so far, what was held back, and the stop string that ended it.
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
    /// The end of the text, as long as it may be the beginning of a stop string.
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

    /// Takes the next piece and returns what is certain to stand before any stop string. Where two
    /// begin at the same place, the one given first counts.
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

    /// Length of the longest end of the text with which a stop string begins.
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

    /// What is shown of `pieces`, and what is held back at the end.
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
    fn what_only_began_like_a_stop_string_is_shown_after_all() {
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

    proptest! {
        /// Whatever the pieces, the result is that of searching the whole text.
        #[test]
        fn pieces_do_not_matter(
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
