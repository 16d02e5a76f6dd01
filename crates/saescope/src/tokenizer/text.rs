//! Texts of a request, and tokenizers that know ids alone.

use std::borrow::Cow;

use super::pieces::{Entry, Pieces};
use super::{Bos, Engine, Special, Tokenizer};
use crate::error::{Error, Result};

/// A text, as it is written or as the ids of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// The text.
    Written(String),
    /// Its ids. Nothing is put before or after them, unless [`Bos::Always`] asks for it.
    Ids(Vec<u32>),
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::Written(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::Written(text)
    }
}

impl Tokenizer {
    /// A tokenizer of `d_vocab` ids, for a model whose own cannot be read because of `reason`: texts are
    /// refused, and an id is shown as `<id>`.
    pub(crate) fn of_ids(d_vocab: usize, reason: &Error) -> Result<Tokenizer> {
        let entry = |id: u32| Entry {
            id,
            bytes: format!("<{id}>").into_bytes(),
            special: false,
        };
        let pieces = Pieces::new((0..d_vocab as u32).map(entry).collect(), false);
        Ok(Tokenizer {
            engine: Engine::None {
                reason: reason.to_string(),
            },
            pieces: pieces.map_err(Error::Tokenizer)?,
            special: Special::default(),
            chat_template: None,
            tool_template: None,
            kind: format!("none that can be read: {reason}"),
        })
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// As [`encode`](Tokenizer::encode). An id outside a vocabulary of `d_vocab` ids is refused, and ids that
    /// begin with the beginning-of-sequence token where none is wanted.
    pub fn encode_text(&self, text: &Text, bos: Bos, d_vocab: usize) -> Result<Vec<u32>> {
        let ids = match text {
            Text::Written(text) => self.encode(text, bos)?,
            Text::Ids(ids) => self.begun(ids, bos)?,
        };
        match ids.iter().find(|&&id| id as usize >= d_vocab) {
            Some(unknown) => Err(Error::Argument(format!(
                "the text has the token id {unknown}, and the vocabulary has {d_vocab} ids, from 0"
            ))),
            None => Ok(ids),
        }
    }

    /// Ids with the beginning that `bos` asks for.
    fn begun(&self, ids: &[u32], bos: Bos) -> Result<Vec<u32>> {
        let first = ids.first().copied();
        if bos == Bos::Never && first.is_some() && first == self.bos() {
            return Err(Error::Argument(format!(
                "the ids begin with the beginning-of-sequence token {}, and `bos` is never; omit one of them",
                ids[0]
            )));
        }
        let before = match bos {
            Bos::Always => self.around(bos)?.0,
            Bos::Auto | Bos::Never => &[],
        };
        // Ids that were copied from a text's tokens have it already.
        if ids.starts_with(before) {
            return Ok(ids.to_vec());
        }
        Ok([before, ids].concat())
    }

    /// `text` as it is written, or as its ids are.
    pub fn written<'a>(&self, text: &'a Text) -> Cow<'a, str> {
        match text {
            Text::Written(text) => text.into(),
            Text::Ids(ids) => self.decode(ids).into(),
        }
    }
}
