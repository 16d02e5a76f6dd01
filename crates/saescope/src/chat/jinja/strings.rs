//! Methods of texts, as Python has them.

use std::sync::Arc;

use super::fault::{Fault, fault};
use super::format::{Fields, format};
use super::interpreter::{Args, Interpreter};
use super::text::{byte_of, capitalize, is_printable, is_space, lines, title};
use super::value::Value;

/// The end of a text that a method looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
    Both,
}

impl Interpreter {
    pub(super) fn str_method(
        &self,
        text: &Arc<str>,
        name: &str,
        args: Args,
    ) -> Result<Value, Fault> {
        self.limits.scan(text.len())?;
        if let Some(result) = of_letters(text, name) {
            let [] = args.positional_only(name)?;
            if let Value::Str(result) = &result {
                self.limits.charge(result.len())?;
            }
            return Ok(result);
        }
        match name {
            "strip" => self.strip(text, End::Both, args),
            "lstrip" => self.strip(text, End::Left, args),
            "rstrip" => self.strip(text, End::Right, args),
            "split" | "rsplit" => self.split(text, name == "rsplit", args),
            "splitlines" => {
                let [keep] = args.take(name, ["keepends"])?;
                let keep = keep.is_some_and(|keep| keep.is_true());
                self.texts(lines(text, keep).into_iter())
            }
            "partition" | "rpartition" => self.partition(text, name, args),
            "startswith" => affixed(text, args, |text, affix| text.starts_with(affix)),
            "endswith" => affixed(text, args, |text, affix| text.ends_with(affix)),
            "removeprefix" | "removesuffix" => self.without_affix(text, name, args),
            "find" | "index" | "rfind" | "rindex" => found(text, name, args),
            "count" => counted(text, args),
            "replace" => {
                let [old, new, count] = args.take(name, ["", "", "count"])?;
                let (old, new) = (self.needed(old, name)?, self.needed(new, name)?);
                self.replaced(text, &old, &new, count)
            }
            "join" => {
                let [list] = args.positional_only(name)?;
                let items = self.iterate(&list.unwrap_or(Value::None))?;
                self.joined(text, &items)
            }
            "format" => format(self, text, &Fields::Args(&args)).map(Value::text),
            "format_map" => {
                let [map] = args.positional_only(name)?;
                let map = map.unwrap_or(Value::None);
                format(self, text, &Fields::Map(&map)).map(Value::text)
            }
            "ljust" | "rjust" | "center" | "zfill" => self.justify(text, name, args),
            "expandtabs" => self.expand_tabs(text, args),
            other => Err(fault(format!(
                "the method `{other}` of a text is not supported"
            ))),
        }
    }

    fn without_affix(&self, text: &str, name: &str, args: Args) -> Result<Value, Fault> {
        let [affix] = args.positional_only(name)?;
        let affix = self.needed(affix, name)?;
        let rest = if name == "removeprefix" {
            text.strip_prefix(&*affix)
        } else {
            text.strip_suffix(&*affix)
        };
        self.copied(rest.unwrap_or(text))
    }

    fn copied(&self, text: &str) -> Result<Value, Fault> {
        self.limits.charge(text.len())?;
        Ok(Value::text(text))
    }

