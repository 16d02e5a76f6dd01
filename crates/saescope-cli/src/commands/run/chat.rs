//! A conversation with a model, line by line.

use std::io::{self, BufRead as _, Write as _};

use saescope::chat::Conversation;

use super::Writer;
use crate::print;

/// Answers line after line until the input ends. A line is a question of the conversation or, without
/// a conversation, a text to continue.
pub(crate) fn converse(
    writer: &mut Writer,
    mut conversation: Option<Conversation>,
) -> anyhow::Result<()> {
    print::note!("(end with an empty line or Ctrl-D)");
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
                let tokens = writer.encode(&line.to_owned().into())?;
                writer.stream(line, tokens)?;
            }
        }
    }
}
