//! Filters of Jinja.

use std::sync::Arc;

use super::fault::{Fault, fault, unknown};
use super::interpreter::{Args, Interpreter};
use super::json;
use super::percent::percent;
use super::print::text_of;
use super::text::{capitalize, is_space, lines};
use super::value::{Sequence, Value};

const FILTERS: [&str; 55] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "fromjson",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

const TESTS: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// True if Jinja has a filter of this name.
pub(super) fn is_filter(name: &str) -> bool {
    FILTERS.contains(&name)
}

/// True if Jinja has a test of this name.
pub(super) fn is_test(name: &str) -> bool {
    TESTS.contains(&name)
}

impl Interpreter {
    pub(super) fn filter(&self, name: &Arc<str>, value: Value, args: Args) -> Result<Value, Fault> {
        self.limits.step(1)?;
        match &**name {
            "default" | "d" => default(value, args),
            "tojson" => json::filter(&self.limits, &value, args).map(Value::text),
            "fromjson" => {
                let [] = args.take(name, [])?;
                json::parsed(&self.limits, value)
            }
            "attr" => {
                let [attribute] = args.take("attr", ["name"])?;
                let attribute = text_of(&self.limits, &attribute.unwrap_or(Value::None))?;
                let found = self.python_attribute(&value, &attribute)?;
                let text = || format!("'{} object' has no attribute '{attribute}'", value.kind());
                Ok(found.unwrap_or_else(|| Value::undefined(text())))
            }
            "length" | "count" => {
                let [] = args.take(name, [])?;
                self.length(&value)
            }
            "abs" | "float" | "int" | "round" => self.number_filter(name, &value, args),
            "string" | "safe" | "lower" | "upper" | "capitalize" | "title" | "trim" | "replace"
            | "indent" | "center" | "truncate" | "wordcount" | "format" | "escape" | "e"
            | "forceescape" | "urlencode" => self.text_filter(name, &value, args),
            "filesizeformat" | "pprint" | "random" | "striptags" | "urlize" | "wordwrap"
            | "xmlattr" => Err(fault(format!("the filter `{name}` is not supported"))),
            known if is_filter(known) => self.list_filter(name, &value, args),
            _ => Err(unknown("filter", name)),
        }
    }

    /// The number of elements, as `len` counts them.
    pub(super) fn length(&self, value: &Value) -> Result<Value, Fault> {
        let count = match value {
            Value::Undefined(_) => 0,
            Value::Str(text) => {
                self.limits.scan(text.len())?;
                text.chars().count()
            }
            Value::List(all) | Value::Tuple(all) => all.items.len(),
            Value::Dict(dict) | Value::View(_, dict) => dict.entries.len(),
            Value::Range(range) => return Ok(Value::Int(range.len())),
            Value::Loop(of) => of.items.len(),
            other => {
                return Err(fault(format!(
                    "object of type '{}' has no len()",
                    other.kind()
                )));
            }
        };
        Ok(Value::count(count))
    }

    fn number_filter(&self, name: &str, value: &Value, args: Args) -> Result<Value, Fault> {
        match name {
            "abs" => {
                let [] = args.take("abs", [])?;
                value.defined()?;
                match (value.as_int(), value) {
                    (Some(number), _) => Ok(Value::Int(number.saturating_abs())),
                    (_, Value::Float(number)) => Ok(Value::Float(number.abs())),
                    _ => Err(fault(format!(
                        "bad operand type for abs(): '{}'",
                        value.kind()
                    ))),
                }
            }
            "float" => {
                let [default] = args.take("float", ["default"])?;
                let number = match value {
                    Value::Str(text) => float_of(text),
                    other => other.as_float(),
                };
                value.defined()?;
                let number = number.map(Value::Float).or(default);
                Ok(number.unwrap_or(Value::Float(0.0)))
            }
            "int" => {
                let [default, base] = args.take("int", ["default", "base"])?;
                value.defined()?;
                let base = base.and_then(|base| base.as_int()).unwrap_or(10);
                let number = match value {
                    Value::Str(text) => {
                        integer_of(text, base).or_else(|| float_of(text).and_then(truncated))
                    }
                    Value::Float(number) => truncated(*number),
                    other => other.as_int(),
                };
                Ok(number.map(Value::Int).or(default).unwrap_or(Value::Int(0)))
            }
            _ => {
                let [precision, method] = args.take("round", ["precision", "method"])?;
                let precision = precision.and_then(|number| number.as_int()).unwrap_or(0);
                let method = method.as_ref().and_then(Value::as_str).unwrap_or("common");
                round(value, precision, method)
            }
        }
    }

