//! Methods of maps and lists, and the functions that every template has.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::super::strftime;
use super::fault::{Fault, fault};
use super::interpreter::{Args, Interpreter};
use super::operators::{equals, hashable, insert, lookup};
use super::value::{Dict, Function, Range, Value, View};

/// Longest range, as in the sandbox of Jinja.
const MAX_RANGE: i128 = 100_000;

impl Interpreter {
    pub(super) fn dict_method(
        &self,
        dict: &Rc<Dict>,
        name: &str,
        args: Args,
    ) -> Result<Value, Fault> {
        let view = match name {
            "get" => {
                let [key, default] = args.positional_only("get")?;
                let key = key.ok_or_else(|| fault("get expected at least 1 argument"))?;
                hashable(&key)?;
                let found = lookup(&self.limits, &dict.entries, &key)?.cloned();
                return Ok(found.or(default).unwrap_or(Value::None));
            }
            "copy" => {
                let [] = args.positional_only("copy")?;
                return Ok(Value::Dict(dict.clone()));
            }
            "items" => View::Items,
            "keys" => View::Keys,
            "values" => View::Values,
            _ => return Err(fault(format!("`{name}` of a map is not supported"))),
        };
        let [] = args.positional_only(name)?;
        Ok(Value::View(view, dict.clone()))
    }

    pub(super) fn list_method(
        &self,
        value: &Value,
        name: &str,
        args: Args,
    ) -> Result<Value, Fault> {
        let items = self.iterate(value)?;
        let [wanted, start, stop] = args.positional_only(name)?;
        let wanted = wanted.ok_or_else(|| fault(format!("{name} expected an argument")))?;
        if name == "count" {
            let mut count = 0;
            for item in &items {
                count += usize::from(equals(&self.limits, item, &wanted)?);
            }
            return Ok(Value::count(count));
        }
        let place = |part: Option<Value>, default: usize| {
            let index = part
                .and_then(|part| part.as_int())
                .unwrap_or(default as i128);
            let index = if index < 0 {
                index + items.len() as i128
            } else {
                index
            };
            index.clamp(0, items.len() as i128) as usize
        };
        let (start, stop) = (place(start, 0), place(stop, items.len()));
        for (at, item) in items.iter().enumerate().take(stop).skip(start) {
            if equals(&self.limits, item, &wanted)? {
                return Ok(Value::count(at));
            }
        }
        Err(fault("the value is not in the list"))
    }

    /// Calls one of the functions that every template has.
    pub(super) fn call_global(&self, name: &str, args: Args) -> Result<Value, Fault> {
        match name {
            "range" => range(args),
            "dict" => self.dict_of(args),
            "namespace" => {
                let Value::Dict(dict) = self.dict_of(args)? else {
                    return self.namespace(Vec::new());
                };
                let mut attributes: Vec<(Arc<str>, Value)> = Vec::new();
                for (key, value) in &dict.entries {
                    let Value::Str(name) = key else {
                        return Err(fault("an attribute of a namespace has no name"));
                    };
                    attributes.push((name.clone(), value.clone()));
                }
                self.namespace(attributes)
            }
            "cycler" => {
                if args.positional.is_empty() {
                    return Err(fault("at least one item has to be provided"));
                }
                let items = args.positional;
                // A list of the items is refused where it would be nested too deep.
                Value::list(items.clone())?;
                Ok(Value::function(Function::Cycler(items, Cell::new(0))))
            }
            "joiner" => {
                let [separator] = args.take("joiner", ["sep"])?;
                let separator = separator.unwrap_or_else(|| Value::text(", "));
                Value::list(vec![separator.clone()])?;
                Ok(Value::function(Function::Joiner(
                    separator,
                    Cell::new(false),
                )))
            }
            "raise_exception" => self.raise(args),
            "strftime_now" => {
                let [format] = args.take("strftime_now", ["format"])?;
                let format = format.as_ref().and_then(Value::as_str);
                let format = format.ok_or_else(|| fault("strftime_now: the format is no text"))?;
                self.limits.charge(format.len().saturating_mul(16))?;
                strftime::format(format, self.now)
                    .map(Value::text)
                    .map_err(fault)
            }
            other => Err(fault(format!("the function `{other}` is not supported"))),
        }
    }

    /// A map of another one or of pairs, and of keywords.
    fn dict_of(&self, args: Args) -> Result<Value, Fault> {
        let mut positional = args.positional.into_iter();
        let mut entries = match positional.next() {
            None => Vec::new(),
            Some(Value::Dict(dict)) => dict.entries.clone(),
            Some(pairs) => {
                pairs.defined()?;
                let mut entries = Vec::new();
                for pair in self.iterate(&pairs)? {
                    let mut pair = self.iterate(&pair)?.into_iter();
                    let (Some(key), Some(value), None) = (pair.next(), pair.next(), pair.next())
                    else {
                        return Err(fault("dict: an element is no pair"));
                    };
                    insert(&self.limits, &mut entries, key, value)?;
                }
                entries
            }
        };
        if positional.next().is_some() {
            return Err(fault("dict expected at most 1 argument"));
        }
        self.limits
            .elements(2 * (entries.len() + args.named.len()))?;
        for (name, value) in args.named {
            insert(&self.limits, &mut entries, Value::Str(name), value)?;
        }
        Value::dict(entries)
    }
}

impl Args {
    /// The arguments of a method that takes them without names.
    pub(super) fn positional_only<const N: usize>(
        self,
        what: &str,
    ) -> Result<[Option<Value>; N], Fault> {
        if !self.named.is_empty() {
            return Err(fault(format!("{what}() takes no keyword arguments")));
        }
        self.take(what, [""; N])
    }
}

fn range(args: Args) -> Result<Value, Fault> {
    let [a, b, step] = args.positional_only("range")?;
    let number = |value: Value| {
        value.defined()?;
        let kind = value.kind();
        let integer = value.as_int();
        integer.ok_or_else(|| {
            fault(format!(
                "'{kind}' object cannot be interpreted as an integer"
            ))
        })
    };
    let a = number(a.ok_or_else(|| fault("range expected at least 1 argument"))?)?;
    let b = b.map(number).transpose()?;
    let step = step.map(number).transpose()?.unwrap_or(1);
    if step == 0 {
        return Err(fault("range() arg 3 must not be zero"));
    }
    let (start, stop) = match b {
        Some(b) => (a, b),
        None => (0, a),
    };
    let bound = i128::from(i64::MAX);
    if [start, stop, step]
        .iter()
        .any(|number| !(-bound..=bound).contains(number))
    {
        return Err(fault("range is too large"));
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return Err(fault(format!("range is longer than {MAX_RANGE}")));
    }
    Ok(Value::Range(range))
}
