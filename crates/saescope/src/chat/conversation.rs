//! A conversation that grows by turns, as tokens up to the model's next answer.

use super::{Attachments, ChatTemplate, Message};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The turns of a conversation so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    messages: Vec<Message>,
    attachments: Attachments,
}

impl Conversation {
    /// A conversation that nobody has spoken in; `system` is the system prompt, if there is one.
    pub fn new(system: Option<&str>) -> Conversation {
        Conversation {
            messages: system
                .map(|text| Message::new("system", text))
                .into_iter()
                .collect(),
            attachments: Attachments::default(),
        }
    }

    /// Gives it tools and documents.
    pub fn attach(&mut self, attachments: Attachments) {
        self.attachments = attachments;
    }

    /// The turns, the system prompt first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a turn of the user.
    pub fn ask(&mut self, question: &str) {
        self.messages.push(Message::new("user", question));
    }

    /// Adds a turn of the model.
    pub fn answered(&mut self, answer: &str) {
        self.messages.push(Message::new("assistant", answer));
    }

    /// The tokens up to where the model's next answer begins.
    ///
    /// # Errors
    /// When the tokenizer has no chat template, or the template refuses the turns or has no place for tools
    /// or documents that are there.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let template = match &self.attachments.tools {
            Some(_) => ChatTemplate::for_tools(tokenizer)?,
            None => ChatTemplate::of(tokenizer)?,
        };
        let given = self
            .attachments
            .named()
            .into_iter()
            .filter_map(|(name, list)| list.map(|_| name));
        for name in given {
            if !template.mentions(name) {
                return Err(Error::ChatTemplate(format!(
                    "the model's has no place for {name}, so the model would not see them; write them into \
                     the system message"
                )));
            }
        }
        let text = template.render_attached(&self.messages, &self.attachments, true)?;
        tokenizer.encode_raw(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;

    fn tokenizer(name: &str) -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/tokenizers");
        Tokenizer::from_folder(&folder.join(name)).unwrap()
    }

    #[test]
    fn turns_stand_in_the_order_in_which_they_were_spoken() {
        let mut conversation = Conversation::new(Some("Be brief."));
        conversation.ask("Hi?");
        conversation.answered("Hello.");
        conversation.ask("Why?");
        let turns = conversation.messages().iter();
        let turns: Vec<_> = turns
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        assert_eq!(
            turns,
            [
                ("system", "Be brief."),
                ("user", "Hi?"),
                ("assistant", "Hello."),
                ("user", "Why?"),
            ]
        );
        assert!(Conversation::new(None).messages().is_empty());
    }

    #[test]
    fn a_conversation_encodes_up_to_the_next_answer() {
        let tokenizer = tokenizer("smollm2");
        let mut conversation = Conversation::new(Some("Be brief."));
        conversation.ask("Hi?");
        let ids = conversation.encode(&tokenizer).unwrap();
        let text: String = ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(
            text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n\
             <|im_start|>assistant\n"
        );
    }

    /// smollm2's tokenizer with other templates.
    fn with_templates(templates: &serde_json::Value) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let data =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/tokenizers/smollm2");
        let file = "tokenizer.json";
        std::fs::copy(data.join(file), folder.path().join(file)).unwrap();
        let config = serde_json::json!({ "chat_template": templates }).to_string();
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        Tokenizer::from_folder(folder.path()).unwrap()
    }

    /// The text of a question with these lists beside it.
    fn asked(tokenizer: &Tokenizer, attachments: Attachments) -> Result<String> {
        let mut conversation = Conversation::new(None);
        conversation.attach(attachments);
        conversation.ask("Hi");
        let ids = conversation.encode(tokenizer)?;
        Ok(ids.iter().map(|&id| tokenizer.token_text(id)).collect())
    }

    #[test]
    fn tools_choose_their_template_and_what_a_template_has_no_place_for_is_refused() {
        let tools = || Some(serde_json::json!([{"name": "f"}]));
        let only_tools = || Attachments {
            tools: tools(),
            documents: None,
        };
        let only_documents = || Attachments {
            tools: None,
            documents: tools(),
        };
        let plain = serde_json::json!("{{ messages[0].content }}");
        let tokenizer = with_templates(&plain);
        assert_eq!(asked(&tokenizer, Attachments::default()).unwrap(), "Hi");
        for (attachments, name) in [(only_tools(), "tools"), (only_documents(), "documents")] {
            let error = asked(&tokenizer, attachments).unwrap_err().to_string();
            assert!(error.contains(&format!("no place for {name}")), "{error}");
        }
        let tool_use = "{{ tools[0].name }} {{ messages[0].content }}";
        let both = serde_json::json!([
            {"name": "default", "template": plain}, {"name": "tool_use", "template": tool_use},
        ]);
        let tokenizer = with_templates(&both);
        assert_eq!(asked(&tokenizer, only_tools()).unwrap(), "f Hi");
        assert_eq!(asked(&tokenizer, Attachments::default()).unwrap(), "Hi");
        let own = serde_json::json!("{{ documents[0].name }} {{ messages[0].content }}");
        assert_eq!(
            asked(&with_templates(&own), only_documents()).unwrap(),
            "f Hi"
        );
    }

    #[test]
    fn a_model_without_a_chat_template_cannot_converse() {
        let refused = Conversation::new(None).encode(&tokenizer("gpt2"));
        assert!(matches!(refused, Err(Error::ChatTemplate(_))));
    }
}
