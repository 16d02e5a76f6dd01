//! Standard input, which holds one thing in a call.

use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use crate::usage::usage;

/// The flag or argument whose value was read from standard input.
static READ_FOR: Mutex<Option<&str>> = Mutex::new(None);

/// All of standard input, for the flag or argument `what`.
pub(crate) fn read(what: &'static str) -> anyhow::Result<Vec<u8>> {
    let mut read_for = READ_FOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = read_for.replace(what) {
        usage!("standard input holds one thing, and both {before} and {what} are read from it");
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.context("standard input")?;
    Ok(bytes)
}

/// Standard input as text, less the line break at its end.
pub(crate) fn read_text(what: &'static str) -> anyhow::Result<String> {
    let text = String::from_utf8(read(what)?).context("standard input is not a text in UTF-8")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
