//! Questions with two answers, one of which shows a behaviour, in the format of the CAA data sets.
//!
//! Owns how a question becomes tokens, and how a balanced set is drawn. Knows no model.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::{read_file, sample};
use crate::chat::{ChatTemplate, Message};
use crate::error::{Error, Result, by_name};
use crate::stand_in;
use crate::tokenizer::{Bos, Tokenizer};

/// Text between a question and its answer without a chat template.
const PLAIN: &str = "\n\nAnswer: ";

/// The keys of a question in a file.
const KEYS: [&str; 3] = [
    "question",
    "answer_matching_behavior",
    "answer_not_matching_behavior",
];
const EXPECTED_KEYS: &str =
    "`question`, `answer_matching_behavior` and `answer_not_matching_behavior`";
const EXPECTED: &str = "a JSON list or JSON Lines of objects with `question`, \
                        `answer_matching_behavior` and `answer_not_matching_behavior`";

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

/// Reads questions: a JSON list of them, JSON Lines, or an object with such a list, by the content of the
/// file and not by its name.
///
/// # Errors
/// When the file cannot be read, a record is no question, or there is none.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    let text = read_file(path)?;
    stand_in::check_text(path, text.as_bytes())?;
    let text = text.trim_start_matches('\u{feff}');
    let records = records(text).map_err(|reason| Error::format(path, reason))?;
    if records.is_empty() {
        return Err(Error::format(path, "the file holds no question"));
    }
    let questions = records
        .into_iter()
        .map(|(place, record)| question(record).map_err(|reason| format!("{place}: {reason}")));
    let questions: Result<_, String> = questions.collect();
    questions.map_err(|reason| Error::format(path, reason))
}

/// The records of a file, each with its place.
fn records(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| format!("expected {EXPECTED}: {error}"))?;
        values.push(value);
    }
    let (what, records) = match values.as_mut_slice() {
        [Value::Array(list)] => ("question", std::mem::take(list)),
        [Value::Object(map)] if KEYS.iter().all(|key| !map.contains_key(*key)) => {
            ("question", wrapped(map)?)
        }
        _ => ("record", values),
    };
    let numbered = records.into_iter().enumerate();
    Ok(numbered
        .map(|(number, record)| (format!("{what} {}", number + 1), record))
        .collect())
}

/// The only list of objects in an object around it, such as `{"data": […]}`.
fn wrapped(map: &mut Map<String, Value>) -> Result<Vec<Value>, String> {
    let is_list = |value: &Value| {
        let list = value.as_array();
        list.is_some_and(|list| list.first().is_some_and(Value::is_object))
    };
    let keys: Vec<&String> = map
        .iter()
        .filter(|(_, v)| is_list(v))
        .map(|(k, _)| k)
        .collect();
    match keys.as_slice() {
        [only] => {
            let only = (*only).clone();
            match map.remove(&only) {
                Some(Value::Array(list)) => Ok(list),
                _ => Ok(Vec::new()),
            }
        }
        [] => Err(format!(
            "expected {EXPECTED}; this is an object with {}, without a list of questions",
            keys_of(map)
        )),
        several => {
            let keys: Vec<&str> = several.iter().map(|key| key.as_str()).collect();
            Err(format!(
                "the object has several lists, {}; save the one of the questions by itself",
                keys.join(", ")
            ))
        }
    }
}

/// A record as a question. Other keys than its three are those of the data set, and not read.
fn question(record: Value) -> Result<Question, String> {
    let Value::Object(mut map) = record else {
        return Err(format!("expected {EXPECTED}, and it is no object"));
    };
    if let Some(key) = KEYS.iter().find(|key| !map.contains_key(**key)) {
        return Err(missing(key, &map));
    }
    let mut take = |key: &str| match map.remove(key) {
        Some(Value::String(text)) => Ok(text),
        other => Err(format!(
            "`{key}` is {}, and not a text",
            cut(&other.unwrap_or_default().to_string())
        )),
    };
    Ok(Question {
        question: take(KEYS[0])?,
        answer_matching_behavior: take(KEYS[1])?,
        answer_not_matching_behavior: take(KEYS[2])?,
    })
}

/// The reason for a record without `key`, with the key that may be meant by it.
fn missing(key: &str, map: &Map<String, Value>) -> String {
    let letters = |name: &str| -> String {
        let name = name.to_ascii_lowercase().replace("behaviour", "behavior");
        name.chars().filter(char::is_ascii_alphanumeric).collect()
    };
    let same = map.keys().find(|other| letters(other) == letters(key));
    match same {
        Some(other) => format!("there is no `{key}` but `{other}`; rename the key"),
        None => format!(
            "there is no `{key}`; the record has {}, and a question has {EXPECTED_KEYS}",
            keys_of(map)
        ),
    }
}

/// The first keys of an object, as an error names them.
fn keys_of(map: &Map<String, Value>) -> String {
    if map.is_empty() {
        return "no keys".to_owned();
    }
    let keys: Vec<String> = map.keys().take(8).map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
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

    fn read_text(text: &str) -> Result<Vec<Question>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    const A: &str = r#"{"question": "a", "answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"}"#;
    const B: &str = r#"{"question": "b", "answer_not_matching_behavior": " (A)",
        "answer_matching_behavior": " (B)", "relevant_scores": [1]}"#;

    #[test]
    fn a_list_lines_and_a_list_in_an_object_are_the_same_questions() {
        let list = read_text(&format!("[{A},{B}]")).unwrap();
        assert_eq!((list.len(), list[1].question.as_str()), (2, "b"));
        for text in [
            format!("{A}\n{}\n", B.replace('\n', "")),
            format!("\u{feff}\n{A}\n\n{B}"),
            format!("{{\"data\": [{A}, {B}]}}"),
            format!("{{\"name\": \"x\", \"questions\": [{A}, {B}], \"seeds\": [1]}}"),
        ] {
            assert_eq!(read_text(&text).unwrap(), list, "{text}");
        }
        assert_eq!(read_text(A).unwrap(), list[..1]);
    }

    #[test]
    fn records_that_are_no_questions_are_refused_by_place_and_key() {
        let british = A.replace("answer_matching_behavior", "answer_matching_behaviour");
        let cases = [
            (
                format!("{A}\n{british}"),
                "record 2: there is no `answer_matching_behavior` but `answer_matching_behaviour`",
            ),
            (
                format!("[{}]", A.replace("question", "Question")),
                "but `Question`",
            ),
            (
                format!("[{A}, {{\"prompt\": \"x\"}}]"),
                "question 2: there is no `question`; the record has `prompt`",
            ),
            (A.replace("\"a\"", "3"), "`question` is 3"),
            (format!("{A}\n[1]"), "record 2: expected"),
            (
                format!("{{\"a\": [{A}], \"b\": [{A}]}}"),
                "several lists, a, b",
            ),
            ("{\"a\": 1}".to_owned(), "object with `a`, without a list"),
            ("[]".to_owned(), "no question"),
            ("question,answer".to_owned(), "JSON Lines"),
            (
                "version https://git-lfs.github.com/spec/v1\n".to_owned(),
                "Git LFS",
            ),
        ];
        for (text, part) in cases {
            let error = read_text(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
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
