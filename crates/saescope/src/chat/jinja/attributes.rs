//! Attributes, items and slices of values.

use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault};
use super::interpreter::{Args, Interpreter};
use super::operators::lookup;
use super::text::byte_of;
use super::value::{Function, Loop, Range, Sequence, Value};

const STR_METHODS: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
];
const MORE_STR_METHODS: [&str; 3] = ["maketrans", "translate", "zfill"];
const DICT_METHODS: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const LOOP_METHODS: [&str; 2] = ["cycle", "changed"];

/// Methods that would change a value, which the sandbox of `transformers` forbids.
fn changes(value: &Value, name: &str) -> bool {
    match value {
        Value::Dict(_) => matches!(name, "clear" | "pop" | "popitem" | "setdefault" | "update"),
        Value::List(_) => matches!(
            name,
            "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort"
        ),
        _ => false,
    }
}

fn has_method(value: &Value, name: &str) -> bool {
    match value {
        Value::Str(_) => STR_METHODS.contains(&name) || MORE_STR_METHODS.contains(&name),
        Value::Dict(_) => DICT_METHODS.contains(&name),
        Value::List(_) => LIST_METHODS.contains(&name),
        Value::Tuple(_) | Value::Range(_) => matches!(name, "count" | "index"),
        Value::Loop(_) => LOOP_METHODS.contains(&name),
        Value::Float(_) => name == "is_integer",
        Value::Function(function) => match &**function {
            Function::Cycler(..) => matches!(name, "next" | "reset"),
            _ => false,
        },
        _ => false,
    }
}

/// Steps of a slice that lead out of every text and list.
const LONG: i128 = 1 << 40;

impl Interpreter {
    /// `value.name`: what Python's `getattr` finds, then the item of that name.
    pub(super) fn attribute(&self, value: &Value, name: &Arc<str>) -> Result<Value, Fault> {
        value.defined()?;
        if let Some(found) = self.python_attribute(value, name)? {
            return Ok(found);
        }
        if let Value::Dict(dict) = value {
            self.limits.step(dict.entries.len() / 16)?;
            if let Some(found) = dict.get(name) {
                return Ok(found.clone());
            }
        }
        Ok(missing(value, name))
    }

    /// `value[index]`: the item, then what Python's `getattr` finds.
    pub(super) fn item(&self, value: &Value, index: &Value) -> Result<Value, Fault> {
        value.defined()?;
        if let Some(found) = self.python_item(value, index)? {
            return Ok(found);
        }
        let Value::Str(name) = index else {
            let index = match index {
                Value::Int(index) => index.to_string(),
                other => other.kind().to_owned(),
            };
            let kind = value.kind();
            return Ok(Value::undefined(format!(
                "{kind} object has no element {index}"
            )));
        };
        match self.python_attribute(value, name)? {
            Some(found) => Ok(found),
            None => Ok(missing(value, name)),
        }
    }

    /// The attribute as Python's `getattr` finds it.
    pub(super) fn python_attribute(
        &self,
        value: &Value,
        name: &Arc<str>,
    ) -> Result<Option<Value>, Fault> {
        value.defined()?;
        if changes(value, name) {
            let (name, kind) = (name, value.kind());
            let text = format!("access to attribute '{name}' of '{kind}' object is unsafe");
            return Ok(Some(Value::undefined(text)));
        }
        if has_method(value, name) {
            self.limits.elements(2)?;
            let method = Function::Method(value.clone(), name.clone());
            return Ok(Some(Value::function(method)));
        }
        match value {
            Value::Namespace(namespace) if !name.starts_with('_') => Ok(namespace.get(name)),
            Value::Loop(of) => Ok(loop_attribute(of, name)),
            Value::Tuple(all) if all.is_group => Ok(match &**name {
                "grouper" => Some(all.items[0].clone()),
                "list" => Some(all.items[1].clone()),
                _ => None,
            }),
            Value::Range(range) => Ok(match &**name {
                "start" => Some(Value::Int(range.start)),
                "stop" => Some(Value::Int(range.stop)),
                "step" => Some(Value::Int(range.step)),
                _ => None,
            }),
            Value::Function(function) => match (&**function, &**name) {
                (Function::Macro(of, _), "name") => Ok(Some(Value::Str(of.name.clone()))),
                (Function::Macro(of, _), "arguments") => {
                    let names = of.parameters.iter().cloned().map(Value::Str);
                    Value::tuple(names.collect()).map(Some)
                }
                (Function::Cycler(items, at), "current") => Ok(Some(items[at.get()].clone())),
                _ => Ok(None),
            },
            Value::Int(_) | Value::Bool(_) | Value::Float(_) => Ok(match &**name {
                "real" => Some(value.clone()),
                "imag" => Some(Value::Int(0)),
                _ => None,
            }),
            _ => Ok(None),
        }
    }

    fn python_item(&self, value: &Value, index: &Value) -> Result<Option<Value>, Fault> {
        match value {
            Value::Dict(dict) => Ok(lookup(&self.limits, &dict.entries, index)?.cloned()),
            Value::List(all) | Value::Tuple(all) => {
                let index = index
                    .as_int()
                    .and_then(|index| place(index, all.items.len()));
                Ok(index.map(|at| all.items[at].clone()))
            }
            Value::Str(text) => {
                let Some(index) = index.as_int() else {
                    return Ok(None);
                };
                self.limits.scan(text.len())?;
                let count = text.chars().count();
                let found = place(index, count).and_then(|at| text.chars().nth(at));
                Ok(found.map(|c| Value::text(&*c.encode_utf8(&mut [0; 4]))))
            }
            Value::Range(range) => Ok(index.as_int().and_then(|index| {
                let index = if index < 0 {
                    index.checked_add(range.len())?
                } else {
                    index
                };
                (0..range.len()).contains(&index).then(|| range.get(index))
            })),
            _ => Ok(None),
        }
    }

