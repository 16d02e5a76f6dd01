//! Questions with two answers, one of which shows a behaviour, in the format of the CAA data sets.
//!
//! Owns how a question becomes tokens, and how a balanced set is drawn. Knows no model.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::{read_file, sample};
use crate::chat::{ChatTemplate, Message};
use crate::error::{Error, Result, by_name};
use crate::tokenizer::{Bos, Tokenizer};

/// Text between a question and its answer without a chat template.
const PLAIN: &str = "\n\nAnswer: ";

/// A question and two answers to it, with the keys of `nrimsky/CAA`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question with its choices.
    pub question: String,
    /// The answer that shows the behaviour, such as `(A)`.
    pub answer_matching_behavior: String,
    /// The answer that does not show it.
    pub answer_not_matching_behavior: String,
}

/// Format in which a question is put to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// The question is a user's turn in the model's chat template, the answer the assistant's.
    Chat,
    /// The question, a blank line, `Answer: ` and the answer.
    Plain,
}

impl Style {
    /// Every style.
    pub const ALL: [Style; 2] = [Style::Chat, Style::Plain];

    /// The name in flags, files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Style::Chat => "chat",
            Style::Plain => "plain",
        }
    }

    /// Chat if the model has a template, plain otherwise.
    pub fn of(tokenizer: &Tokenizer) -> Style {
        match tokenizer.chat_template() {
            Some(_) => Style::Chat,
            None => Style::Plain,
        }
    }
}

impl FromStr for Style {
    type Err = Error;

    fn from_str(text: &str) -> Result<Style> {
        by_name("style", text, &Style::ALL, Style::name)
    }
}

/// A question as tokens, up to the position where its two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// All tokens before either letter.
    pub shared: Vec<u32>,
    /// Number of them that belong to the question; the answer begins after it.
    pub instruction: usize,
    /// The first token of the matching answer that differs from the other: its letter.
    pub matching: u32,
    /// The token of the other answer at the same position.
    pub other: u32,
}

/// Reads a JSON list of questions.
///
/// # Errors
/// When the file cannot be read, is not such a list, or holds no question.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    let text = read_file(path)?;
    let questions: Vec<Question> = serde_json::from_str(&text).map_err(|error| {
        let expected = "expected a JSON list of {\"question\", \"answer_matching_behavior\", \
                        \"answer_not_matching_behavior\"}";
        Error::format(path, format!("{expected}: {error}"))
    })?;
    if questions.is_empty() {
        return Err(Error::format(path, "the file holds no question"));
    }
    Ok(questions)
}

/// Draws at most `limit` questions: as many whose matching answer sorts first, such as `(A)`, as
/// others. They keep their order, and the same seed draws the same ones.
///
/// A vector of unbalanced questions holds the letter as well: differences between the two answers besides
/// the behaviour cancel only if either is the matching one equally often.
///
/// # Errors
/// When the matching answer never or always sorts first, or `limit` is below two.
pub fn balanced(
    questions: Vec<Question>,
    limit: Option<usize>,
    seed: u64,
) -> Result<Vec<Question>> {
    let sides = sides(&questions);
    if let Some(of_all) = sides.iter().position(Vec::is_empty).map(|empty| 1 - empty)
        && let Some(&first) = sides[of_all].first()
    {
        return Err(Error::Unbalanced {
            questions: questions.len(),
            matching: questions[first].answer_matching_behavior.trim().to_owned(),
        });
    }
    let each = sides.iter().map(Vec::len).min().unwrap_or(0);
    let each = limit.map_or(each, |limit| each.min(limit / 2));
    if each == 0 {
        let message = "a single question cannot be balanced; draw at least two";
        return Err(Error::Argument(message.to_owned()));
    }
    let drawn = sides.into_iter().flat_map(|side| sample(side, each, seed));
    let drawn: BTreeSet<usize> = drawn.collect();
    let numbered = questions.into_iter().enumerate();
    let kept = numbered.filter(|(number, _)| drawn.contains(number));
    Ok(kept.map(|(_, question)| question).collect())
}

