//! The operator `%` of texts.

use super::fault::{Fault, fault};
use super::limits::Limits;
use super::print::{repr, text_of};
use super::text::{escape, float, general, scientific};
use super::value::Value;

/// One place of a pattern that a value is written to.
#[derive(Default)]
struct Place {
    left: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// The values that a pattern takes.
enum Source<'v> {
    /// Values in their order, and the number that is taken.
    Values(&'v [Value], usize),
    Map(&'v Value),
}

/// `pattern % values`.
pub(super) fn percent(limits: &Limits, pattern: &str, values: &Value) -> Result<String, Fault> {
    let mut source = match values {
        Value::Tuple(all) => Source::Values(&all.items, 0),
        Value::Dict(_) if pattern.contains("%(") => Source::Map(values),
        other => Source::Values(std::slice::from_ref(other), 0),
    };
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut key = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut name = String::new();
            let mut open = 1;
            for c in chars.by_ref() {
                open += i32::from(c == '(') - i32::from(c == ')');
                if open == 0 {
                    break;
                }
                name.push(c);
            }
            key = Some(name);
        }
        let place = place(&mut chars, &mut source)?;
        let Some(kind) = chars.next() else {
            return Err(fault("incomplete format"));
        };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match (&mut source, key) {
            (Source::Map(map), Some(key)) => keyed(map, &key)?,
            (Source::Map(_), None) => return Err(fault("format requires a mapping with keys")),
            (Source::Values(..), Some(_)) => return Err(fault("format requires a mapping")),
            (source, None) => source.next()?,
        };
        let text = converted(limits, kind, &place, &value)?;
        limits.charge(text.len())?;
        out.push_str(&text);
    }
    limits.charge(pattern.len())?;
    if let Source::Values(all, taken) = source
        && taken < all.len()
        && !matches!(values, Value::Dict(_) | Value::List(_))
    {
        return Err(fault(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

fn keyed(map: &Value, key: &str) -> Result<Value, Fault> {
    let Value::Dict(dict) = map else {
        return Err(fault("format requires a mapping"));
    };
    let found = dict.get(key).cloned();
    found.ok_or_else(|| fault(format!("no key '{key}'")))
}

impl Source<'_> {
    fn next(&mut self) -> Result<Value, Fault> {
        let Source::Values(all, taken) = self else {
            return Err(fault("format requires a mapping with keys"));
        };
        let value = all.get(*taken).cloned();
        *taken += 1;
        value.ok_or_else(|| fault("not enough arguments for format string"))
    }
}

/// Flags, width and precision.
fn place(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    source: &mut Source<'_>,
) -> Result<Place, Fault> {
    let mut place = Place::default();
    while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | ' ' | '0' | '#')) {
        match flag {
            '-' => place.left = true,
            '+' => place.plus = true,
            ' ' => place.blank = true,
            '0' => place.zero = true,
            _ => place.sharp = true,
        }
    }
    if let Some(width) = number(chars, source)? {
        place.left |= width < 0;
        place.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    }
    if chars.next_if_eq(&'.').is_some() {
        let precision = number(chars, source)?.unwrap_or(0);
        place.precision = Some(usize::try_from(precision).unwrap_or(0));
    }
    while chars.next_if(|c| matches!(c, 'h' | 'l' | 'L')).is_some() {}
    if place.precision.is_some_and(|precision| precision > 400) {
        return Err(fault("it formats with more than 400 digits"));
    }
    Ok(place)
}

/// A number that is written or, for `*`, taken from the values.
fn number(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    source: &mut Source<'_>,
) -> Result<Option<i128>, Fault> {
    if chars.next_if_eq(&'*').is_some() {
        let value = source.next()?;
        let value = value.as_int().ok_or_else(|| fault("* wants int"))?;
        return Ok(Some(value));
    }
    let mut value: Option<i128> = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = i128::from(u32::from(digit) - u32::from('0'));
        value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    Ok(value)
}

fn converted(limits: &Limits, kind: char, place: &Place, value: &Value) -> Result<String, Fault> {
    let (sign, body) = match kind {
        's' => (String::new(), text_of(limits, value)?.to_string()),
        'r' => (String::new(), repr(limits, value)?),
        'a' => (String::new(), ascii(&repr(limits, value)?)),
        'c' => (String::new(), character(value)?),
        'd' | 'i' | 'u' => {
            let number = match value {
                Value::Float(number) if number.is_finite() => number.trunc() as i128,
                other => other.as_int().ok_or_else(|| {
                    fault(format!(
                        "%{kind} format: a real number is required, not {}",
                        other.kind()
                    ))
                })?,
            };
            signed(place, number < 0, &number.unsigned_abs().to_string())
        }
        'x' | 'X' | 'o' => {
            let number = value.as_int().ok_or_else(|| {
                fault(format!(
                    "%{kind} format: an integer is required, not {}",
                    value.kind()
                ))
            })?;
            let size = number.unsigned_abs();
            let (digits, prefix) = match kind {
                'x' => (format!("{size:x}"), "0x"),
                'X' => (format!("{size:X}"), "0X"),
                _ => (format!("{size:o}"), "0o"),
            };
            let (sign, digits) = signed(place, number < 0, &digits);
            (if place.sharp { sign + prefix } else { sign }, digits)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = value
                .as_float()
                .ok_or_else(|| fault(format!("must be real number, not {}", value.kind())))?;
            let text = real(kind, place, number.abs());
            let negative = number.is_sign_negative() && !number.is_nan();
            signed(
                &Place {
                    precision: None,
                    ..*place
                },
                negative,
                &text,
            )
        }
        other => return Err(fault(format!("unsupported format character '{other}'"))),
    };
    let body = match (kind, place.precision) {
        ('s' | 'r' | 'a', Some(most)) => body.chars().take(most).collect(),
        _ => body,
    };
    pad(limits, place, kind, sign, &body)
}

fn real(kind: char, place: &Place, number: f64) -> String {
    let precision = place.precision.unwrap_or(6);
    let text = match kind.to_ascii_lowercase() {
        _ if !number.is_finite() => float(number),
        'e' => scientific(number, precision),
        'f' => format!("{number:.precision$}"),
        _ => general(number, precision, place.sharp),
    };
    if kind.is_ascii_uppercase() {
        text.to_uppercase()
    } else {
        text
    }
}

fn character(value: &Value) -> Result<String, Fault> {
    let c = match value {
        Value::Int(code) => u32::try_from(*code).ok().and_then(char::from_u32),
        Value::Str(text) => {
            let mut chars = text.chars();
            chars.next().filter(|_| chars.next().is_none())
        }
        _ => None,
    };
    c.map(String::from)
        .ok_or_else(|| fault("%c requires int or char"))
}

/// A text with every character beyond ASCII escaped.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            escape(&mut out, c);
        }
    }
    out
}

/// The sign of a number, and its digits, as many as the precision asks for.
fn signed(place: &Place, negative: bool, digits: &str) -> (String, String) {
    let sign = match (negative, place.plus, place.blank) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let width = place.precision.unwrap_or(0);
    (sign.to_owned(), format!("{digits:0>width$}"))
}

fn pad(
    limits: &Limits,
    place: &Place,
    kind: char,
    sign: String,
    body: &str,
) -> Result<String, Fault> {
    let count = sign.chars().count() + body.chars().count();
    let missing = place.width.saturating_sub(count);
    limits.charge(missing)?;
    let is_number = !matches!(kind, 's' | 'r' | 'a' | 'c');
    Ok(if place.left {
        sign + body + &" ".repeat(missing)
    } else if place.zero && is_number {
        sign + &"0".repeat(missing) + body
    } else {
        " ".repeat(missing) + &sign + body
    })
}
