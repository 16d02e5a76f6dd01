//! A template as tokens, with the white space of tags as `trim_blocks` and `lstrip_blocks` treat it.

use std::sync::Arc;

use super::fault::{Fault, fault};
use super::text::is_space;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Text(Arc<str>),
    PrintBegin,
    PrintEnd,
    TagBegin,
    TagEnd,
    Name(Arc<str>),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

/// Operators, the longer ones first.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";", "!",
];

/// Cuts a template into tokens with their lines.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, usize)>, Fault> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        line_starts: true,
        tokens: Vec::new(),
    };
    while lexer.at < source.len() {
        let line = lexer.line;
        lexer.outside().map_err(|fault| fault.at(line))?;
    }
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: usize,
    /// True if what was read last ended a line.
    line_starts: bool,
    tokens: Vec<(Token, usize)>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Moves on by `bytes`.
    fn skip(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count();
        if let Some(last) = passed.chars().next_back() {
            self.line_starts = last == '\n';
        }
        self.at += bytes;
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Reads text up to the next tag, and that tag.
    fn outside(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let begin = rest
            .match_indices('{')
            .map(|(at, _)| at)
            .find(|at| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
        let Some(begin) = begin else {
            self.text(rest);
            self.skip(rest.len());
            return Ok(());
        };
        let kind = rest.as_bytes()[begin + 1];
        let sign = rest.as_bytes().get(begin + 2).copied();
        let text = self.stripped(&rest[..begin], sign, kind != b'{');
        self.text(text);
        self.skip(begin + 2);
        if matches!(sign, Some(b'-' | b'+')) {
            // `{{+1}}` has a sign of its own only in Jinja's `+` for tags; it is read there too.
            self.skip(1);
        }
        match kind {
            b'#' => self.comment(),
            b'{' => self.inside(false),
            _ if self.opens_raw() => self.raw(),
            _ => self.inside(true),
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Text(Arc::from(text)));
        }
    }

    /// The text before a tag, less what the tag takes of it.
    fn stripped<'t>(&self, text: &'t str, sign: Option<u8>, is_block: bool) -> &'t str {
        match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            Some(b'+') => text,
            _ if is_block => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let starts = line > 0 || self.line_starts;
                if starts && text[line..].chars().all(is_space) {
                    &text[..line]
                } else {
                    text
                }
            }
            _ => text,
        }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let end = self.rest().find("#}");
        let end = end.ok_or_else(|| fault("a comment `{#` has no end"))?;
        let sign = self.rest()[..end].chars().next_back();
        self.skip(end + 2);
        self.after_block(sign);
        Ok(())
    }

    /// Skips what the end of a tag takes of the text after it.
    fn after_block(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_spaces(),
            Some('+') => {}
            _ if self.rest().starts_with('\n') => self.skip(1),
            _ => {}
        }
    }

    fn opens_raw(&self) -> bool {
        let Some(rest) = self.rest().trim_start_matches(is_space).strip_prefix("raw") else {
            return false;
        };
        let rest = rest.trim_start_matches(is_space);
        rest.starts_with("%}") || rest.starts_with("-%}")
    }

    fn raw(&mut self) -> Result<(), Fault> {
        let end = self.rest().find("%}").unwrap_or(0);
        let strips = self.rest()[..end].ends_with('-');
        self.skip(end + 2);
        if strips {
            self.skip_spaces();
        }
        let rest = self.rest();
        for (at, _) in rest.match_indices("{%") {
            let mut tag = &rest[at + 2..];
            let sign = tag.bytes().next().filter(|c| matches!(c, b'-' | b'+'));
            tag = &tag[usize::from(sign.is_some())..];
            let Some(tag) = tag.trim_start_matches(is_space).strip_prefix("endraw") else {
                continue;
            };
            let tag = tag.trim_start_matches(is_space);
            let end_sign = tag.chars().next().filter(|c| matches!(c, '-' | '+'));
            let tag = &tag[usize::from(end_sign.is_some())..];
            if tag.starts_with("%}") {
                let text = self.stripped(&rest[..at], sign, true);
                self.text(text);
                self.skip(rest.len() - tag.len() + 2);
                self.after_block(end_sign);
                return Ok(());
            }
        }
        Err(fault("`{% raw %}` has no end"))
    }

    /// Reads the inside of a tag, and its end.
    fn inside(&mut self, is_block: bool) -> Result<(), Fault> {
        let (begin, close) = if is_block {
            (Token::TagBegin, "%}")
        } else {
            (Token::PrintBegin, "}}")
        };
        self.push(begin);
        let mut open: Vec<&str> = Vec::new();
        loop {
            self.skip_spaces();
            let rest = self.rest();
            if rest.is_empty() {
                return Err(fault("a tag has no end"));
            }
            if open.is_empty() {
                let sign = rest
                    .chars()
                    .next()
                    .filter(|&c| c == '-' || c == '+' && is_block);
                if rest[usize::from(sign.is_some())..].starts_with(close) {
                    self.push(if is_block {
                        Token::TagEnd
                    } else {
                        Token::PrintEnd
                    });
                    self.skip(2 + usize::from(sign.is_some()));
                    match sign {
                        Some('-') => self.skip_spaces(),
                        sign if is_block => self.after_block(sign),
                        _ => {}
                    }
                    return Ok(());
                }
            }
            self.token(&mut open)?;
        }
    }

    /// Reads one token inside of a tag; `open` are the brackets that wait for their end.
    fn token(&mut self, open: &mut Vec<&str>) -> Result<(), Fault> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or(' ');
        if first == '"' || first == '\'' {
            return self.string(first);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '_' || first.is_alphanumeric() {
            let other = |c: char| c != '_' && !c.is_alphanumeric();
            let name = &rest[..rest.find(other).unwrap_or(rest.len())];
            self.push(Token::Name(Arc::from(name)));
            self.skip(name.len());
            return Ok(());
        }
        let operator = OPERATORS.iter().find(|known| rest.starts_with(**known));
        let operator = *operator.ok_or_else(|| fault(format!("unexpected character {first:?}")))?;
        match operator {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(operator) => {
                return Err(fault(format!("unexpected `{operator}`")));
            }
            _ => {}
        }
        self.push(Token::Op(operator));
        self.skip(operator.len());
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Fault> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.push(Token::Str(unescape(&rest[1..at])?));
                    self.skip(at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(fault("a text has no closing quote"))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let (token, length) = number(self.rest(), self.source[..self.at].ends_with('.'))?;
        self.push(token);
        self.skip(length);
        Ok(())
    }
}

