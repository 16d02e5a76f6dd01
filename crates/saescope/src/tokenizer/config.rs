//! The files beside a tokenizer: special tokens, added tokens, spaces and BOS, the chat template.
//!
//! They are read as `AutoTokenizer` of transformers 5 reads them: `added_tokens_decoder` in
//! `tokenizer_config.json` takes the place of the older `special_tokens_map.json` and `added_tokens.json`,
//! which otherwise come on top.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Error, Result};
use crate::stand_in;

/// Special tokens that have a name in every tokenizer, in the order in which new ones get their ids.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The file of the template for conversations with tools.
pub(crate) const TOOL_TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";

/// A bound above every number of sentinels; T5 has 100.
const MAX_COUNT: usize = 1 << 16;

/// Settings from the files beside a tokenizer.
#[derive(Default)]
pub(super) struct CompanionFiles {
    /// `Some(None)` when the files say that there is none.
    pub(super) bos: Option<Option<Token>>,
    pub(super) eos: Vec<Token>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) add_prefix_space: Option<bool>,
    /// Number of the sentinels `<extra_id_0>`, … of T5.
    pub(super) extra_ids: Option<usize>,
    /// Llama's older habit of a space after every special token, and not only at the beginning of a text.
    pub(super) legacy: Option<bool>,
    /// True if special tokens written out in a text are read as text.
    pub(super) split_special_tokens: bool,
    /// The tokenizer's class without `Fast`, by name.
    pub(super) class: Option<String>,
    /// `model_type` of the model's configuration.
    pub(super) model_type: Option<String>,
    /// Tokens to add to the vocabulary, in the order in which new ones get their ids.
    pub(super) added: Vec<Added>,
    /// Special tokens by the names that chat templates know them by; `None` where no file names BOS or EOS.
    pub(super) names: Option<Vec<(String, String)>>,
    pub(super) chat_template: Option<String>,
    /// The template for conversations with tools, if it is another one.
    pub(super) tool_template: Option<String>,
}

/// A special token, by its text or by its id.
pub(super) enum Token {
    Text(String),
    Id(u32),
}

/// A token to add.
pub(super) struct Added {
    pub(super) token: AddedToken,
    /// The id that the file says it has.
    pub(super) id: Option<u32>,
    /// True for a token of `added_tokens.json`, which counts where the vocabulary has no such id.
    pub(super) older: bool,
    pub(super) path: PathBuf,
}

/// One configuration file; empty if there is none.
struct Companion {
    path: PathBuf,
    object: Map<String, Value>,
}

impl CompanionFiles {
    /// Reads those of the files that `folder` has.
    pub(super) fn read(folder: &Path) -> Result<CompanionFiles> {
        let open = |name: &str| Companion::read(folder.join(name));
        let tokenizer = open("tokenizer_config.json")?;
        let map = open("special_tokens_map.json")?;
        let generation = open("generation_config.json")?;
        let model = open("config.json")?;
        let (map, older) = match tokenizer.has("added_tokens_decoder") {
            true => (Companion::default(), Companion::default()),
            false => (map, open("added_tokens.json")?),
        };
        let bos = match [&map, &tokenizer]
            .into_iter()
            .find(|file| file.has("bos_token"))
        {
            Some(file) => Some(file.tokens("bos_token")?),
            None => [&generation, &model]
                .into_iter()
                .find(|file| file.has("bos_token_id"))
                .map(|file| file.tokens("bos_token_id"))
                .transpose()?,
        };
        let special = special_tokens(&tokenizer, &map)?;
        let class = tokenizer
            .text("tokenizer_class")?
            .or(model.text("tokenizer_class")?);
        Ok(CompanionFiles {
            bos: bos.map(|tokens| tokens.into_iter().next()),
            eos: ends([&map, &tokenizer], [&generation, &model])?,
            add_bos: tokenizer.flag("add_bos_token")?.unwrap_or(false),
            add_eos: tokenizer.flag("add_eos_token")?.unwrap_or(false),
            add_prefix_space: tokenizer.flag("add_prefix_space")?,
            extra_ids: tokenizer.count("extra_ids")?,
            // Null is no `legacy`, and its absence leaves it to the kind of tokenizer.
            legacy: match tokenizer.object.get("legacy") {
                Some(Value::Null) => Some(false),
                _ => tokenizer.flag("legacy")?,
            },
            split_special_tokens: tokenizer.flag("split_special_tokens")?.unwrap_or(false),
            class: class.map(|class| class.strip_suffix("Fast").unwrap_or(&class).to_owned()),
            model_type: model.text("model_type")?,
            added: added(&tokenizer, &older, &special)?,
            names: [&map, &tokenizer]
                .iter()
                .any(|file| file.has("bos_token") || file.has("eos_token"))
                .then(|| names(special)),
            chat_template: template(folder, "chat_template.jinja", ("default", &tokenizer))?,
            tool_template: template(folder, TOOL_TEMPLATE, ("tool_use", &tokenizer))?,
        })
    }
}

