//! Records as documents: the text of their fields, lists of ids, and the turns of chats.

use std::borrow::Cow;

use serde_json::Value;

use super::template::Template;
use crate::chat::Message;

/// A document before it becomes ids.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Document {
    /// A text.
    Text(String),
    /// Ids that the file holds.
    Ids(Vec<u32>),
    /// A conversation.
    Turns(Chat),
}

/// A conversation of a record, with what stands beside its turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chat {
    pub(super) turns: Vec<Message>,
    /// The fields [`TOOLS`] and [`DOCUMENTS`], of any kind.
    pub(super) tools: Option<Value>,
    pub(super) documents: Option<Value>,
}

/// The fields beside a chat that a template may take.
pub(super) const TOOLS: &str = "tools";
pub(super) const DOCUMENTS: &str = "documents";

impl Document {
    /// True if it has nothing but white space.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Document::Text(text) => text.trim().is_empty(),
            Document::Ids(ids) => ids.is_empty(),
            Document::Turns(chat) => {
                let mut turns = chat.turns.iter();
                turns.all(|turn| turn.content.trim().is_empty())
            }
        }
    }

    /// Bytes that it takes, roughly.
    pub(super) fn len(&self) -> usize {
        match self {
            Document::Text(text) => text.len(),
            Document::Ids(ids) => 4 * ids.len(),
            Document::Turns(chat) => chat.turns.iter().map(|turn| 16 + turn.content.len()).sum(),
        }
    }
}

/// The field beside a list of ids that tells padding from text.
pub(super) const MASK: &str = "attention_mask";

/// The fields of a record that are read: those of its text, and that of its labels.
#[derive(Clone, Copy)]
pub(super) struct RecordFields<'a> {
    pub(super) template: &'a Template,
    /// A record may lack this one.
    pub(super) labels: Option<&'a str>,
}

impl RecordFields<'_> {
    /// The document of a record, and its labels.
    pub(super) fn read(&self, record: &Value) -> Result<(Document, Vec<String>), String> {
        let document = document(self.template, record)?;
        let labels = match self.labels.map(|field| (field, lookup(record, field))) {
            Some((field, Ok(value))) => labels(field, value)?,
            _ => Vec::new(),
        };
        Ok((document, labels))
    }
}

/// The labels that a field holds: a text or a number is one, a list of them several.
fn labels(field: &str, value: &Value) -> Result<Vec<String>, String> {
    let label = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(format!(
            "the field `{field}` holds {value}, which is no label: a text, a number, or a list of them"
        )),
    };
    let mut labels: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(label).collect::<Result<_, _>>()?,
        one => vec![label(one)?],
    };
    labels.retain(|label| !label.is_empty());
    // A label that stands twice counts once.
    labels.sort_unstable();
    labels.dedup();
    Ok(labels)
}

/// The document of a record.
pub(super) fn document(template: &Template, record: &Value) -> Result<Document, String> {
    let Some(field) = template.only_field() else {
        let text = template.render(|field| text(record, field))?;
        return Ok(Document::Text(text));
    };
    match lookup(record, field)? {
        Value::Array(items) if items.is_empty() => Ok(Document::Ids(Vec::new())),
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let turns = items.iter().enumerate().map(|(at, turn)| {
                message(turn).map_err(|reason| format!("`{field}.{at}`: {reason}"))
            });
            let beside = |name| {
                let value = lookup(record, &beside(field, name)).ok();
                value.filter(|value| !value.is_null()).cloned()
            };
            Ok(Document::Turns(Chat {
                turns: turns.collect::<Result<_, _>>()?,
                tools: beside(TOOLS),
                documents: beside(DOCUMENTS),
            }))
        }
        Value::Array(items) if items.iter().all(Value::is_number) => {
            let ids = ids(items).map_err(|reason| format!("the field `{field}`: {reason}"))?;
            let mask = lookup(record, &beside(field, MASK)).ok();
            let mask = mask.and_then(Value::as_array);
            match mask {
                Some(mask) => without_padding(ids, mask).map(Document::Ids),
                None => Ok(Document::Ids(ids)),
            }
        }
        _ => text(record, field).map(|text| Document::Text(text.into_owned())),
    }
}

/// The field `name` of the object that has `field`.
pub(super) fn beside(field: &str, name: &str) -> String {
    match field.rsplit_once('.') {
        Some((object, _)) => format!("{object}.{name}"),
        None => name.to_owned(),
    }
}

/// A field as text.
fn text<'a>(record: &'a Value, field: &str) -> Result<Cow<'a, str>, String> {
    match lookup(record, field)? {
        Value::Null => Ok(Cow::Borrowed("")),
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) => Ok(Cow::Owned(number.to_string())),
        Value::Bool(bool) => Ok(Cow::Borrowed(if *bool { "true" } else { "false" })),
        Value::Array(items)
            if items
                .iter()
                .all(|item| item.is_object() || item.is_number()) =>
        {
            Err(format!(
                "the field `{field}` is a list; a chat or a list of ids can only be a template of its own"
            ))
        }
        Value::Array(_) => Err(format!(
            "the field `{field}` is a list, not text; name one of its items, as in {field}.0"
        )),
        Value::Object(_) => Err(format!(
            "the field `{field}` is an object, not text; name one of its fields, as in {field}.NAME"
        )),
    }
}

