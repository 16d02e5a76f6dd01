//! JSON as Python's `json.dumps` writes it, nothing escaped for HTML, and values from JSON.

use std::sync::Arc;

use serde_json::Value as Json;

use super::fault::{Fault, fault};
use super::interpreter::Args;
use super::limits::Limits;
use super::operators::order;
use super::print::text_of;
use super::text::float;
use super::value::Value;

/// The values of a JSON document.
pub(super) fn read(json: &Json) -> Result<Value, Fault> {
    match json {
        Json::Null => Ok(Value::None),
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::Number(number) => {
            let whole = number
                .as_i64()
                .map(i128::from)
                .or(number.as_u64().map(i128::from));
            let float = || Value::Float(number.as_f64().unwrap_or(f64::NAN));
            Ok(whole.map_or_else(float, Value::Int))
        }
        Json::String(text) => Ok(Value::text(text.as_str())),
        Json::Array(items) => Value::list(items.iter().map(read).collect::<Result<_, _>>()?),
        Json::Object(map) => {
            let entry =
                |(key, value): (&String, &Json)| Ok((Value::text(key.as_str()), read(value)?));
            Value::dict(map.iter().map(entry).collect::<Result<_, Fault>>()?)
        }
    }
}

/// The filter `fromjson`: the value of a JSON text. Other values, and other texts, stay as they are.
pub(super) fn parsed(limits: &Limits, value: Value) -> Result<Value, Fault> {
    let Value::Str(text) = &value else {
        return Ok(value);
    };
    // A value takes no more elements than its text has characters.
    limits.elements(text.len())?;
    match serde_json::from_str::<Json>(text) {
        Ok(json) => read(&json),
        Err(_) => Ok(value),
    }
}

struct Style {
    ascii: bool,
    sorted: bool,
    indent: Option<Arc<str>>,
    comma: Arc<str>,
    colon: Arc<str>,
}

/// The filter `tojson` as `transformers` has it.
pub(super) fn filter(limits: &Limits, value: &Value, args: Args) -> Result<String, Fault> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sorted] = args.take("tojson", names)?;
    let is = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let indent: Option<Arc<str>> = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(indent)) => Some(indent),
        Some(indent) => {
            let count = indent
                .as_int()
                .ok_or_else(|| fault("tojson: the indent is no number"))?;
            let count = usize::try_from(count).unwrap_or(0);
            limits.charge(count)?;
            Some(" ".repeat(count).into())
        }
    };
    let (comma, colon) = match separators {
        None | Some(Value::None) if indent.is_some() => (Arc::from(","), Arc::from(": ")),
        None | Some(Value::None) => (Arc::from(", "), Arc::from(": ")),
        Some(Value::List(pair) | Value::Tuple(pair)) => match &pair.items[..] {
            [Value::Str(comma), Value::Str(colon)] => (comma.clone(), colon.clone()),
            _ => return Err(fault("tojson: the separators are not two texts")),
        },
        Some(_) => return Err(fault("tojson: the separators are not two texts")),
    };
    let style = Style {
        ascii: is(ascii),
        sorted: is(sorted),
        indent,
        comma,
        colon,
    };
    let mut out = String::new();
    write(limits, &style, value, 0, &mut out)?;
    Ok(out)
}

fn write(
    limits: &Limits,
    style: &Style,
    value: &Value,
    depth: usize,
    out: &mut String,
) -> Result<(), Fault> {
    limits.step(1)?;
    let before = out.len();
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) if number.is_nan() => out.push_str("NaN"),
        Value::Float(number) if number.is_infinite() => {
            out.push_str(if *number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text) => {
            // Before its escapes are written, which take twelve bytes at most.
            limits.charge(text.len())?;
            quote(style.ascii, text, out);
        }
        Value::List(all) | Value::Tuple(all) => {
            return list(limits, style, &all.items, depth, out);
        }
        Value::Dict(dict) => return map(limits, style, &dict.entries, depth, out),
        other => {
            let kind = other.kind();
            return Err(fault(format!(
                "Object of type {kind} is not JSON serializable"
            )));
        }
    }
    limits.charge(out.len() - before)
}

fn line(limits: &Limits, style: &Style, depth: usize, out: &mut String) -> Result<(), Fault> {
    if let Some(indent) = &style.indent {
        limits.charge(1 + indent.len() * depth)?;
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
    Ok(())
}

fn list(
    limits: &Limits,
    style: &Style,
    items: &[Value],
    depth: usize,
    out: &mut String,
) -> Result<(), Fault> {
    limits.charge(2)?;
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            limits.charge(style.comma.len())?;
            out.push_str(&style.comma);
        }
        line(limits, style, depth + 1, out)?;
        write(limits, style, item, depth + 1, out)?;
    }
    if !items.is_empty() {
        line(limits, style, depth, out)?;
    }
    out.push(']');
    Ok(())
}

fn map(
    limits: &Limits,
    style: &Style,
    entries: &[(Value, Value)],
    depth: usize,
    out: &mut String,
) -> Result<(), Fault> {
    let mut entries: Vec<&(Value, Value)> = entries.iter().collect();
    if style.sorted {
        // Keys of different types cannot be sorted.
        for pair in entries.windows(2) {
            order(limits, "<", &pair[0].0, &pair[1].0)?;
        }
        let by_key = |a: &&(Value, Value), b: &&(Value, Value)| {
            order(limits, "<", &a.0, &b.0)
                .ok()
                .flatten()
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        entries.sort_by(by_key);
    }
    limits.charge(2)?;
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            limits.charge(style.comma.len())?;
            out.push_str(&style.comma);
        }
        line(limits, style, depth + 1, out)?;
        let key: Arc<str> = match key {
            Value::None => "null".into(),
            Value::Bool(true) => "true".into(),
            Value::Bool(false) => "false".into(),
            Value::Str(_) | Value::Int(_) | Value::Float(_) => text_of(limits, key)?,
            other => {
                let kind = other.kind();
                let text = "keys must be str, int, float, bool or None";
                return Err(fault(format!("{text}, not {kind}")));
            }
        };
        limits.charge(key.len() + style.colon.len() + 2)?;
        quote(style.ascii, &key, out);
        out.push_str(&style.colon);
        write(limits, style, value, depth + 1, out)?;
    }
    if !entries.is_empty() {
        line(limits, style, depth, out)?;
    }
    out.push('}');
    Ok(())
}

fn quote(ascii: bool, text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c if c < ' ' || ascii => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
