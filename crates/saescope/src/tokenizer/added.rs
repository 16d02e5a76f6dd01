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
    let known = library.get_added_tokens_decoder();
    let texts: HashSet<&str> = known.values().map(|token| token.content.as_str()).collect();
    // A token that a file names by its text alone keeps the flags that it has in the vocabulary; only
    // `added_tokens_decoder` has flags of its own.
    let is_new = |added: &&Added| match (added.id, added.older) {
        (Some(id), true) => !known.contains_key(&id),
        (Some(id), false) => known.get(&id) != Some(&added.token),
        (None, _) => !texts.contains(added.token.content.as_str()),
    };
    let new = beside.added.iter().filter(is_new);
    let new: Vec<AddedToken> = new.map(|added| added.token.clone()).collect();
    // One call, since each one builds the search for added tokens anew.
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
