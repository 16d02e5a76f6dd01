//! Tokens that the files beside a tokenizer add to its vocabulary.

use std::collections::HashSet;

use tokenizers::{AddedToken, Tokenizer as Library};

use super::config::{Added, CompanionFiles};
use crate::error::{Error, Result};

/// Adds the tokens of `beside` to the vocabulary of `library`. A new token gets the next free id.
///
/// # Errors
/// When a file says another id than the token has, since the model learned one of the two.
pub(super) fn add_tokens(library: &mut Library, beside: &CompanionFiles) -> Result<()> {
    let known: HashSet<AddedToken> = library.get_added_tokens_decoder().into_values().collect();
    // One call, since each one builds the search for added tokens anew.
    let new = beside.added.iter().map(|added| &added.token);
    let new: Vec<AddedToken> = new
        .filter(|token| !known.contains(token))
        .cloned()
        .collect();
    if !new.is_empty() {
        library.add_tokens(&new);
    }
    library.set_encode_special_tokens(beside.split_special_tokens);
    beside
        .added
        .iter()
        .try_for_each(|added| check_id(library, added))
}

fn check_id(library: &Library, added: &Added) -> Result<()> {
    let Some(said) = added.id else { return Ok(()) };
    let content = &added.token.content;
    match library.token_to_id(content) {
        Some(id) if id != said => {
            let reason = format!(
                "the token `{content}` has the id {said} here, but {id} by the vocabulary; save the tokenizer \
                 anew, so that its files agree"
            );
            Err(Error::format(&added.path, reason))
        }
        _ => Ok(()),
    }
}
