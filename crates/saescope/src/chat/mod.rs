//! Conversations as the text that an instruct model was trained on.
//!
//! Templates are Jinja programs that come with a model, so they are not trusted: they see the messages
//! and nothing else, within limits of fuel and memory.

mod conversation;
mod json;
mod limits;
mod program;
mod strftime;

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

pub use self::conversation::Conversation;
use self::limits::Budget;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The speaker: `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: content.to_owned(),
        }
    }
}

/// A chat template, ready to render.
pub struct ChatTemplate {
    source: String,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the special tokens that it may write.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<ChatTemplate> {
        program::compile(source).map_err(|error| failed(&error))?;
        Ok(ChatTemplate {
            source: source.to_owned(),
            bos: bos.map(str::to_owned),
            eos: eos.map(str::to_owned),
        })
    }

    /// The template that comes with a tokenizer.
    ///
    /// # Errors
    /// When there is none: the model was not trained to chat.
    pub fn of(tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let source = tokenizer.chat_template().ok_or_else(|| {
            Error::ChatTemplate(
                "the model has none, so it was not trained to chat; give it a plain prompt"
                    .to_owned(),
            )
        })?;
        let text = |id| tokenizer.token_text(id);
        let bos = tokenizer.bos().map(text);
        let eos = tokenizer.eos_ids().first().copied().map(text);
        ChatTemplate::new(source, bos.as_deref(), eos.as_deref())
    }

    /// The conversation up to the model's next turn.
    pub fn render_prompt(&self, messages: &[Message]) -> Result<String> {
        self.render_with(messages, true)
    }

    /// The conversation as it is, for example with a last turn of the model.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_with(messages, false)
    }

    fn render_with(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let mut environment = Environment::new();
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        let budget = Budget::new();
        limits::limit(&mut environment, &budget);
        program::add_operators(&mut environment, &budget);
        // A missing token is undefined and not empty; templates tell the two apart.
        let token = |token: &Option<String>| token.as_deref().map_or(Value::UNDEFINED, Value::from);
        let context = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => token(&self.bos),
            eos_token => token(&self.eos),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        program::render(&environment, &self.source, context).map_err(|error| failed(&error))
    }
}

fn failed(error: &minijinja::Error) -> Error {
    let reason = match (error.kind(), error.detail(), error.line()) {
        (ErrorKind::OutOfFuel, _, _) => "it does not come to an end".to_owned(),
        (ErrorKind::InvalidOperation, Some(raised), _) if raised.starts_with(RAISED) => {
            raised[RAISED.len()..].to_owned()
        }
        (_, _, Some(line)) => format!("line {line}: {error}"),
        (_, _, None) => error.to_string(),
    };
    Error::ChatTemplate(reason)
}

/// Prefix of an error that a template raises on purpose.
const RAISED: &str = "raised: ";

fn raise_exception(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

/// The date in the form that a template asks for, in UTC.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    strftime::format(format, seconds)
        .map_err(|reason| minijinja::Error::new(ErrorKind::InvalidOperation, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        let template = ChatTemplate::new(source, Some("<s>"), None)?;
        template.render_prompt(&[Message::new("user", " hi ")])
    }

    #[test]
    fn every_golden_conversation_renders_as_transformers_does() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
        let expected = std::fs::read(format!("{root}/golden/chat/expected.json")).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&expected).unwrap();
        assert!(rows.len() >= 40);
        for row in rows {
            let name = row["template"].as_str().unwrap();
            let path = match name {
                "smollm2" => format!("{root}/data/tokenizers/smollm2/chat_template.jinja"),
                _ => format!("{root}/golden/chat/{name}.jinja"),
            };
            let source = std::fs::read_to_string(path).unwrap();
            let template = ChatTemplate::new(&source, Some("<bos>"), Some("<eos>")).unwrap();
            let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            let found = template.render_with(&messages, row["prompt"].as_bool().unwrap());
            match (found, row["text"].as_str(), row["error"].as_str()) {
                (Ok(found), Some(text), _) => assert_eq!(found, text, "{name} {}", row["chat"]),
                (Err(Error::ChatTemplate(found)), _, Some(error)) => assert_eq!(found, error),
                (found, ..) => panic!("{name} {}: {found:?}", row["chat"]),
            }
        }
    }

    #[test]
    fn a_template_without_an_end_runs_out_of_fuel() {
        let nested = "{% for a in range(9999) %}".repeat(4) + &"{% endfor %}".repeat(4);
        let error = render(&nested).unwrap_err();
        assert!(matches!(error, Error::ChatTemplate(reason) if reason.contains("end")));
    }

    #[test]
    fn a_broken_template_names_its_line() {
        for source in [
            "\n{% for %}",
            "\n{{ nothing.of.this }}",
            "\n{{ messages | no_filter }}",
        ] {
            let error = render(source).unwrap_err();
            assert!(
                matches!(&error, Error::ChatTemplate(reason) if reason.contains("line 2")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_token_is_undefined() {
        assert_eq!(
            render("{{ bos_token }}{{ eos_token is defined }}").unwrap(),
            "<s>False"
        );
    }

    #[test]
    fn the_date_is_available() {
        assert!(
            render("{{ strftime_now('%Y') }}")
                .unwrap()
                .starts_with("20")
        );
    }
}
