//! Things that lie where a file should be: pointers, error pages, archives, unfinished downloads.
//!
//! Each is recognised by its first bytes and named with the next step, for readers of every kind of file.
//! `folder` does the same for folders without a checkpoint. What a real file holds is known to its reader.

pub(crate) mod folder;
pub(crate) mod magic;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::magic::Purpose;
use crate::error::{Error, Result};

/// Bytes of a file that are looked at.
const HEAD: usize = 4096;
/// Longest file that is taken for the text of an error.
const LONGEST_ANSWER: usize = 2048;

const AGAIN: &str = "download the file itself";
const PULL: &str = "fetch the file with `git lfs pull`, or download it from the Hub";

/// Beginnings of the one-line answers of servers, in lower case.
const ANSWERS: [&str; 9] = [
    "entry not found",
    "repository not found",
    "revision not found",
    "not found",
    "404: not found",
    "invalid username or password",
    "invalid credentials",
    "access to model",
    "access to dataset",
];

/// A thing in place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StandIn {
    /// Its name: "a pointer of Git LFS, not the file itself".
    what: String,
    /// The next step.
    next: &'static str,
}

impl StandIn {
    fn new(what: impl Into<String>, next: &'static str) -> Option<StandIn> {
        let what = what.into();
        Some(StandIn { what, next })
    }

    /// The error of the file at `path`, in which this lies.
    pub(crate) fn error(&self, path: &Path) -> Error {
        let StandIn { what, next } = self;
        Error::format(path, format!("it is {what}; {next}"))
    }
}

/// Refuses the `bytes` of a whole file of weights, except zip archives, of which two are weights.
pub(crate) fn check(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let found = empty(bytes)
        .or_else(|| pointer(bytes))
        .or_else(|| page(bytes))
        .or_else(|| answer(bytes))
        .or_else(|| magic::foreign(bytes, Purpose::Weights))
        .or_else(|| zeros(bytes))
        .or_else(|| unfinished_name(&name));
    found.map_or(Ok(()), |found| Err(found.error(path)))
}

/// Refuses the `bytes` of a whole file of text, such as a configuration or a tokenizer.
pub(crate) fn check_text(path: &Path, bytes: &[u8]) -> Result<()> {
    match magic::zip(bytes) {
        Some(zip) => Err(zip.error(path)),
        None => check(path, bytes),
    }
}

fn empty(bytes: &[u8]) -> Option<StandIn> {
    if !bytes.is_empty() {
        return None;
    }
    StandIn::new("an empty file", "download it again")
}

/// Downloads in progress, by the end that their programs give the name.
fn unfinished_name(name: &str) -> Option<StandIn> {
    const ENDS: [&str; 5] = [".incomplete", ".part", ".partial", ".crdownload", ".aria2"];
    let end = ENDS.iter().find(|end| name.ends_with(*end))?;
    let what = format!("a download that has not finished, by its name in `{end}`");
    StandIn::new(what, "let it finish, or download the file again")
}

/// A file whose place was reserved and whose beginning never came. No format begins so.
fn zeros(bytes: &[u8]) -> Option<StandIn> {
    let head = bytes.get(..HEAD)?;
    if head.iter().any(|byte| *byte != 0) {
        return None;
    }
    let what = format!("{HEAD} zeros at its beginning, a download that has not finished");
    StandIn::new(what, "download it again")
}

/// What version control keeps in place of a large file.
pub(crate) fn pointer(head: &[u8]) -> Option<StandIn> {
    if head.starts_with(b"version https://git-lfs") || head.starts_with(b"version https://hawser") {
        let size = line_of(head, "size ").and_then(|size| size.parse::<u64>().ok());
        let size = size.map_or(String::new(), |size| format!(", which has {size} bytes"));
        return StandIn::new(
            format!("a pointer of Git LFS, not the file itself{size}"),
            PULL,
        );
    }
    if head.starts_with(b"# xet version") {
        return StandIn::new(
            "a pointer of Xet, not the file itself",
            "download it from the Hub",
        );
    }
    if head.starts_with(b"/annex/objects/") {
        let next = "fetch the file with `git annex get`";
        return StandIn::new("a pointer of git-annex, not the file itself", next);
    }
    if head.starts_with(b"outs:\n- ") && line_of(head, "  size: ").is_some() {
        let what = "a pointer of DVC, not the file itself";
        return StandIn::new(what, "fetch the file with `dvc pull`");
    }
    None
}

/// The rest of the line of `head` that begins with `key`.
fn line_of<'a>(head: &'a [u8], key: &str) -> Option<&'a str> {
    let head = &head[..head.len().min(HEAD)];
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(key.as_bytes()))?;
    Some(std::str::from_utf8(value).ok()?.trim())
}

/// A page of HTML, or a document of XML with an error, in place of the file.
pub(crate) fn page(head: &[u8]) -> Option<StandIn> {
    let text = text(head);
    let begins = |tag: &str| {
        let start = text.get(..tag.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(tag.as_bytes())
    };
    if ["<!doctype html", "<html", "<head", "<body", "<script"]
        .iter()
        .any(|tag| begins(tag))
    {
        let title = between(text, "<title>", "</title>");
        let title = title.map_or(String::new(), |title| format!(" (\"{title}\")"));
        let next = "download the file itself, not the page about it";
        return StandIn::new(format!("a page of HTML{title}"), next);
    }
    if !begins("<?xml") && !begins("<error") {
        return None;
    }
    match between(text, "<Code>", "</Code>") {
        Some(code) => {
            let what = format!("the error `{code}` of the server in XML");
            let next = "the address may have expired or need a login; download the file again";
            StandIn::new(what, next)
        }
        None => StandIn::new("a document of XML", AGAIN),
    }
}

/// The text of a head after a byte order mark and blanks.
fn text(head: &[u8]) -> &[u8] {
    let head = &head[..head.len().min(HEAD)];
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.trim_ascii_start()
}

/// The text between two tags, on one line and cut to a length for a message.
fn between(text: &[u8], open: &str, close: &str) -> Option<String> {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once(open)?;
    let (inner, _) = rest.split_once(close)?;
    let words: Vec<&str> = inner.split_whitespace().collect();
    let inner: String = words.join(" ").chars().take(MOST).collect();
    (!inner.is_empty()).then_some(inner)
}

/// The short answer of a server, kept as if it were the file.
fn answer(bytes: &[u8]) -> Option<StandIn> {
    if bytes.len() > LONGEST_ANSWER {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let lower = text.to_ascii_lowercase();
    let plain = ANSWERS.iter().any(|answer| lower.starts_with(answer));
    if !plain && !is_json_error(text) {
        return None;
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(80).collect();
    let next = "check the address and, for a gated repository, the token, and download it again";
    StandIn::new(format!("the answer of a server, `{line}`"), next)
}

/// True for a JSON object of which a key names an error and no key is one of a configuration.
fn is_json_error(text: &str) -> bool {
    const NAMES: [&str; 4] = ["error", "message", "detail", "errors"];
    const BESIDE: [&str; 5] = ["status", "code", "documentation_url", "error_code", "ok"];
    let Ok(map) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) else {
        return false;
    };
    let names = |names: &[&str], key: &str| names.contains(&key);
    map.keys().any(|key| names(&NAMES, key))
        && map
            .keys()
            .all(|key| names(&NAMES, key) || names(&BESIDE, key))
}
