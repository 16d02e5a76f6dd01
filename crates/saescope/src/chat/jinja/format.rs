//! The method `format` of texts.

use super::fault::{Fault, fault};
use super::interpreter::{Args, Interpreter};
use super::print::{repr, text_of};
use super::text::{float, general, scientific};
use super::value::Value;

/// The values that a format names.
pub(super) enum Fields<'v> {
    Args(&'v Args),
    Map(&'v Value),
}

/// How a value is written: `[[fill]align][sign][#][0][width][,][.precision][type]`.
struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    sharp: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `pattern.format(…)`.
pub(super) fn format(
    interpreter: &Interpreter,
    pattern: &str,
    fields: &Fields<'_>,
) -> Result<String, Fault> {
    let mut next = 0;
    expand(interpreter, pattern, fields, &mut next, 2)
}

/// Fills a pattern in; the fields of a format may hold fields themselves.
fn expand(
    interpreter: &Interpreter,
    pattern: &str,
    fields: &Fields<'_>,
    next: &mut usize,
    depth: usize,
) -> Result<String, Fault> {
    if depth == 0 {
        return Err(fault("Max string recursion exceeded"));
    }
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(fault("Single '}' encountered in format string"));
        }
        let end = closing(rest)?;
        let (field, spec) = split_field(&rest[..end]);
        let (name, conversion) = match field.split_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (field, None),
        };
        let value = value_of(interpreter, name, fields, next)?;
        let value = match conversion {
            None => value,
            Some("s") => Value::Str(text_of(&interpreter.limits, &value)?),
            Some("r") => Value::text(repr(&interpreter.limits, &value)?),
            Some(other) => return Err(fault(format!("unknown conversion '{other}'"))),
        };
        let spec = expand(interpreter, spec, fields, next, depth - 1)?;
        let text = written(interpreter, &value, &spec)?;
        interpreter.limits.charge(text.len())?;
        out.push_str(&text);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    interpreter.limits.charge(pattern.len())?;
    Ok(out)
}

/// The place of the brace that closes a field.
fn closing(text: &str) -> Result<usize, Fault> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Ok(at);
        }
    }
    Err(fault("expected '}' before end of string"))
}

/// A field's name with its conversion, and its format.
fn split_field(field: &str) -> (&str, &str) {
    let mut inside = false;
    for (at, c) in field.char_indices() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => return (&field[..at], &field[at + 1..]),
            _ => {}
        }
    }
    (field, "")
}

fn value_of(
    interpreter: &Interpreter,
    name: &str,
    fields: &Fields<'_>,
    next: &mut usize,
) -> Result<Value, Fault> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let mut value = match (fields, first.parse::<usize>()) {
        (Fields::Args(args), _) if first.is_empty() => {
            *next += 1;
            args.positional.get(*next - 1).cloned()
        }
        (Fields::Args(args), Ok(index)) => args.positional.get(index).cloned(),
        (Fields::Args(args), Err(_)) => {
            let named = args.named.iter().find(|(known, _)| **known == *first);
            named.map(|(_, value)| value.clone())
        }
        (Fields::Map(Value::Dict(dict)), _) => dict.get(first).cloned(),
        (Fields::Map(_), _) => None,
    }
    .ok_or_else(|| fault(format!("the format names no value `{first}`")))?;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            value = interpreter.attribute(&value, &after[..end].into())?;
            rest = &after[end..];
        } else {
            let after = &rest[1..];
            let end = after
                .find(']')
                .ok_or_else(|| fault("Missing ']' in format string"))?;
            let index = match after[..end].parse() {
                Ok(index) => Value::Int(index),
                Err(_) => Value::text(&after[..end]),
            };
            value = interpreter.item(&value, &index)?;
            rest = &after[end + 1..];
            if !rest.is_empty() && !rest.starts_with(['.', '[']) {
                return Err(fault("only '.' or '[' may follow ']' in a format"));
            }
        }
        value.defined()?;
    }
    Ok(value)
}