    fn texts<'t>(&self, parts: impl Iterator<Item = &'t str>) -> Result<Value, Fault> {
        let mut items = Vec::new();
        for part in parts {
            self.limits.elements(1)?;
            items.push(self.copied(part)?);
        }
        Value::list(items)
    }

    /// An argument that must be a text.
    fn needed(&self, value: Option<Value>, what: &str) -> Result<Arc<str>, Fault> {
        let value = value.ok_or_else(|| fault(format!("{what}: an argument is missing")))?;
        value.defined()?;
        match value {
            Value::Str(text) => Ok(text),
            other => Err(fault(format!(
                "{what}: a text is expected, not '{}'",
                other.kind()
            ))),
        }
    }

    fn strip(&self, text: &str, end: End, args: Args) -> Result<Value, Fault> {
        let [chars] = args.positional_only("strip")?;
        let chars = match chars {
            None | Some(Value::None) => None,
            chars => Some(self.needed(chars, "strip")?),
        };
        self.copied(stripped(text, end, chars.as_deref()))
    }

    /// The text without what stands at both ends, for the filter `trim`.
    pub(super) fn trimmed(&self, text: &str, chars: Option<&str>) -> Result<Value, Fault> {
        self.copied(stripped(text, End::Both, chars))
    }

    fn split(&self, text: &str, from_right: bool, args: Args) -> Result<Value, Fault> {
        let [separator, most] = args.take("split", ["sep", "maxsplit"])?;
        let most = most.map_or(Ok(-1), |most| {
            most.as_int()
                .ok_or_else(|| fault("split: maxsplit is no integer"))
        })?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let parts = match separator {
            None | Some(Value::None) if from_right => right_words(text, most),
            None | Some(Value::None) => words(text, most),
            separator => {
                let separator = self.needed(separator, "split")?;
                if separator.is_empty() {
                    return Err(fault("empty separator"));
                }
                if from_right {
                    let mut parts: Vec<&str> =
                        text.rsplitn(most.saturating_add(1), &*separator).collect();
                    parts.reverse();
                    parts
                } else {
                    text.splitn(most.saturating_add(1), &*separator).collect()
                }
            }
        };
        self.texts(parts.into_iter())
    }

    fn partition(&self, text: &str, name: &str, args: Args) -> Result<Value, Fault> {
        let [separator] = args.positional_only(name)?;
        let separator = self.needed(separator, name)?;
        if separator.is_empty() {
            return Err(fault("empty separator"));
        }
        let parts = match name {
            "partition" => match text.split_once(&*separator) {
                Some((before, after)) => [before, &separator, after],
                None => [text, "", ""],
            },
            _ => match text.rsplit_once(&*separator) {
                Some((before, after)) => [before, &separator, after],
                None => ["", "", text],
            },
        };
        let parts = parts.into_iter().map(|part| self.copied(part));
        Value::tuple(parts.collect::<Result<_, _>>()?)
    }

    /// `text` with `new` for `old`, `count` times or everywhere.
    pub(super) fn replaced(
        &self,
        text: &str,
        old: &str,
        new: &str,
        count: Option<Value>,
    ) -> Result<Value, Fault> {
        let count = match count {
            None | Some(Value::None) => -1,
            Some(count) => count
                .as_int()
                .ok_or_else(|| fault("replace: the count is no integer"))?,
        };
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        self.limits.scan(text.len())?;
        let places = text.matches(old).count().min(most);
        let size = places.saturating_mul(new.len()).saturating_add(text.len());
        self.limits.charge(size)?;
        Ok(Value::text(text.replacen(old, new, most)))
    }

    /// The texts of a list with `separator` between them.
    fn joined(&self, separator: &str, items: &[Value]) -> Result<Value, Fault> {
        let mut all = String::new();
        for (at, item) in items.iter().enumerate() {
            item.defined()?;
            let Value::Str(text) = item else {
                let kind = item.kind();
                let text = format!("sequence item {at}: expected str instance, {kind} found");
                return Err(fault(text));
            };
            let separator = if at > 0 { separator } else { "" };
            self.limits.charge(separator.len() + text.len())?;
            all.push_str(separator);
            all.push_str(text);
        }
        Ok(Value::text(all))
    }

    fn justify(&self, text: &str, name: &str, args: Args) -> Result<Value, Fault> {
        let [width, fill] = args.positional_only(name)?;
        let width = width.as_ref().and_then(Value::as_int);
        let width = width.ok_or_else(|| fault(format!("{name}: the width is no integer")))?;
        let fill = match fill {
            None if name == "zfill" => '0',
            None => ' ',
            fill => {
                let fill = self.needed(fill, name)?;
                let mut chars = fill.chars();
                match (chars.next(), chars.next()) {
                    (Some(fill), None) => fill,
                    _ => return Err(fault("the fill character must be exactly one")),
                }
            }
        };
        self.padded(text, name, usize::try_from(width).unwrap_or(0), fill)
    }

    /// The text in a field of `width` characters.
    pub(super) fn padded(
        &self,
        text: &str,
        name: &str,
        width: usize,
        fill: char,
    ) -> Result<Value, Fault> {
        let count = text.chars().count();
        let missing = width.saturating_sub(count);
        self.limits
            .charge(missing.saturating_mul(4).saturating_add(text.len()))?;
        let left = match name {
            "ljust" => 0,
            "center" => missing / 2 + (missing & width & 1),
            _ => missing,
        };
        let sign = usize::from(name == "zfill" && text.starts_with(['+', '-']));
        let pad = |count: usize| std::iter::repeat_n(fill, count);
        let mut out = text[..sign].to_owned();
        out.extend(pad(left));
        out.push_str(&text[sign..]);
        out.extend(pad(missing - left));
        Ok(Value::text(out))
    }

    fn expand_tabs(&self, text: &str, args: Args) -> Result<Value, Fault> {
        let [size] = args.take("expandtabs", ["tabsize"])?;
        let size = size.and_then(|size| size.as_int()).unwrap_or(8);
        let size = usize::try_from(size).unwrap_or(0);
        let mut out = String::new();
        let mut column = 0;
        for c in text.chars() {
            match c {
                '\t' => {
                    let count = if size == 0 { 0 } else { size - column % size };
                    self.limits.charge(count)?;
                    out.extend(std::iter::repeat_n(' ', count));
                    column += count;
                }
                '\n' | '\r' => {
                    out.push(c);
                    column = 0;
                }
                _ => {
                    out.push(c);
                    column += 1;
                }
            }
        }
        self.copied(&out)
    }
}