    fn text_filter(&self, name: &str, value: &Value, args: Args) -> Result<Value, Fault> {
        let text = text_of(&self.limits, value)?;
        self.limits.charge(text.len())?;
        match name {
            "trim" => {
                let [chars] = args.take("trim", ["chars"])?;
                let chars = chars.as_ref().and_then(Value::as_str);
                self.trimmed(&text, chars)
            }
            "replace" => {
                let [old, new, count] = args.take("replace", ["old", "new", "count"])?;
                let given = |part: Option<Value>| {
                    let part = part.ok_or_else(|| fault("replace: an argument is missing"))?;
                    text_of(&self.limits, &part)
                };
                self.replaced(&text, &given(old)?, &given(new)?, count)
            }
            "indent" => self.indent(&text, value, args),
            "center" => {
                let [width] = args.take("center", ["width"])?;
                let width = width.and_then(|width| width.as_int()).unwrap_or(80);
                self.padded(&text, "center", usize::try_from(width).unwrap_or(0), ' ')
            }
            "truncate" => {
                self.length(value)?;
                self.truncate(&text, args)
            }
            "format" => {
                let values = if args.named.is_empty() {
                    Value::tuple(args.positional)?
                } else if args.positional.is_empty() {
                    let named = args.named.into_iter();
                    Value::dict(named.map(|(key, value)| (Value::Str(key), value)).collect())?
                } else {
                    return Err(fault("can't handle positional and keyword arguments"));
                };
                Ok(Value::text(percent(&self.limits, &text, &values)?))
            }
            _ => {
                let [] = args.take(name, [])?;
                self.plain_text_filter(name, text, value)
            }
        }
    }

    /// A filter of texts without arguments.
    fn plain_text_filter(&self, name: &str, text: Arc<str>, value: &Value) -> Result<Value, Fault> {
        let made = |made: String| {
            self.limits.charge(made.len())?;
            Ok(Value::text(made))
        };
        match name {
            "lower" => made(text.to_lowercase()),
            "upper" => made(text.to_uppercase()),
            "capitalize" => made(capitalize(&text)),
            "title" => made(titled(&text)),
            "wordcount" => {
                let words = text.split(|c: char| c != '_' && !c.is_alphanumeric());
                Ok(Value::count(words.filter(|word| !word.is_empty()).count()))
            }
            "escape" | "e" | "forceescape" => made(escaped(&text)),
            "urlencode" if matches!(value, Value::Dict(_) | Value::List(_)) => {
                Err(fault("`urlencode` of a map or a list is not supported"))
            }
            "urlencode" => made(url(&text)),
            _ => Ok(Value::Str(text)),
        }
    }

    fn indent(&self, text: &str, value: &Value, args: Args) -> Result<Value, Fault> {
        let [width, first, blank] = args.take("indent", ["width", "first", "blank"])?;
        if !matches!(value, Value::Str(_)) {
            value.defined()?;
            return Err(fault(format!(
                "indent: a text is expected, not '{}'",
                value.kind()
            )));
        }
        let is = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
        let (first, blank) = (is(first), is(blank));
        let pad = match width {
            Some(Value::Str(pad)) => pad,
            width => {
                let width = width.and_then(|width| width.as_int()).unwrap_or(4);
                let width = usize::try_from(width).unwrap_or(0);
                self.limits.charge(width)?;
                " ".repeat(width).into()
            }
        };
        // Jinja adds a line before it cuts the text into lines.
        let ended = format!("{text}\n");
        let mut out = String::new();
        for (at, line) in lines(&ended, false).into_iter().enumerate() {
            self.limits.charge(line.len() + pad.len() + 1)?;
            if at > 0 {
                out.push('\n');
            }
            if if at == 0 {
                first
            } else {
                blank || !line.is_empty()
            } {
                out.push_str(&pad);
            }
            out.push_str(line);
        }
        Ok(Value::text(out))
    }