fn written(interpreter: &Interpreter, value: &Value, spec: &str) -> Result<String, Fault> {
    if spec.is_empty() {
        return Ok(text_of(&interpreter.limits, value)?.to_string());
    }
    let spec = parse(spec)?;
    let (sign, body, is_number) = match value {
        Value::Str(text) if matches!(spec.kind, None | Some('s')) => {
            let most = spec.precision.unwrap_or(usize::MAX);
            (String::new(), text.chars().take(most).collect(), false)
        }
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => {
            let (sign, body) = number(value, &spec)?;
            (sign, body, true)
        }
        other => {
            let kind = other.kind();
            return Err(fault(format!("unsupported format of '{kind}'")));
        }
    };
    let missing = spec
        .width
        .saturating_sub(sign.chars().count() + body.chars().count());
    interpreter.limits.charge(missing.saturating_mul(4))?;
    let pad = |count: usize| std::iter::repeat_n(spec.fill, count).collect::<String>();
    Ok(
        match spec.align.unwrap_or(if is_number { '>' } else { '<' }) {
            '<' => sign + &body + &pad(missing),
            '^' => pad(missing / 2) + &sign + &body + &pad(missing - missing / 2),
            '=' if is_number => sign + &pad(missing) + &body,
            '=' => return Err(fault("'=' alignment not allowed in string format")),
            _ => pad(missing) + &sign + &body,
        },
    )
}

fn parse(text: &str) -> Result<Spec, Fault> {
    let mut chars = text.chars().peekable();
    let mut spec = Spec {
        fill: ' ',
        align: None,
        sign: '-',
        sharp: false,
        width: 0,
        grouping: None,
        precision: None,
        kind: None,
    };
    let is_align = |c: &char| matches!(c, '<' | '>' | '^' | '=');
    if text.chars().nth(1).is_some_and(|c| is_align(&c)) {
        spec.fill = chars.next().unwrap_or(' ');
    }
    spec.align = chars.next_if(is_align);
    if let Some(sign) = chars.next_if(|c| matches!(c, '+' | '-' | ' ')) {
        spec.sign = sign;
    }
    spec.sharp = chars.next_if_eq(&'#').is_some();
    if chars.next_if_eq(&'0').is_some() && spec.align.is_none() {
        (spec.fill, spec.align) = ('0', Some('='));
    }
    let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        let mut value: Option<usize> = None;
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            let digit = digit as usize - '0' as usize;
            value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
        }
        value
    };
    spec.width = number(&mut chars).unwrap_or(0);
    spec.grouping = chars.next_if(|c| matches!(c, ',' | '_'));
    if chars.next_if_eq(&'.').is_some() {
        let precision =
            number(&mut chars).ok_or_else(|| fault("Format specifier missing precision"))?;
        if precision > 400 {
            return Err(fault("it formats with more than 400 digits"));
        }
        spec.precision = Some(precision);
    }
    spec.kind = chars.next();
    if chars.next().is_some() {
        return Err(fault(format!("Invalid format specifier '{text}'")));
    }
    Ok(spec)
}

/// The sign and the digits of a number.
fn number(value: &Value, spec: &Spec) -> Result<(String, String), Fault> {
    let unknown = |kind: char| fault(format!("Unknown format code '{kind}'"));
    let (negative, digits) = match (value.as_int(), spec.kind) {
        (Some(number), None | Some('d' | 'x' | 'X' | 'o' | 'b' | 'n')) => {
            if spec.precision.is_some() {
                return Err(fault("Precision not allowed in integer format specifier"));
            }
            let size = number.unsigned_abs();
            let (prefix, digits) = match spec.kind {
                Some('x') => ("0x", format!("{size:x}")),
                Some('X') => ("0X", format!("{size:X}")),
                Some('o') => ("0o", format!("{size:o}")),
                Some('b') => ("0b", format!("{size:b}")),
                _ => ("", size.to_string()),
            };
            let digits = grouped(&digits, spec.grouping);
            let prefix = if spec.sharp { prefix } else { "" };
            (number < 0, format!("{prefix}{digits}"))
        }
        (_, kind) => {
            let number = value.as_float().unwrap_or(0.0);
            let size = number.abs();
            let precision = spec.precision.unwrap_or(6);
            let text = match kind {
                _ if !size.is_finite() => float(size),
                Some('f' | 'F') => format!("{size:.precision$}"),
                Some('e' | 'E') => scientific(size, precision),
                Some('g' | 'G' | 'n') => general(size, precision, spec.sharp),
                Some('%') => format!("{:.precision$}%", size * 100.0),
                None if spec.precision.is_none() => float(size),
                None => general(size, precision, spec.sharp),
                Some(other) => return Err(unknown(other)),
            };
            let text = if matches!(kind, Some('E' | 'G' | 'F')) {
                text.to_uppercase()
            } else {
                text
            };
            let whole = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let text = grouped(&text[..whole], spec.grouping) + &text[whole..];
            (number.is_sign_negative() && !number.is_nan(), text)
        }
    };
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, '+') => "+",
        (false, ' ') => " ",
        _ => "",
    };
    Ok((sign.to_owned(), digits))
}

/// Digits in groups of three.
fn grouped(digits: &str, separator: Option<char>) -> String {
    let Some(separator) = separator else {
        return digits.to_owned();
    };
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}