/// The number that `text` begins with, and its length.
fn number(text: &str, after_dot: bool) -> Result<(Token, usize), Fault> {
    let large = || fault("a number is too large");
    let bytes = text.as_bytes();
    let prefix = bytes.get(1).map(u8::to_ascii_lowercase);
    let radix = match (bytes[0], prefix) {
        (b'0', Some(b'x')) => 16,
        (b'0', Some(b'o')) => 8,
        (b'0', Some(b'b')) => 2,
        _ => 10,
    };
    let digits = |from: usize, radix: u32| {
        let rest = &text[from..];
        let end = rest.find(|c: char| !c.is_digit(radix) && c != '_');
        from + end.unwrap_or(rest.len())
    };
    let plain = |to: usize, from: usize| text[from..to].replace('_', "");
    if radix != 10 && digits(2, radix) > 2 {
        let end = digits(2, radix);
        let value = i128::from_str_radix(&plain(end, 2), radix).map_err(|_| large())?;
        return Ok((Token::Int(value), end));
    }
    let mut end = digits(0, 10);
    let whole = end;
    if !after_dot {
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1, 10);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = digits(end + 1 + sign, 10);
            }
        }
    }
    if end > whole {
        let value = plain(end, 0).parse().map_err(|_| large())?;
        return Ok((Token::Float(value), end));
    }
    let value = plain(whole, 0).parse().map_err(|_| large())?;
    Ok((Token::Int(value), whole))
}

/// The text that a literal stands for, less its quotes.
fn unescape(literal: &str) -> Result<String, Fault> {
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        let Some(escape) = chars.next() else { break };
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(escape),
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'v' => text.push('\x0b'),
            '0'..='7' => {
                let mut code = escape.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    code = code * 8 + digit;
                    chars.next();
                }
                text.extend(char::from_u32(code));
            }
            'x' | 'u' | 'U' => {
                let code: String = chars.by_ref().take(digits).collect();
                let code = (code.len() == digits)
                    .then(|| u32::from_str_radix(&code, 16).ok())
                    .flatten();
                let c = code.and_then(char::from_u32);
                text.push(c.ok_or_else(|| fault(format!("`\\{escape}` names no character")))?);
            }
            'N' => return Err(fault("`\\N` names characters, which is not supported")),
            other => text.extend(['\\', other]),
        }
    }
    Ok(text)
}
