//! Texts as long as an autoencoder and its model can read.

use crate::error::Result;
use crate::model::Model;
use crate::sae::Sae;
use crate::tokenizer::{Bos, Tokenizer};

/// Texts as tokens, cut to the length that a model reads and an autoencoder knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTexts {
    /// Ids of each text.
    pub ids: Vec<Vec<u32>>,
    /// Tokens of the longest text that is not cut.
    pub context: usize,
    /// Number of the texts that were cut.
    pub cut: usize,
}

impl CutTexts {
    /// Encodes texts and cuts them to the context of the model and that of the texts that the autoencoder
    /// was trained on.
    ///
    /// # Errors
    /// When a text cannot be encoded.
    pub fn encode(
        model: &Model,
        tokenizer: &Tokenizer,
        sae: &Sae,
        texts: &[String],
        bos: Bos,
    ) -> Result<CutTexts> {
        let limit = model.config().n_ctx;
        let context = sae.record().context.map_or(limit, |known| known.min(limit));
        let (mut ids, mut cut) = (Vec::with_capacity(texts.len()), 0);
        for text in texts {
            let mut tokens = tokenizer.encode(text, bos)?;
            cut += usize::from(tokens.len() > context);
            tokens.truncate(context);
            ids.push(tokens);
        }
        Ok(CutTexts { ids, context, cut })
    }
}
