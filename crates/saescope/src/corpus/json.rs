//! JSON as data sets hold it: values one after another or in an array, with the numbers and halves of
//! characters that Python's `json.dumps` writes though JSON has no such thing.

use std::borrow::Cow;
use std::io::BufRead;

use serde_json::Value;

use super::open::{MAX_DOCUMENT, too_long};

/// Parses a value. `NaN` becomes null, as it stands for a missing value; `Infinity` and `-Infinity` become
/// texts; half of a character outside Unicode's first 65,536 becomes U+FFFD.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).or_else(|error| {
        let repaired = match repair(text) {
            Cow::Owned(repaired) => serde_json::from_str(&repaired).ok(),
            Cow::Borrowed(_) => None,
        };
        repaired.ok_or_else(|| format!("not JSON: {error}"))
    })
}

/// True if a line is an object.
pub(super) fn is_object(line: &[u8]) -> bool {
    let text = std::str::from_utf8(line);
    text.is_ok_and(|text| parse(text).is_ok_and(|value| value.is_object()))
}

/// True if a text begins with an object.
pub(super) fn begins_with_object(text: &[u8]) -> bool {
    let mut values = Values::new(text, false);
    matches!(values.next(), Ok(Some(value)) if is_object(value.as_bytes()))
}

/// Tokens that are written for numbers without digits, and what replaces them.
const NUMBERS: [(&str, &str); 3] = [
    ("NaN", "null"),
    ("-Infinity", "\"-Infinity\""),
    ("Infinity", "\"Infinity\""),
];

/// A text in which everything that JSON lacks and Python writes is replaced.
fn repair(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut at, mut copied, mut quoted) = (0, 0, false);
    while at < bytes.len() {
        let (len, by) = match bytes[at] {
            b'"' => {
                quoted = !quoted;
                (1, None)
            }
            b'\\' if quoted => escape(&bytes[at..]),
            b'N' | b'-' | b'I' if !quoted => number(bytes, at),
            _ => (1, None),
        };
        if let Some(by) = by {
            out.push_str(&text[copied..at]);
            out.push_str(by);
            copied = at + len;
        }
        at += len;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The length of an escape, and its replacement if it is half of a character.
fn escape(bytes: &[u8]) -> (usize, Option<&'static str>) {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digits = std::str::from_utf8(digits).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, None),
        (Some(0xd800..=0xdfff), _) => (6, Some("\\ufffd")),
        (Some(_), _) => (6, None),
        // The escaped character may be a quotation mark.
        (None, _) => (
            bytes.len().min(if bytes.get(1).is_some_and(u8::is_ascii) {
                2
            } else {
                1
            }),
            None,
        ),
    }
}

/// The length of a number without digits at `at`, and its replacement; one byte if there is none.
fn number(bytes: &[u8], at: usize) -> (usize, Option<&'static str>) {
    let ends = |byte: Option<&u8>| {
        byte.is_none_or(|byte| byte.is_ascii_whitespace() || b",:[]{}".contains(byte))
    };
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    let found = NUMBERS.iter().find(|(token, _)| {
        bytes[at..].starts_with(token.as_bytes()) && ends(bytes.get(at + token.len()))
    });
    match found {
        Some((token, by)) if ends(before) => (token.len(), Some(*by)),
        _ => (1, None),
    }
}

/// The values of an array, or values one after another, each read alone.
pub(super) struct Values<R> {
    bytes: R,
    array: bool,
    /// Number of the value last read, from 1.
    pub(super) number: u64,
    value: Vec<u8>,
}

