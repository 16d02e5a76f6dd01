//! Documents as ids: texts, ids that a file holds, and chats through the model's template.

use serde_json::Value;

use super::Chats;
use super::record::{Chat, DOCUMENTS, Document, TOOLS};
use crate::chat::{Attachments, ChatTemplate, check_list};
use crate::tokenizer::{Bos, Tokenizer};

/// Turns documents into ids.
pub(super) struct Encoder<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// The model's chat template, unless there is none or chats are read without it.
    chat: Option<ChatTemplate>,
    /// The same for chats with tools.
    tool_chat: Option<ChatTemplate>,
    chats: Chats,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, chats: Chats) -> Encoder<'a> {
        let (chat, tool_chat) = match chats {
            Chats::Auto | Chats::Template => (
                ChatTemplate::of(tokenizer).ok(),
                ChatTemplate::for_tools(tokenizer).ok(),
            ),
            Chats::Plain => (None, None),
        };
        Encoder {
            tokenizer,
            chat,
            tool_chat,
            chats,
        }
    }

    /// The template that renders a chat.
    fn template(&self, chat: &Chat) -> Option<&ChatTemplate> {
        match &chat.tools {
            Some(_) => self.tool_chat.as_ref(),
            None => self.chat.as_ref(),
        }
    }

    /// The ids of a document, without the tokens that the tokenizer puts around a text.
    pub(super) fn encode(&self, document: &Document) -> Result<Vec<u32>, String> {
        let ids = match document {
            Document::Text(text) => return self.plain(text),
            Document::Ids(ids) => {
                let d_vocab = self.tokenizer.d_vocab();
                if let Some(id) = ids.iter().find(|id| **id as usize >= d_vocab) {
                    return Err(format!(
                        "the id {id} is not in the vocabulary of {d_vocab} tokens; the ids are those of \
                         another tokenizer"
                    ));
                }
                ids.clone()
            }
            Document::Turns(chat) => match self.template(chat) {
                Some(template) => {
                    let attachments = Attachments {
                        tools: list(template, TOOLS, chat.tools.as_ref())?,
                        documents: list(template, DOCUMENTS, chat.documents.as_ref())?,
                    };
                    let text = template.render_attached(&chat.turns, &attachments, false);
                    let text = text.map_err(|error| error.to_string())?;
                    let ids = self.tokenizer.encode_raw(&text);
                    ids.map_err(|error| error.to_string())?
                }
                None if self.reads_plain() => {
                    let texts = chat.turns.iter().map(|turn| turn.content.as_str());
                    let texts: Vec<&str> = texts.collect();
                    return self.plain(&texts.join("\n\n"));
                }
                // The cause, as the template itself gives it.
                None => {
                    let reason = ChatTemplate::of(self.tokenizer).err();
                    let reason = reason.map_or_else(String::new, |reason| reason.to_string());
                    return Err(format!(
                        "it is a chat; {reason}; `plain` chats are the texts of their turns alone"
                    ));
                }
            },
        };
        Ok(self.without_affixes(ids))
    }

    /// True if chats are read as plain. A template that is refused is not passed over.
    fn reads_plain(&self) -> bool {
        match self.chats {
            Chats::Auto => self.tokenizer.chat_template().is_none(),
            Chats::Template => false,
            Chats::Plain => true,
        }
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>, String> {
        let ids = self.tokenizer.encode(text, Bos::Never);
        ids.map_err(|error| error.to_string())
    }

    /// Ids without the tokens around a text, which sequences add as they are asked to.
    fn without_affixes(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let around = |bos| self.tokenizer.around(bos).unwrap_or_default();
        let (before, _) = around(Bos::Always);
        let (_, after) = around(Bos::Auto);
        if !after.is_empty() && ids.ends_with(after) {
            ids.truncate(ids.len() - after.len());
        }
        if !before.is_empty() && ids.starts_with(before) {
            ids.drain(..before.len());
        }
        ids
    }
}

/// The list `name` beside a chat, for a template that has a place for it. Data sets keep such lists as JSON in
/// a text too, since the objects of a column have to be alike.
fn list(
    template: &ChatTemplate,
    name: &str,
    value: Option<&Value>,
) -> Result<Option<Value>, String> {
    let Some(value) = value.filter(|_| template.mentions(name)) else {
        return Ok(None);
    };
    let value = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| format!("the field `{name}` beside the chat: not JSON: {error}"))?,
        other => other.clone(),
    };
    let refused = |reason| {
        format!(
            "the field `{name}` beside the chat, of which the chat template makes text: {reason}; \
             `plain` chats are the texts of their turns alone"
        )
    };
    check_list(&value).map_err(refused)?;
    Ok(Some(value))
}
