//! A conversation with a model, line by line.

use std::io::{self, BufRead as _, Write as _};

use saescope::chat::{ChatTemplate, Message};
use saescope::tokenizer::Tokenizer;

use super::Writer;
use crate::print;

/// The messages so far.
pub(crate) struct Conversation {
    messages: Vec<Message>,
}

impl Conversation {
    pub(crate) fn new(system: Option<String>) -> Conversation {
        let messages = system.map(|text| Message::new("system", &text));
        Conversation {
            messages: messages.into_iter().collect(),
        }
    }

    pub(crate) fn ask(&mut self, question: &str) {
        self.messages.push(Message::new("user", question));
    }

    fn answered(&mut self, answer: &str) {
        self.messages.push(Message::new("assistant", answer));
    }

    /// The tokens of the prompt for the next answer.
    pub(crate) fn encode(&self, tokenizer: &Tokenizer) -> anyhow::Result<Vec<u32>> {
        let text = ChatTemplate::of(tokenizer)?.render_prompt(&self.messages)?;
        Ok(tokenizer.encode_raw(&text)?)
    }
}

/// Answers line after line until the input ends. A line is a question of the conversation or, without
/// a conversation, a text to continue.
pub(crate) fn converse(
    writer: &mut Writer,
    mut conversation: Option<Conversation>,
) -> anyhow::Result<()> {
    eprintln!("(end with an empty line or Ctrl-D)");
    loop {
        write!(print::stdout(), "> ")?;
        print::stdout().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            writeln!(print::stdout())?;
            return Ok(());
        }
        match &mut conversation {
            Some(conversation) => {
                conversation.ask(line);
                let tokens = writer.encode_conversation(conversation)?;
                conversation.answered(&writer.stream("", tokens)?);
            }
            None => {
                let tokens = writer.encode(line)?;
                writer.stream(line, tokens)?;
            }
        }
    }
}