/// Methods without arguments that look at the letters.
fn of_letters(text: &str, name: &str) -> Option<Value> {
    let every = |is: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(is));
    let cased = |is: fn(char) -> bool, isnt: fn(char) -> bool| {
        Value::Bool(text.chars().any(is) && !text.chars().any(isnt))
    };
    Some(match name {
        "lower" | "casefold" => Value::text(text.to_lowercase()),
        "upper" => Value::text(text.to_uppercase()),
        "capitalize" => Value::text(capitalize(text)),
        "title" => Value::text(title(text)),
        "swapcase" => {
            let swap = |c: char| -> String {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            };
            Value::text(text.chars().map(swap).collect::<String>())
        }
        "isalpha" => every(char::is_alphabetic),
        "isdigit" | "isdecimal" => every(|c| c.is_ascii_digit()),
        "isnumeric" => every(char::is_numeric),
        "isalnum" => every(char::is_alphanumeric),
        "isspace" => every(is_space),
        "isascii" => Value::Bool(text.is_ascii()),
        "isprintable" => Value::Bool(text.chars().all(is_printable)),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        "istitle" => Value::Bool(text.chars().any(char::is_alphabetic) && title(text) == *text),
        "isidentifier" => {
            let begins = text.starts_with(|c: char| c == '_' || c.is_alphabetic());
            Value::Bool(begins && text.chars().all(|c| c == '_' || c.is_alphanumeric()))
        }
        _ => return None,
    })
}

fn stripped<'t>(text: &'t str, end: End, chars: Option<&str>) -> &'t str {
    let is = |c: char| chars.map_or(is_space(c), |chars| chars.contains(c));
    let text = if end == End::Right {
        text
    } else {
        text.trim_start_matches(is)
    };
    if end == End::Left {
        text
    } else {
        text.trim_end_matches(is)
    }
}

/// The words of a text, the last of which is the rest after `most` cuts.
fn words(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// The words of a text, cut from its end.
fn right_words(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let begin = rest
            .char_indices()
            .rfind(|(_, c)| is_space(*c))
            .map_or(0, |(at, c)| at + c.len_utf8());
        parts.push(&rest[begin..]);
        rest = rest[..begin].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// A part of a text, after the index of its first character.
type Cut<'t> = (usize, &'t str);

/// The text that is searched for, and the part of `text` to search with its first character's index.
fn within<'t>(text: &'t str, name: &str, args: Args) -> Result<(Arc<str>, Option<Cut<'t>>), Fault> {
    let [part, start, stop] = args.positional_only(name)?;
    let part = part.ok_or_else(|| fault(format!("{name} expected at least 1 argument")))?;
    part.defined()?;
    let Value::Str(part) = part else {
        return Err(fault(format!(
            "{name}: a text is expected, not '{}'",
            part.kind()
        )));
    };
    Ok((part, cut(text, start, stop)))
}

/// `text[start:stop]` and the index that it begins at; none if it begins after the end.
fn cut(text: &str, start: Option<Value>, stop: Option<Value>) -> Option<Cut<'_>> {
    if start.is_none() && stop.is_none() {
        return Some((0, text));
    }
    let count = text.chars().count();
    let place = |part: Option<Value>, default: usize| {
        let index = part.and_then(|part| part.as_int());
        let Some(index) = index else { return default };
        let index = if index < 0 {
            index.saturating_add(count as i128).max(0)
        } else {
            index
        };
        usize::try_from(index).unwrap_or(usize::MAX)
    };
    let (start, stop) = (place(start, 0), place(stop, count).min(count));
    if start > stop {
        return None;
    }
    Some((start, &text[byte_of(text, start)..byte_of(text, stop)]))
}

fn counted(text: &str, args: Args) -> Result<Value, Fault> {
    let (part, within) = within(text, "count", args)?;
    Ok(Value::count(match within {
        None => 0,
        Some((_, text)) if part.is_empty() => text.chars().count() + 1,
        Some((_, text)) => text.matches(&*part).count(),
    }))
}

fn found(text: &str, name: &str, args: Args) -> Result<Value, Fault> {
    let (part, within) = within(text, name, args)?;
    let at = within.and_then(|(start, text)| {
        let at = if name.starts_with('r') {
            text.rfind(&*part)
        } else {
            text.find(&*part)
        };
        at.map(|at| start + text[..at].chars().count())
    });
    match at {
        Some(at) => Ok(Value::count(at)),
        None if name.ends_with("index") => Err(fault("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

/// True if the text begins or ends with one of the affixes.
fn affixed(text: &str, args: Args, is: fn(&str, &str) -> bool) -> Result<Value, Fault> {
    let [affix, start, stop] = args.positional_only("startswith")?;
    let affix = affix.ok_or_else(|| fault("startswith expected at least 1 argument"))?;
    affix.defined()?;
    let affixes = match &affix {
        Value::Tuple(all) => &all.items[..],
        one => std::slice::from_ref(one),
    };
    let within = cut(text, start, stop);
    let mut holds = false;
    for affix in affixes {
        let Value::Str(affix) = affix else {
            let kind = affix.kind();
            let text = format!("startswith first arg must be str or a tuple of str, not {kind}");
            return Err(fault(text));
        };
        holds |= within.is_some_and(|(_, text)| is(text, affix));
    }
    Ok(Value::Bool(holds))
}
