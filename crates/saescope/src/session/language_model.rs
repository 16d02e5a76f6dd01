//! A model and the tokenizer that goes with it.

use std::path::Path;

use saescope_kernels::Precision;

use super::Warning;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::origin::Origin;
use crate::site::{Site, Sites};
use crate::tokenizer::{Bos, Text, Tokenizer};
use crate::vector;

/// A model, its tokenizer, and how both were opened.
pub struct LanguageModel {
    /// Reference that named it.
    pub reference: String,
    /// The model.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Precision of the weights in memory.
    pub precision: Precision,
    /// The token that texts begin with.
    pub bos: Bos,
}

impl LanguageModel {
    /// Opens the model in the file or folder at `path`, which `reference` names, and its tokenizer.
    ///
    /// # Errors
    /// When a file cannot be read or is refused.
    pub fn open(
        reference: &str,
        path: &Path,
        precision: Precision,
        bos: Bos,
    ) -> Result<LanguageModel> {
        // Reading a tokenizer keeps one thread busy for as long as some models take to load.
        let (tokenizer, model) = rayon::join(
            || Tokenizer::of_model(path),
            || Model::open(path, precision),
        );
        let model = model?;
        let d_vocab = model.config().d_vocab;
        let mut tokenizer = match tokenizer {
            Ok(tokenizer) => tokenizer,
            // Everything but text is within reach without one.
            Err(error) => Tokenizer::of_ids(d_vocab, &error)?,
        };
        tokenizer.forget_unknown_ends(d_vocab);
        check_ends(&tokenizer, d_vocab)?;
        Ok(LanguageModel {
            reference: reference.to_owned(),
            tokenizer,
            model,
            precision,
            bos,
        })
    }

    /// Ids of each text.
    ///
    /// # Errors
    /// When a text cannot be encoded, has an id that the model does not know, or more tokens than the
    /// model's context.
    pub fn encode(&self, texts: &[Text]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.encode_one(text)).collect()
    }

    /// Ids of one text.
    ///
    /// # Errors
    /// As [`encode`](LanguageModel::encode).
    pub fn encode_one(&self, text: &Text) -> Result<Vec<u32>> {
        let (limit, d_vocab) = (self.model.config().n_ctx, self.model.config().d_vocab);
        let ids = self.tokenizer.encode_text(text, self.bos, d_vocab)?;
        if ids.len() > limit {
            return Err(Error::Argument(format!(
                "`{}` has {} tokens, and the model's context is {limit}; shorten the text",
                excerpt(&self.tokenizer.written(text)),
                ids.len()
            )));
        }
        Ok(ids)
    }

    /// The origin of a result of this model alone.
    pub fn origin(&self) -> Origin {
        Origin {
            model: self.reference.clone(),
            dtype: self.precision,
            bos: self.bos,
            ..Origin::default()
        }
    }

    /// Makes sure that sequences of `context` tokens are not too long for the model.
    ///
    /// # Errors
    /// When the model's context is shorter.
    pub fn check_context(&self, context: usize) -> Result<()> {
        let limit = self.model.config().n_ctx;
        if context > limit {
            return Err(Error::LongContext { context, limit });
        }
        Ok(())
    }

    /// The sites that `patterns` select for a vector that is saved in `file`. Warns of one that its format
    /// cannot hold.
    ///
    /// # Errors
    /// When a pattern selects no site of the model.
    pub fn vector_sites(
        &self,
        patterns: &[Sites],
        file: &Path,
    ) -> Result<(Vec<Site>, Option<Warning>)> {
        let mut sites = self.model.select_sites(patterns)?;
        // A pattern that names everything means everything that has a direction.
        if patterns.contains(&Sites::All) {
            sites.retain(|&site| self.model.width(site).is_some());
        }
        let first = Site::ResidPost(0);
        let omits = vector::is_gguf(file) && sites.len() > 1 && sites.contains(&first);
        if !omits {
            return Ok((sites, None));
        }
        sites.retain(|&site| site != first);
        let reason = "llama.cpp accepts no direction of layer 0";
        let warning = Warning::OmittedSite {
            site: first,
            reason,
        };
        Ok((sites, Some(warning)))
    }

    /// Warns where the tokenizer makes ids that the model does not know.
    pub fn check_vocabulary(&self) -> Option<Warning> {
        let (tokenizer, model) = (self.tokenizer.d_vocab(), self.model.config().d_vocab);
        (tokenizer > model).then_some(Warning::LargeTokenizer { tokenizer, model })
    }

    /// True if texts begin with the beginning-of-sequence token.
    ///
    /// # Errors
    /// When that token is asked for and the tokenizer has none.
    pub fn prepends_bos(&self) -> Result<bool> {
        let (before, _) = self.tokenizer.around(self.bos)?;
        let first = before.first();
        Ok(first.is_some_and(|&id| Some(id) == self.tokenizer.bos()))
    }
}

/// Makes sure that the model can read and write the tokens that begin and end its texts.
fn check_ends(tokenizer: &Tokenizer, d_vocab: usize) -> Result<()> {
    let mut ends = tokenizer
        .bos()
        .into_iter()
        .chain(tokenizer.eos_ids().iter().copied());
    match ends.find(|&id| id as usize >= d_vocab) {
        Some(id) => Err(Error::Tokenizer(format!(
            "the tokenizer's files name `{}` as the beginning or end of a text; its id is {id}, and the model's \
             vocabulary has {d_vocab} ids, from 0",
            tokenizer.token_text(id)
        ))),
        None => Ok(()),
    }
}

/// The beginning of a text, in one line, for a message.
pub(super) fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 40;
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.pop();
        shown.push('…');
    }
    shown.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_in_one_line() {
        assert_eq!(excerpt("one\ntwo"), "one two");
        assert_eq!(excerpt(&"가".repeat(50)), format!("{}…", "가".repeat(39)));
    }
}