/// A field of a record; `a.b` is the field `b` of the object `a`, and `a.0` the first item of the list `a`.
fn lookup<'a>(record: &'a Value, field: &str) -> Result<&'a Value, String> {
    // A field of exactly this name comes before a path through objects.
    if let Some(found) = record.get(field) {
        return Ok(found);
    }
    if !record.is_object() {
        return Err("not an object with fields".to_owned());
    }
    let mut value = record;
    for name in field.split('.') {
        value = match value {
            // The fields of an object that is missing are missing too.
            Value::Null => return Ok(value),
            Value::Array(items) => {
                let item = name.parse().ok().and_then(|at: usize| items.get(at));
                item.ok_or_else(|| {
                    let len = items.len();
                    format!("there is no item `{name}` for the field `{field}`: the list has {len}, from 0")
                })?
            }
            _ => value
                .get(name)
                .ok_or_else(|| missing_field(field, record))?,
        };
    }
    Ok(value)
}

fn missing_field(field: &str, record: &Value) -> String {
    let Some(object) = record.as_object() else {
        return "not an object with fields".to_owned();
    };
    let mut reason = missing(field, object.keys().map(String::as_str));
    let lists = object.iter().filter_map(|(name, value)| {
        let items = value.as_array()?;
        (!items.is_empty() && items.iter().all(Value::is_object)).then_some((name, items))
    });
    for (name, items) in lists.take(1) {
        if items.iter().all(|item| message(item).is_ok()) {
            reason.push_str(&format!("; `{name}` is a chat"));
        } else {
            reason.push_str(&format!(
                "; `{name}` is a list of objects, which become documents when the list is a file of its own"
            ));
        }
    }
    reason
}

/// The reason that a field is missing among those of some names.
pub(super) fn missing<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = names.take(SHOWN).collect();
    format!(
        "there is no field `{field}`; there are {}; name one as the template (each file may have its own)",
        names.join(", ")
    )
}

fn ids(items: &[Value]) -> Result<Vec<u32>, String> {
    let id = |(at, item): (usize, &Value)| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("item {at} is {item}, not the id of a token"))
    };
    items.iter().enumerate().map(id).collect()
}

/// The ids that a mask keeps.
fn without_padding(ids: Vec<u32>, mask: &[Value]) -> Result<Vec<u32>, String> {
    if mask.len() != ids.len() {
        let (mask, ids) = (mask.len(), ids.len());
        return Err(format!("`{MASK}` has {mask} items for {ids} ids"));
    }
    let kept = ids
        .into_iter()
        .zip(mask)
        .filter_map(|(id, kept)| match kept {
            Value::Bool(kept) => kept.then_some(Ok(id)),
            kept => match kept.as_u64() {
                Some(0) => None,
                Some(1) => Some(Ok(id)),
                _ => Some(Err(format!("`{MASK}` holds {kept}, neither 0 nor 1"))),
            },
        });
    kept.collect()
}

/// Fields of a turn that say more than its text.
const SAYING: [&str; 4] = [
    "tool_calls",
    "function_call",
    "reasoning_content",
    "thinking",
];

/// A turn of a chat: `role` and `content`, or `from` and `value`.
fn message(turn: &Value) -> Result<Message, String> {
    let said = |name: &&&str| {
        turn.get(**name).is_some_and(|value| {
            !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
        })
    };
    if let Some(name) = SAYING.iter().find(said) {
        return Err(format!(
            "the turn has `{name}`, and only texts are read; leave such chats out"
        ));
    }
    let text = |name: &str| turn.get(name).and_then(Value::as_str);
    if let Some(role) = text("role") {
        let content = turn.get("content").ok_or("the turn has no `content`")?;
        return Ok(Message::new(role, &content_text(content)?));
    }
    let Some(from) = text("from") else {
        let names = turn
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.take(12).collect();
        return Err(format!(
            "not a turn of a chat, which has `role` and `content` or `from` and `value`; there are {}",
            names.join(", ")
        ));
    };
    let value = turn.get("value").ok_or("the turn has no `value`")?;
    let role = match from {
        "human" | "user" => "user",
        "gpt" | "chatgpt" | "assistant" | "model" => "assistant",
        "system" => "system",
        _ => {
            return Err(format!(
                "the turn is from `{from}`; known are human, user, gpt, chatgpt, assistant, model and system"
            ));
        }
    };
    Ok(Message::new(role, &content_text(value)?))
}

