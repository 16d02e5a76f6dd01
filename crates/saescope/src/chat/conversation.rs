//! A conversation that grows by turns, as tokens up to the model's next answer.

use super::{ChatTemplate, Message};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// The turns of a conversation so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    messages: Vec<Message>,
}

impl Conversation {
    /// A conversation that nobody has spoken in; `system` is the system prompt, if there is one.
    pub fn new(system: Option<&str>) -> Conversation {
        Conversation {
            messages: system
                .map(|text| Message::new("system", text))
                .into_iter()
                .collect(),
        }
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
    /// When the tokenizer has no chat template, or the template refuses the turns.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let text = ChatTemplate::of(tokenizer)?.render_prompt(&self.messages)?;
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

    #[test]
    fn a_model_without_a_chat_template_cannot_converse() {
        let refused = Conversation::new(None).encode(&tokenizer("gpt2"));
        assert!(matches!(refused, Err(Error::ChatTemplate(_))));
    }
}
