//! Questions with two answers, of which one shows a behaviour, in the form of the CAA data sets.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::text::read_file;
use crate::chat::{ChatTemplate, Message};
use crate::error::{Error, Result};
use crate::tokenizer::{Bos, Tokenizer};

/// What stands between a question and its answer where there is no chat template.
const PLAIN: &str = "\n\nAnswer: ";

/// A question and two answers to it, as `nrimsky/CAA` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question with its choices.
    pub question: String,
    /// The answer that shows the behaviour, such as `(A)`.
    pub answer_matching_behavior: String,
    /// The answer that does not.
    pub answer_not_matching_behavior: String,
}

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As a user's turn in the model's chat template, the answer as the assistant's.
    Chat,
    /// The question, a blank line, `Answer: ` and the answer.
    Plain,
}

impl Style {
    /// Chat when the model has a template, plain otherwise.
    pub fn of(tokenizer: &Tokenizer) -> Style {
        match tokenizer.chat_template() {
            Some(_) => Style::Chat,
            None => Style::Plain,
        }
    }
}

/// A question as tokens, up to where its two answers part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// All that stands before either letter.
    pub shared: Vec<u32>,
    /// How many of them belong to the question; behind it the answer begins.
    pub instruction: usize,
    /// The first token of the matching answer that the other has not: its letter.
    pub matching: u32,
    /// The token there in the other answer.
    pub other: u32,
}

/// Reads a JSON list of questions.
///
/// # Errors
/// When the file cannot be read, is no such list, or holds none.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    let text = read_file(path)?;
    let questions: Vec<Question> = serde_json::from_str(&text).map_err(|error| {
        let expected = "expected a JSON list of {\"question\", \"answer_matching_behavior\", \
                        \"answer_not_matching_behavior\"}";
        Error::format(path, format!("{expected}: {error}"))
    })?;
    if questions.is_empty() {
        return Err(Error::format(path, "there is no question in it"));
    }
    Ok(questions)
}

impl Question {
    /// The tokens of the question and of both answers. The letter is found as the place where the
    /// two whole texts part, so that it does not matter how a tokenizer cuts `(A)`.
    ///
    /// # Errors
    /// When there is no chat template for [`Style::Chat`], or the answers do not part.
    pub fn pair(&self, tokenizer: &Tokenizer, style: Style, bos: Bos) -> Result<Pair> {
        let encode = |answer: Option<&str>| self.encode(tokenizer, style, bos, answer);
        let question = encode(None)?;
        let matching = encode(Some(&self.answer_matching_behavior))?;
        let other = encode(Some(&self.answer_not_matching_behavior))?;
        let parting = common(&matching, &other);
        let (Some(&yes), Some(&no)) = (matching.get(parting), other.get(parting)) else {
            let cut: String = self.question.chars().take(60).collect();
            return Err(Error::Argument(format!(
                "question `{cut}…`: the answers `{}` and `{}` are one the beginning of the other",
                self.answer_matching_behavior, self.answer_not_matching_behavior
            )));
        };
        let shared = matching[..parting].to_vec();
        if shared.is_empty() {
            let message = "a question without a token before its answer".to_owned();
            return Err(Error::Argument(message));
        }
        // At least one token behind the question is left to be steered.
        let instruction = common(&question, &shared).min(parting - 1);
        Ok(Pair {
            shared,
            instruction,
            matching: yes,
            other: no,
        })
    }

    fn encode(
        &self,
        tokenizer: &Tokenizer,
        style: Style,
        bos: Bos,
        answer: Option<&str>,
    ) -> Result<Vec<u32>> {
        let question = &self.question;
        match (style, answer) {
            (Style::Plain, None) => tokenizer.encode(question, bos),
            (Style::Plain, Some(answer)) => {
                tokenizer.encode(&format!("{question}{PLAIN}{answer}"), bos)
            }
            (Style::Chat, answer) => {
                let mut messages = vec![Message::new("user", question)];
                messages.extend(answer.map(|answer| Message::new("assistant", answer)));
                tokenizer.encode_raw(&ChatTemplate::of(tokenizer)?.render(&messages)?)
            }
        }
    }
}

/// Length of what two texts have in common at their beginning.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