/// The text of a turn: a string, nothing, or parts that are all text.
fn content_text(content: &Value) -> Result<String, String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let part = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text"), Some(text)) => Ok(text.to_owned()),
                (Some(kind), _) => Err(format!(
                    "the turn has a part of the type `{kind}`; only text is read"
                )),
                _ => Err("the turn has a part that is not text".to_owned()),
            };
            parts.iter().map(part).collect()
        }
        _ => Err("the turn's content is neither text nor a list of parts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(template: &str, record: &Value) -> Result<Document, String> {
        document(&Template::parse(template).unwrap(), record)
    }

    #[test]
    fn places_in_lists_are_named_by_number() {
        let record = json!({"a": [{"b": "x"}, {"b": "y"}], "c": null, "d": ["u", "v"]});
        assert_eq!(
            read("a.1.b", &record).unwrap(),
            Document::Text("y".to_owned())
        );
        assert_eq!(
            read("{d.0}-{d.1}", &record).unwrap(),
            Document::Text("u-v".to_owned())
        );
        assert_eq!(read("c.b", &record).unwrap(), Document::Text(String::new()));
        assert!(
            read("a.2.b", &record)
                .unwrap_err()
                .contains("the list has 2")
        );
        assert!(
            read("d", &record)
                .unwrap_err()
                .contains("name one of its items")
        );
        assert!(
            read("{a}!", &record)
                .unwrap_err()
                .contains("template of its own")
        );
    }

    #[test]
    fn lists_of_numbers_are_ids() {
        let record = json!({"input_ids": [5, 6, 7, 0], "attention_mask": [1, 1, true, 0]});
        assert_eq!(
            read("input_ids", &record).unwrap(),
            Document::Ids(vec![5, 6, 7])
        );
        let nested = json!({"x": {"input_ids": [5], "attention_mask": [0]}});
        assert_eq!(read("x.input_ids", &nested).unwrap(), Document::Ids(vec![]));
        for (record, reason) in [
            (json!({"input_ids": [5, -100]}), "item 1 is -100"),
            (json!({"input_ids": [1.5]}), "item 0 is 1.5"),
            (
                json!({"input_ids": [5_000_000_000_u64]}),
                "item 0 is 5000000000",
            ),
            (
                json!({"input_ids": [5], "attention_mask": [1, 1]}),
                "has 2 items for 1 ids",
            ),
            (
                json!({"input_ids": [5], "attention_mask": [2]}),
                "holds 2, neither",
            ),
            (json!({"input_ids": [[5]]}), "is a list"),
        ] {
            let error = read("input_ids", &record).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn lists_of_turns_are_chats() {
        let turns = |turns: Value| read("chat", &json!({"chat": turns}));
        let expected = vec![
            Message::new("system", "s"),
            Message::new("user", "q"),
            Message::new("assistant", "a"),
        ];
        for chat in [
            json!([{"role": "system", "content": "s"}, {"role": "user", "content": "q", "tool_calls": null},
                {"role": "assistant", "content": "a", "weight": 1}]),
            json!([{"from": "system", "value": "s"}, {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"}]),
            json!([{"role": "system", "content": [{"type": "text", "text": "s"}]},
                {"from": "user", "value": "q"}, {"from": "chatgpt", "value": "a"}]),
        ] {
            let expected = Chat {
                turns: expected.clone(),
                ..Chat::default()
            };
            assert_eq!(turns(chat).unwrap(), Document::Turns(expected));
        }
        for (chat, reason) in [
            (
                json!([{"role": "user"}]),
                "`chat.0`: the turn has no `content`",
            ),
            (json!([{"from": "human"}]), "no `value`"),
            (
                json!([{"from": "observation", "value": ""}]),
                "from `observation`",
            ),
            (
                json!([{"role": "assistant", "content": null, "tool_calls": [{}]}]),
                "`tool_calls`",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image"}]}]),
                "type `image`",
            ),
            (json!([{"role": "user", "content": 3}]), "neither text nor"),
            (
                json!([{"speaker": "A", "text": "b"}]),
                "there are speaker, text",
            ),
            (
                json!([{"role": "user", "content": "a"}, "b"]),
                "is a list, not text",
            ),
        ] {
            let error = turns(chat).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn tools_and_documents_stand_beside_the_turns() {
        let turn = json!([{"role": "user", "content": "q"}]);
        let record =
            json!({"a": {"chat": turn, "tools": [{"name": "f"}], "documents": null}, "tools": 1});
        let Ok(Document::Turns(chat)) = read("a.chat", &record) else {
            panic!("not a chat");
        };
        assert_eq!(chat.tools, Some(json!([{"name": "f"}])));
        assert_eq!(chat.documents, None);
    }

    #[test]
    fn a_missing_field_is_told_what_is_there() {
        let error = |record: Value| read("text", &record).unwrap_err();
        assert!(
            error(json!({"messages": [{"role": "user", "content": "a"}]}))
                .ends_with("`messages` is a chat")
        );
        assert!(error(json!({"data": [{"text": "a"}]})).contains("`data` is a list of objects"));
        assert_eq!(error(json!([1])), "not an object with fields");
    }
}