    fn truncate(&self, text: &str, args: Args) -> Result<Value, Fault> {
        let names = ["length", "killwords", "end", "leeway"];
        let [length, kill, end, leeway] = args.take("truncate", names)?;
        let number = |value: Option<Value>, default: usize| {
            let number = value.and_then(|value| value.as_int());
            number.map_or(default, |number| usize::try_from(number).unwrap_or(0))
        };
        let (length, leeway) = (number(length, 255), number(leeway, 5));
        let end = match &end {
            Some(end) => text_of(&self.limits, end)?,
            None => Arc::from("..."),
        };
        let kept = length
            .checked_sub(end.chars().count())
            .ok_or_else(|| fault("truncate: the length is shorter than the end"))?;
        self.limits.charge(text.len() + end.len())?;
        if text.chars().count() <= length.saturating_add(leeway) {
            return Ok(Value::text(text));
        }
        let cut: String = text.chars().take(kept).collect();
        let cut = match cut.rsplit_once(' ') {
            Some((before, _)) if !kill.is_some_and(|kill| kill.is_true()) => before,
            _ => &cut,
        };
        Ok(Value::text(format!("{cut}{end}")))
    }

    /// The elements of `list` that are equal in their key, in the order of the keys.
    pub(super) fn groups(&self, sorted: Vec<(Value, Value, Value)>) -> Result<Value, Fault> {
        let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
        for (key, own, item) in sorted {
            match groups.last_mut() {
                Some((last, _, members)) if super::operators::equals(&self.limits, last, &key)? => {
                    members.push(item);
                }
                _ => groups.push((key, own, vec![item])),
            }
        }
        let group = |(_, own, members)| Sequence::group(own, Value::list(members)?);
        Value::list(groups.into_iter().map(group).collect::<Result<_, _>>()?)
    }
}

fn default(value: Value, args: Args) -> Result<Value, Fault> {
    let [default, boolean] = args.take("default", ["default_value", "boolean"])?;
    let boolean = boolean.is_some_and(|boolean| boolean.is_true());
    if matches!(value, Value::Undefined(_)) || boolean && !value.is_true() {
        return Ok(default.unwrap_or_else(|| Value::text("")));
    }
    Ok(value)
}

fn float_of(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let is_separated = |at: usize| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| text.as_bytes().get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    if !text.match_indices('_').all(|(at, _)| is_separated(at)) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn integer_of(text: &str, base: i128) -> Option<i128> {
    let text = text.trim_matches(is_space).to_ascii_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (prefix, radix) = match base {
        2 => ("0b", 2),
        8 => ("0o", 8),
        16 => ("0x", 16),
        _ => (
            "",
            u32::try_from(base)
                .ok()
                .filter(|base| (2..=36).contains(base))?,
        ),
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    if digits.starts_with(['+', '-', '_']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    i128::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).ok()
}

fn truncated(number: f64) -> Option<i128> {
    number.is_finite().then(|| number.trunc() as i128)
}

fn round(value: &Value, precision: i128, method: &str) -> Result<Value, Fault> {
    value.defined()?;
    let kind = value.kind();
    let real = || fault(format!("type {kind} doesn't define __round__ method"));
    let number = value.as_float().ok_or_else(real)?;
    let power = 10f64.powi(precision.clamp(-400, 400) as i32);
    let rounded = match method {
        "common" => match value.as_int() {
            Some(number) if precision >= 0 => return Ok(Value::Int(number)),
            Some(_) => (number * power).round_ties_even() / power,
            None if (0..=300).contains(&precision) => {
                // The nearest decimal, as Python finds it, with ties in the binary number resolved.
                let places = precision as usize;
                format!("{number:.places$}").parse().unwrap_or(number)
            }
            None => (number * power).round_ties_even() / power,
        },
        "ceil" => (number * power).ceil() / power,
        "floor" => (number * power).floor() / power,
        _ => return Err(fault("method must be common, ceil or floor")),
    };
    Ok(match value.as_int() {
        Some(_) if method == "common" => Value::Int(rounded as i128),
        _ => Value::Float(rounded),
    })
}

/// Jinja's own title: words begin after white space, hyphens and opening brackets.
fn titled(text: &str) -> String {
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        if is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<') {
            out.push(c);
            begins = true;
        } else if begins {
            out.extend(c.to_uppercase());
            begins = false;
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

fn url(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