impl CompanionFiles {
    /// The texts of the special tokens, whose own flags may not say that they are special.
    pub(super) fn special(&self) -> HashSet<&str> {
        let special = self.added.iter().filter(|added| added.token.special);
        special.map(|added| added.token.content.as_str()).collect()
    }
}

/// The tokens that end a text. All of them do: instruct models list the end of a turn in
/// generation_config.json and the end of a document in tokenizer_config.json, or the other way round. The
/// tokenizer's own comes first, since chat templates mean that one.
fn ends(tokenizer: [&Companion; 2], model: [&Companion; 2]) -> Result<Vec<Token>> {
    let first = |files: [&Companion; 2], key| {
        let file = files.into_iter().find(|file| file.has(key));
        file.map_or(Ok(Vec::new()), |file| file.tokens(key))
    };
    let mut ends = first(tokenizer, "eos_token")?;
    ends.extend(first(model, "eos_token_id")?);
    Ok(ends)
}

/// The tokens to add: those with ids, then the `special` ones.
fn added(tokenizer: &Companion, older: &Companion, special: &[SpecialToken]) -> Result<Vec<Added>> {
    let mut added = Vec::new();
    for (id, token) in tokenizer.map("added_tokens_decoder")?.into_iter().flatten() {
        let (Ok(id), Some(token)) = (id.parse(), added_token(token)) else {
            let expected = "an id with a token that has `content` and flags";
            return Err(tokenizer.broken("added_tokens_decoder", expected));
        };
        added.push(Added {
            token,
            id: Some(id),
            older: false,
            path: tokenizer.path.clone(),
        });
    }
    let texts: HashSet<&str> = special
        .iter()
        .map(|special| special.token.content.as_str())
        .collect();
    for (content, id) in &older.object {
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return Err(older.broken(content, "the id of a token"));
        };
        let special = texts.contains(content.as_str());
        added.push(Added {
            token: AddedToken::from(content.clone(), special).normalized(!special),
            id: Some(id),
            older: true,
            path: older.path.clone(),
        });
    }
    added.sort_by_key(|added| added.id);
    let mut there: HashSet<String> = added
        .iter()
        .map(|added| added.token.content.clone())
        .collect();
    for new in special {
        if there.insert(new.token.content.clone()) {
            added.push(Added {
                token: new.token.clone(),
                id: None,
                older: false,
                path: new.path.clone(),
            });
        }
    }
    Ok(added)
}

/// The names of special tokens, each with its text.
fn names(special: Vec<SpecialToken>) -> Vec<(String, String)> {
    let named = special
        .into_iter()
        .filter_map(|special| Some((special.name?, special.token.content)));
    named.collect()
}

/// A special token of a file. Those of lists have no name.
struct SpecialToken {
    name: Option<String>,
    token: AddedToken,
    path: PathBuf,
}

/// The special tokens of the files: those of [`NAMED`], other keys that end in `_token`, and the lists. A
/// key of the map takes the place of the tokenizer's.
fn special_tokens(tokenizer: &Companion, map: &Companion) -> Result<Vec<SpecialToken>> {
    let own = [tokenizer, map]
        .into_iter()
        .flat_map(|file| file.object.keys());
    let own = own.filter(|key| key.ends_with("_token") && !NAMED.contains(&key.as_str()));
    let keys = NAMED.into_iter().chain(own.map(String::as_str));
    let mut found: Vec<SpecialToken> = Vec::new();
    for key in keys {
        let file = [map, tokenizer].into_iter().find(|file| file.has(key));
        // Flags, such as `add_bos_token`, end in the same word.
        if let Some(file) = file
            && !matches!(&file.object[key], Value::Bool(_) | Value::Null)
        {
            found.push(file.special(Some(key), &file.object[key], (key, "a token"))?);
        }
    }
    let lists = ["extra_special_tokens", "additional_special_tokens"];
    let mut listed = false;
    for file in [tokenizer, map] {
        // The older name counts where the newer one is empty, and the tokenizer's file has no list.
        let full = |key: &&str| file.object.get(*key).is_some_and(|list| !is_empty(list));
        let Some(key) = lists
            .into_iter()
            .find(full)
            .filter(|key| !listed || *key == lists[0])
        else {
            continue;
        };
        listed = true;
        let values: Vec<(Option<&str>, &Value)> = match &file.object[key] {
            Value::Array(list) => list.iter().map(|value| (None, value)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| (Some(name.as_str()), value))
                .collect(),
            _ => return Err(file.broken(key, "a list of tokens")),
        };
        for (name, value) in values {
            found.push(file.special(name, value, (key, "a list of tokens"))?);
        }
    }
    Ok(found)
}