/// Two halves of some questions, each with every other question of either matching answer. The halves
/// of balanced questions are balanced.
pub fn halves(questions: Vec<Question>) -> [Vec<Question>; 2] {
    let sides = sides(&questions);
    let second = sides.iter().flat_map(|side| side.iter().skip(1).step_by(2));
    let second: BTreeSet<usize> = second.copied().collect();
    let mut halves = [Vec::new(), Vec::new()];
    for (number, question) in questions.into_iter().enumerate() {
        halves[usize::from(second.contains(&number))].push(question);
    }
    halves
}

/// Numbers of the questions whose matching answer sorts first, and numbers of the rest.
fn sides(questions: &[Question]) -> [Vec<usize>; 2] {
    let sorts_first = |q: &Question| q.answer_matching_behavior < q.answer_not_matching_behavior;
    let (first, second) = (0..questions.len()).partition(|&number| sorts_first(&questions[number]));
    [first, second]
}

impl Question {
    /// The tokens of the question and of both answers. The letter is the first token in which the two
    /// whole texts differ, so that any tokenization of `(A)` will do.
    ///
    /// # Errors
    /// When there is no chat template for [`Style::Chat`], or one answer is a prefix of the other.
    pub fn pair(&self, tokenizer: &Tokenizer, style: Style, bos: Bos) -> Result<Pair> {
        let encode = |answer: Option<&str>| self.encode(tokenizer, style, bos, answer);
        let question = encode(None)?;
        let matching = encode(Some(&self.answer_matching_behavior))?;
        let other = encode(Some(&self.answer_not_matching_behavior))?;
        let parting = common(&matching, &other);
        let (Some(&yes), Some(&no)) = (matching.get(parting), other.get(parting)) else {
            let cut: String = self.question.chars().take(60).collect();
            return Err(Error::Argument(format!(
                "question `{cut}…`: one of the answers `{}` and `{}` is a prefix of the other",
                self.answer_matching_behavior, self.answer_not_matching_behavior
            )));
        };
        let shared = matching[..parting].to_vec();
        if shared.is_empty() {
            let message = "a question has no token before its answer".to_owned();
            return Err(Error::Argument(message));
        }
        // At least one token after the question remains to be steered.
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

/// Length of the longest common prefix.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(letters: &str) -> Vec<Question> {
        let question = |(number, letter): (usize, char)| Question {
            question: number.to_string(),
            answer_matching_behavior: format!("({letter})"),
            answer_not_matching_behavior: format!("({})", if letter == 'A' { 'B' } else { 'A' }),
        };
        letters.chars().enumerate().map(question).collect()
    }

    fn letters(questions: &[Question]) -> (usize, usize) {
        let a = questions
            .iter()
            .filter(|q| q.answer_matching_behavior == "(A)");
        let a = a.count();
        (a, questions.len() - a)
    }

    #[test]
    fn as_many_questions_are_drawn_with_either_letter() {
        let all = questions("AAABABAABBAAAA");
        for (limit, each) in [(None, 4), (Some(100), 4), (Some(7), 3), (Some(2), 1)] {
            let drawn = balanced(all.clone(), limit, 5).unwrap();
            assert_eq!(letters(&drawn), (each, each), "{limit:?}");
            assert!(drawn.is_sorted_by_key(|q| all.iter().position(|of_all| of_all == q)));
            assert_eq!(drawn, balanced(all.clone(), limit, 5).unwrap());
        }
        let with = |seed| balanced(all.clone(), None, seed).unwrap();
        assert!((0..20).any(|seed| with(seed) != with(5)), "the seed draws");
    }

    #[test]
    fn questions_that_cannot_be_balanced_are_refused() {
        for letters in ["AAA", "B"] {
            let refused = balanced(questions(letters), None, 0);
            assert!(
                matches!(refused, Err(Error::Unbalanced { .. })),
                "{refused:?}"
            );
        }
        let refused = balanced(questions("AB"), Some(1), 0);
        assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    }

    #[test]
    fn halves_of_balanced_questions_are_balanced_and_share_none() {
        let all = balanced(questions("ABBABAABAB"), None, 0).unwrap();
        let [first, second] = halves(all);
        assert_eq!((letters(&first), letters(&second)), ((3, 3), (2, 2)));
        assert!(first.iter().all(|question| !second.contains(question)));
    }
}