/// A place within the text of a value.
#[derive(Default)]
struct Nesting {
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl<R: BufRead> Values<R> {
    /// Values of `bytes`: of the array that they hold, or one after another.
    pub(super) fn new(bytes: R, array: bool) -> Values<R> {
        Values {
            bytes,
            array,
            number: 0,
            value: Vec::new(),
        }
    }

    /// The text of the next value.
    pub(super) fn next(&mut self) -> Result<Option<&str>, String> {
        let mut begun = self.number > 0;
        let mut comma = false;
        let first = loop {
            let Some(byte) = self.peek()? else {
                return if self.array {
                    Err("the array has no end; the file may be cut off".to_owned())
                } else {
                    Ok(None)
                };
            };
            match byte {
                0xef if !begun => self.mark()?,
                b'[' if self.array && !begun => {
                    begun = true;
                    self.skip();
                }
                b',' if self.array && self.number > 0 && !comma => {
                    comma = true;
                    self.skip();
                }
                b']' if self.array && !comma => {
                    self.skip();
                    return self.end().map(|()| None);
                }
                byte if byte.is_ascii_whitespace() => self.skip(),
                byte => break byte,
            }
        };
        if self.array && self.number > 0 && !comma {
            return Err("there is no comma after the value before it".to_owned());
        }
        self.number += 1;
        self.value.clear();
        self.read(first)?;
        let text = std::str::from_utf8(&self.value);
        text.map(Some).map_err(|error| {
            let at = error.valid_up_to();
            format!("its byte {at} is not UTF-8; convert the file")
        })
    }

    fn peek(&mut self) -> Result<Option<u8>, String> {
        let bytes = self.bytes.fill_buf();
        let bytes = bytes.map_err(|error| format!("it cannot be read: {error}"))?;
        Ok(bytes.first().copied())
    }

    fn skip(&mut self) {
        self.bytes.consume(1);
    }

    /// Skips a byte order mark.
    fn mark(&mut self) -> Result<(), String> {
        for expected in [0xef, 0xbb, 0xbf] {
            if self.peek()? != Some(expected) {
                return Err("not JSON".to_owned());
            }
            self.skip();
        }
        Ok(())
    }

    /// Makes sure that nothing follows the array.
    fn end(&mut self) -> Result<(), String> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Err(
                    "there is more after the end of the array; save each array as a file"
                        .to_owned(),
                );
            }
            self.skip();
        }
        Ok(())
    }

    /// Reads the rest of the value that begins with `first`.
    fn read(&mut self, first: u8) -> Result<(), String> {
        let nested = matches!(first, b'{' | b'[');
        let mut place = Nesting::default();
        loop {
            let bytes = self.bytes.fill_buf();
            let bytes = bytes.map_err(|error| format!("it cannot be read: {error}"))?;
            if bytes.is_empty() {
                return Ok(()); // The parser finds out.
            }
            let end = bytes.iter().position(|byte| place.ends(*byte, nested));
            // The bracket that ends a value belongs to it, a comma after a number does not.
            let len = end.map_or(bytes.len(), |at| at + usize::from(nested));
            self.value.extend_from_slice(&bytes[..len]);
            self.bytes.consume(len);
            if self.value.len() > MAX_DOCUMENT {
                return Err(too_long("record"));
            }
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

impl Nesting {
    /// Takes a byte; true if the value ends with it, or before it when it is not nested.
    fn ends(&mut self, byte: u8, nested: bool) -> bool {
        if self.escaped {
            self.escaped = false;
        } else if self.quoted {
            match byte {
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.quoted = true,
                b'{' | b'[' if nested => self.depth += 1,
                b'}' | b']' if nested => {
                    self.depth = self.depth.saturating_sub(1);
                    return self.depth == 0;
                }
                b',' | b']' | b'}' if !nested => return true,
                byte if !nested && byte.is_ascii_whitespace() => return true,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        let value =
            parse(r#"{"a": NaN, "b": [Infinity, -Infinity], "NaN": "NaN, \"NaN", "c":NaN}"#)
                .unwrap();
        assert!(value["a"].is_null() && value["c"].is_null());
        assert_eq!(value["b"][0], "Infinity");
        assert_eq!(value["b"][1], "-Infinity");
        assert_eq!(value["NaN"], "NaN, \"NaN");
        let value =
            parse(r#"{"a": "x\ud83d", "b": "\ud83d\ude00", "c": "\\ud83d", "d": "\udc00\"é"}"#)
                .unwrap();
        assert_eq!(value["a"], "x\u{fffd}");
        assert_eq!(value["b"], "😀");
        assert_eq!(value["c"], "\\ud83d");
        assert_eq!(value["d"], "\u{fffd}\"é");
        for broken in [
            "{\"a\": NaNs}",
            "{\"a\": xNaN}",
            "{NaN: 1}",
            "{\"a\": \"\\é\"}",
            "{\"a\": \"\\",
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    fn values(text: &str, array: bool) -> Result<Vec<String>, String> {
        // A buffer of one byte splits every value.
        let bytes = std::io::BufReader::with_capacity(1, text.as_bytes());
        let mut values = Values::new(bytes, array);
        let mut all = Vec::new();
        while let Some(value) = values.next()? {
            all.push(value.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn values_are_split_where_they_end() {
        let found = values(
            "\u{feff} [\n{\"a\": \"]}\\\"\"}, [1, [2]], 3 , \"x, y\"\n]\n",
            true,
        );
        assert_eq!(
            found.unwrap(),
            ["{\"a\": \"]}\\\"\"}", "[1, [2]]", "3", "\"x, y\""]
        );
        assert_eq!(values("[]", true).unwrap(), [""; 0]);
        assert_eq!(
            values("{\n}{\"a\": 1}\n\n", false).unwrap(),
            ["{\n}", "{\"a\": 1}"]
        );
        for broken in ["[1 2]", "[1,,2]", "[1,]", "[1", "[1] 2", "[,1]"] {
            assert!(
                values(broken, true).is_err()
                    || values(broken, true)
                        .unwrap()
                        .iter()
                        .any(|value| parse(value).is_err()),
                "{broken}"
            );
        }
    }
}
