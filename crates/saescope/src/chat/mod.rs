//! Conversations as the text that an instruct model was trained on.
//!
//! Templates are Jinja programs that come with a model, so they are not trusted: they see the messages,
//! tools and documents and nothing else, within limits of steps and memory.

mod attachments;
mod conversation;
mod jinja;
mod strftime;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

pub(crate) use self::attachments::check_list;
pub use self::attachments::{Attachments, read_list};
pub use self::conversation::Conversation;
use self::jinja::{Fault, Program};
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
    program: Program,
    /// By name, such as `bos_token`.
    special_tokens: Vec<(String, String)>,
    /// The names of lists beside the turns that occur in it.
    mentioned: Vec<&'static str>,
}

impl ChatTemplate {
    /// Compiles a template; `special_tokens` are those that it may write, by name, such as `bos_token`.
    pub fn new(source: &str, special_tokens: Vec<(String, String)>) -> Result<ChatTemplate> {
        let names = Attachments::default().named().map(|(name, _)| name);
        Ok(ChatTemplate {
            program: Program::new(source).map_err(failed)?,
            special_tokens,
            mentioned: names
                .into_iter()
                .filter(|name| source.contains(name))
                .collect(),
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
        ChatTemplate::new(source, tokenizer.special_tokens())
    }

    /// The template that comes with a tokenizer for conversations with tools: that of its own, if it has
    /// one, or else the one for all.
    ///
    /// # Errors
    /// As [`ChatTemplate::of`].
    pub fn for_tools(tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        match tokenizer.tool_template() {
            Some(source) => ChatTemplate::new(source, tokenizer.special_tokens()),
            None => ChatTemplate::of(tokenizer),
        }
    }

    /// True if the list beside the turns that is called `name` occurs in the template, so that it may
    /// change the text.
    pub fn mentions(&self, name: &str) -> bool {
        self.mentioned.contains(&name)
    }

    /// The conversation up to the model's next turn.
    pub fn render_prompt(&self, messages: &[Message]) -> Result<String> {
        self.render_attached(messages, &Attachments::default(), true)
    }

    /// The conversation as it is, for example with a last turn of the model.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_attached(messages, &Attachments::default(), false)
    }

    /// The conversation with tools and documents, up to the model's next turn if
    /// `add_generation_prompt`.
    pub fn render_attached(
        &self,
        messages: &[Message],
        attachments: &Attachments,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let mut variables = Map::new();
        variables.insert("messages".to_owned(), json!(messages));
        variables.insert(
            "add_generation_prompt".to_owned(),
            add_generation_prompt.into(),
        );
        for (name, list) in attachments.named() {
            variables.insert(name.to_owned(), list.cloned().unwrap_or(Json::Null));
        }
        self.render_variables(variables)
    }

    /// The text with variables of one's own: `messages` with other fields than [`Message`] has, `tools`,
    /// `documents`, `enable_thinking` and whatever else the template asks for. A variable that is not
    /// given is undefined; special tokens are the template's own unless given.
    pub fn render_variables(&self, mut variables: Map<String, Json>) -> Result<String> {
        // A missing token is undefined and not empty; templates tell the two apart.
        for (name, token) in &self.special_tokens {
            if !variables.contains_key(name) {
                variables.insert(name.clone(), token.as_str().into());
            }
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs());
        self.program.render(&variables, now).map_err(failed)
    }
}

fn failed(fault: Fault) -> Error {
    let Fault {
        reason,
        line,
        raised,
    } = fault;
    Error::ChatTemplate(match line {
        Some(line) if !raised => format!("line {line}: {reason}"),
        _ => reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Special tokens from names and texts in turn.
    fn named(tokens: &[&str]) -> Vec<(String, String)> {
        let pairs = tokens
            .chunks(2)
            .map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
        pairs.collect()
    }

    fn render(source: &str) -> Result<String> {
        let template = ChatTemplate::new(source, named(&["bos_token", "<s>"]))?;
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
            let template = {
                let tokens = named(&["bos_token", "<bos>", "eos_token", "<eos>"]);
                ChatTemplate::new(&source, tokens).unwrap()
            };
            let messages: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            let prompt = row["prompt"].as_bool().unwrap();
            let found = template.render_attached(&messages, &Attachments::default(), prompt);
            match (found, row["text"].as_str(), row["error"].as_str()) {
                (Ok(found), Some(text), _) => assert_eq!(found, text, "{name} {}", row["chat"]),
                (Err(Error::ChatTemplate(found)), _, Some(error)) => assert_eq!(found, error),
                (found, ..) => panic!("{name} {}: {found:?}", row["chat"]),
            }
        }
    }

    /// One conversation that a template of `golden/chat` renders.
    #[derive(Deserialize)]
    struct Row {
        template: Json,
        chat: String,
        prompt: bool,
        text: Option<String>,
        raised: Option<String>,
        refused: Option<String>,
    }

    #[derive(Deserialize)]
    struct Golden {
        chats: Map<String, Json>,
        rows: Vec<Row>,
    }

    impl Row {
        /// The difference to what Jinja2 does, if there is one.
        fn difference(&self, source: &str, chats: &Map<String, Json>) -> Option<String> {
            let mut variables = chats[&self.chat].as_object().unwrap().clone();
            variables.insert("add_generation_prompt".to_owned(), self.prompt.into());
            let found = ChatTemplate::new(source, Vec::new())
                .and_then(|template| template.render_variables(variables));
            let agrees = match (&found, &self.text, &self.raised, &self.refused) {
                (Ok(found), Some(text), ..) => found == text,
                (Err(Error::ChatTemplate(found)), _, Some(raised), _) => found == raised,
                (Err(_), None, None, Some(_)) => true,
                _ => false,
            };
            let wanted = [&self.text, &self.raised, &self.refused];
            let wanted = wanted.into_iter().flatten().next();
            let place = format!("{} {} {}", self.template, self.chat, self.prompt);
            (!agrees).then(|| format!("{place}\n  {source:.300}\n  {wanted:?}\n  {found:?}"))
        }
    }

    fn golden(path: &str) -> Golden {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn templates_render_as_jinja_with_the_settings_of_transformers() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/chat");
        let Golden { chats, rows } = golden(&format!("{root}/jinja2.json"));
        let small = std::fs::read_to_string(format!("{root}/small.txt")).unwrap();
        let small: Vec<&str> = small.split("\n----\n").collect();
        let mut families = std::collections::BTreeSet::new();
        let mut differences = Vec::new();
        for row in &rows {
            let source = match row.template.as_str() {
                Some(name) => {
                    families.insert(name);
                    std::fs::read_to_string(format!("{root}/families/{name}.jinja")).unwrap()
                }
                None => small[row.template.as_u64().unwrap() as usize].to_owned(),
            };
            differences.extend(row.difference(&source, &chats));
        }
        assert!(small.len() >= 150 && families.len() >= 20);
        let all = differences.join("\n");
        assert!(
            differences.is_empty(),
            "{} of {}\n{all}",
            differences.len(),
            rows.len()
        );
    }

    /// A template that people met, and its text by transformers.
    #[derive(Deserialize)]
    struct Met {
        case: String,
        template: String,
        tools: Option<Json>,
        documents: Option<Json>,
        prompt: bool,
        text: String,
    }

    /// The cases 01, 03 and 04 of the templates that were reported, and lists beside the turns:
    /// `tests/golden/make_wild_chat.py` has transformers render them.
    #[test]
    fn templates_that_people_met_render_as_in_transformers() {
        let path = "/../../tests/golden/chat/wild.json";
        let bytes = std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let rows: Vec<Met> = serde_json::from_slice(&bytes).unwrap();
        let count = |start: &str| {
            rows.iter()
                .filter(|row| row.case.starts_with(start))
                .count()
        };
        assert_eq!(["01", "03", "04", "lists"].map(count), [2, 1, 16, 18]);
        for row in rows {
            let template = ChatTemplate::new(&row.template, Vec::new()).unwrap();
            let attachments = Attachments {
                tools: row.tools,
                documents: row.documents,
            };
            let messages = [Message::new("user", "Hi")];
            let found = template.render_attached(&messages, &attachments, row.prompt);
            assert_eq!(found.unwrap(), row.text, "{} {}", row.case, row.template);
        }
    }

    #[test]
    fn the_tag_generation_puts_out_its_body() {
        let marked = "{% for m in messages %}<{{ m.role }}>{%- generation -%} {{ m.content }}\n\
            {%- endgeneration -%} .{% endfor %}";
        assert_eq!(render(marked).unwrap(), "<user> hi .");
    }

    #[test]
    fn a_namespace_can_be_a_message() {
        let source = "{% set sys = namespace(role='system', content='') %}\
            {% set sys.content = 'Be brief.' %}\
            {% for m in [sys] + messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
        assert_eq!(render(source).unwrap(), "<system>Be brief.<user> hi ");
    }

    #[test]
    fn values_print_as_in_python() {
        let printed = "{{ messages }}{{ ['a', none, true, 1e20] }}{{ {'a': 1}.items() | list }}";
        assert_eq!(
            render(printed).unwrap(),
            "[{'role': 'user', 'content': ' hi '}]['a', None, True, 1e+20][('a', 1)]"
        );
    }

    #[test]
    fn a_template_without_an_end_runs_out_of_fuel() {
        let nested = "{% for a in range(9999) %}".repeat(4) + &"{% endfor %}".repeat(4);
        let error = render(&nested).unwrap_err();
        assert!(matches!(error, Error::ChatTemplate(reason) if reason.contains("come to an end")));
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