fn is_empty(list: &Value) -> bool {
    match list {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        other => other.is_null(),
    }
}

/// A special token: its text, or an object with its flags.
fn special_token(value: &Value) -> Option<AddedToken> {
    match value {
        Value::String(content) => Some(AddedToken::from(content.clone(), true)),
        other => added_token(other),
    }
}

/// A token with its flags; `None` where one of them is of another kind. Without the flag, special tokens are
/// found before a text is normalised.
fn added_token(value: &Value) -> Option<AddedToken> {
    let content = value.get("content")?.as_str()?.to_owned();
    let flag = |key: &str, default: bool| match value.get(key) {
        None | Some(Value::Null) => Some(default),
        Some(flag) => flag.as_bool(),
    };
    let special = flag("special", false)?;
    let token = AddedToken::from(content, special)
        .lstrip(flag("lstrip", false)?)
        .rstrip(flag("rstrip", false)?)
        .single_word(flag("single_word", false)?)
        .normalized(flag("normalized", !special)?);
    Some(token)
}

impl Default for Companion {
    fn default() -> Companion {
        Companion {
            path: PathBuf::new(),
            object: Map::new(),
        }
    }
}

impl Companion {
    fn read(path: PathBuf) -> Result<Companion> {
        if !path.is_file() {
            return Ok(Companion {
                path,
                object: Map::new(),
            });
        }
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
        stand_in::check_text(&path, &bytes)?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::format(&path, format!("not JSON: {error}")))?;
        match value {
            Value::Object(object) => Ok(Companion { path, object }),
            _ => Err(Error::format(&path, "expected a JSON object")),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// The object under `key`.
    fn map(&self, key: &str) -> Result<Option<&Map<String, Value>>> {
        match self.object.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.broken(key, "an object")),
        }
    }

    fn broken(&self, key: &str, expected: &str) -> Error {
        Error::format(&self.path, format!("`{key}` is not {expected}"))
    }

    /// The special token of `value`; `expected` is the key that holds it, and its kind.
    fn special(
        &self,
        name: Option<&str>,
        value: &Value,
        expected: (&str, &str),
    ) -> Result<SpecialToken> {
        let token = special_token(value).ok_or_else(|| self.broken(expected.0, expected.1))?;
        Ok(SpecialToken {
            name: name.map(str::to_owned),
            token: token.special(true),
            path: self.path.clone(),
        })
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.broken(key, "true or false")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(count) if count <= MAX_COUNT => Ok(Some(count)),
                _ => Err(self.broken(key, "a number of tokens")),
            },
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.broken(key, "a text")),
        }
    }

    /// The tokens under `key`: a text, an id, an object with `content`, or a list of those. No token for null.
    fn tokens(&self, key: &str) -> Result<Vec<Token>> {
        let values = match &self.object[key] {
            Value::Null => &[],
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let token = |value: &Value| {
            let token = match value {
                Value::String(text) => Some(Token::Text(text.clone())),
                Value::Number(id) => id
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok())
                    .map(Token::Id),
                other => added_token(other).map(|token| Token::Text(token.content)),
            };
            token.ok_or_else(|| self.broken(key, "a token or a list of tokens"))
        };
        values.iter().map(token).collect()
    }
}

/// A chat template: the file called `file`, or the named one among those of the tokenizer's configuration,
/// where a text alone is `default`.
fn template(
    folder: &Path,
    file: &str,
    (name, tokenizer): (&str, &Companion),
) -> Result<Option<String>> {
    let file = folder.join(file);
    if file.is_file() {
        let text = std::fs::read_to_string(&file).map_err(|error| Error::io(&file, error))?;
        if !text.is_empty() {
            stand_in::check_text(&file, text.as_bytes())?;
        }
        return Ok(Some(text));
    }
    let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
    let template = match tokenizer.object.get("chat_template") {
        Some(Value::Array(list)) => list
            .iter()
            .find(named)
            .and_then(|entry| entry.get("template")),
        Some(Value::Object(map)) => map.get(name),
        Some(Value::String(_)) if name != "default" => None,
        other => other,
    };
    match template {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(tokenizer.broken("chat_template", "a text or a list of named texts")),
    }
}
