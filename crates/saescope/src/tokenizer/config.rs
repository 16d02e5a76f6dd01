//! The configuration files beside a tokenizer: special tokens, tokens added to a text, chat template.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// Settings from the files beside a tokenizer.
#[derive(Default)]
pub(super) struct CompanionFiles {
    /// `Some(None)` when the files say that there is none.
    pub(super) bos: Option<Option<Token>>,
    pub(super) eos: Vec<Token>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) add_prefix_space: bool,
    pub(super) class: Option<String>,
    pub(super) chat_template: Option<String>,
}

/// A special token, by its text or by its id.
pub(super) enum Token {
    Text(String),
    Id(u32),
}

impl CompanionFiles {
    /// Reads those of the files that `folder` has.
    pub(super) fn read(folder: &Path) -> Result<CompanionFiles> {
        let tokenizer = json(&folder.join("tokenizer_config.json"))?;
        let map = json(&folder.join("special_tokens_map.json"))?;
        let generation = json(&folder.join("generation_config.json"))?;
        let model = json(&folder.join("config.json"))?;
        let flag = |key: &str| tokenizer.get(key).and_then(Value::as_bool);

        let bos = [
            (&tokenizer, "bos_token"),
            (&map, "bos_token"),
            (&generation, "bos_token_id"),
            (&model, "bos_token_id"),
        ]
        .into_iter()
        .find_map(|(file, key)| file.get(key))
        .map(|value| tokens(value).into_iter().next());
        // All of them end a text: instruct models list the end of a turn in generation_config.json
        // and the end of a document in tokenizer_config.json, or the other way round. The tokenizer's
        // own comes first, since chat templates mean that one.
        let mut eos: Vec<Token> = [(&tokenizer, "eos_token"), (&generation, "eos_token_id")]
            .into_iter()
            .filter_map(|(file, key)| file.get(key))
            .flat_map(tokens)
            .collect();
        if eos.is_empty() {
            let others = [(&map, "eos_token"), (&model, "eos_token_id")];
            let found = others.into_iter().find_map(|(file, key)| file.get(key));
            eos = found.map(tokens).unwrap_or_default();
        }
        Ok(CompanionFiles {
            bos,
            eos,
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            add_prefix_space: flag("add_prefix_space").unwrap_or(false),
            class: tokenizer
                .get("tokenizer_class")
                .and_then(Value::as_str)
                .map(str::to_owned),
            chat_template: chat_template(folder, &tokenizer)?,
        })
    }
}

/// The object in a file; null if there is no file.
fn json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::format(path, format!("not JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Error::format(path, "expected a JSON object"))
    }
}

/// Tokens as configurations write them: a text, an id, a list of those, an object with `content`.
fn tokens(value: &Value) -> Vec<Token> {
    match value {
        Value::String(text) => vec![Token::Text(text.clone())],
        Value::Number(id) => id
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .map(Token::Id)
            .into_iter()
            .collect(),
        Value::Array(list) => list.iter().flat_map(tokens).collect(),
        Value::Object(token) => token.get("content").map(tokens).unwrap_or_default(),
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

fn chat_template(folder: &Path, tokenizer: &Value) -> Result<Option<String>> {
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        let text = std::fs::read_to_string(&file).map_err(|error| Error::io(&file, error))?;
        return Ok(Some(text));
    }
    let named = |entry: &Value| entry.get("name").and_then(Value::as_str) == Some("default");
    let template = match tokenizer.get("chat_template") {
        Some(Value::Array(list)) => list
            .iter()
            .find(|entry| named(entry))
            .and_then(|entry| entry.get("template")),
        other => other,
    };
    Ok(template.and_then(Value::as_str).map(str::to_owned))
}