    /// `value[start:stop:step]`.
    pub(super) fn slice(&self, value: &Value, parts: &[Value; 3]) -> Result<Value, Fault> {
        value.defined()?;
        let mut numbers = [None; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            *number = match part {
                Value::None => None,
                part => match part.as_int() {
                    Some(found) => Some(found),
                    None => return Err(fault("slice indices must be integers")),
                },
            };
        }
        let [start, stop, step] = numbers;
        let step = step.unwrap_or(1).clamp(-LONG, LONG);
        if step == 0 {
            return Err(fault("slice step cannot be zero"));
        }
        let cut = |count: usize| bounds(start, stop, step, count as i128);
        match value {
            Value::List(all) => Value::list(self.sliced(all, cut(all.items.len()))?),
            Value::Tuple(all) => Value::tuple(self.sliced(all, cut(all.items.len()))?),
            Value::Str(text) => {
                self.limits.charge(text.len())?;
                let range = cut(text.chars().count());
                if range.step == 1 {
                    let start = byte_of(text, range.start as usize);
                    let count = range.len() as usize;
                    let stop = start + byte_of(&text[start..], count);
                    return Ok(Value::text(&text[start..stop]));
                }
                let chars: Vec<char> = text.chars().collect();
                let at = (0..range.len()).map(|at| (range.start + at * range.step) as usize);
                Ok(Value::text(at.map(|at| chars[at]).collect::<String>()))
            }
            Value::Range(of) => {
                let count = usize::try_from(of.len()).unwrap_or(usize::MAX);
                let cut = cut(count);
                Ok(Value::Range(Range {
                    start: of.start.saturating_add(of.step.saturating_mul(cut.start)),
                    stop: of.start.saturating_add(of.step.saturating_mul(cut.stop)),
                    step: of.step.saturating_mul(cut.step),
                }))
            }
            other => {
                let kind = other.kind();
                Err(fault(format!("'{kind}' object cannot be sliced")))
            }
        }
    }

    fn sliced(&self, all: &Rc<Sequence>, range: Range) -> Result<Vec<Value>, Fault> {
        self.limits.elements(range.len() as usize)?;
        let at = (0..range.len()).map(|at| (range.start + at * range.step) as usize);
        Ok(at.map(|at| all.items[at].clone()).collect())
    }

    /// Calls a method of a value.
    pub(super) fn call_method(
        &self,
        value: &Value,
        name: &str,
        args: Args,
    ) -> Result<Value, Fault> {
        match value {
            Value::Str(text) => self.str_method(text, name, args),
            Value::Dict(dict) => self.dict_method(dict, name, args),
            Value::List(_) if name == "copy" => Ok(value.clone()),
            Value::List(_) | Value::Tuple(_) | Value::Range(_) => {
                self.list_method(value, name, args)
            }
            Value::Loop(of) => self.loop_method(of, name, args),
            Value::Float(number) => Ok(Value::Bool(number.fract() == 0.0)),
            Value::Function(function) => match &**function {
                Function::Cycler(items, at) if name == "next" => {
                    let current = items[at.get()].clone();
                    at.set((at.get() + 1) % items.len());
                    Ok(current)
                }
                Function::Cycler(_, at) => {
                    at.set(0);
                    Ok(Value::None)
                }
                _ => Err(fault(format!("`{name}` is not supported"))),
            },
            _ => Err(fault(format!("`{name}` is not supported"))),
        }
    }

    fn loop_method(&self, of: &Rc<Loop>, name: &str, args: Args) -> Result<Value, Fault> {
        if name == "changed" {
            return self.changed(of, args.positional);
        }
        if args.positional.is_empty() {
            return Err(fault("no items for cycling given"));
        }
        let at = of.index.get() % args.positional.len();
        Ok(args.positional[at].clone())
    }
}

fn missing(value: &Value, name: &str) -> Value {
    let text = match value {
        Value::None => format!("'None' has no attribute '{name}'"),
        other => format!("'{} object' has no attribute '{name}'", other.kind()),
    };
    Value::undefined(text)
}

/// The place of an index that counts from the end if it is negative.
fn place(index: i128, count: usize) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(count as i128)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|index| *index < count)
}

/// The places that a slice takes of `count`.
fn bounds(start: Option<i128>, stop: Option<i128>, step: i128, count: i128) -> Range {
    let (low, high) = if step > 0 {
        (0, count)
    } else {
        (-1, count - 1)
    };
    let within = |index: i128| {
        let index = if index < 0 {
            index.saturating_add(count)
        } else {
            index
        };
        index.clamp(low, high)
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    Range {
        start: start.map_or(first, within),
        stop: stop.map_or(last, within),
        step,
    }
}

fn loop_attribute(of: &Loop, name: &str) -> Option<Value> {
    let (at, count) = (of.index.get(), of.items.len());
    let near = |at: Option<usize>, what: &str| {
        let found = at.and_then(|at| of.items.get(at)).cloned();
        found.unwrap_or_else(|| Value::undefined(format!("there is no {what} item")))
    };
    Some(match name {
        "index" => Value::count(at + 1),
        "index0" => Value::count(at),
        "revindex" => Value::count(count - at),
        "revindex0" => Value::count(count - at - 1),
        "first" => Value::Bool(at == 0),
        "last" => Value::Bool(at + 1 == count),
        "length" => Value::count(count),
        "depth" => Value::count(of.depth + 1),
        "depth0" => Value::count(of.depth),
        "previtem" => near(at.checked_sub(1), "previous"),
        "nextitem" => near(Some(at + 1), "next"),
        _ => return None,
    })
}
