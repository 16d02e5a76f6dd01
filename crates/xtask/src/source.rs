//! Rust files as the chores read them: without comments, without the insides of strings and
//! without tests, but with every line where it was.
//!
//! A scanner of characters, not a parser: it knows strings, comments and braces, which is all that
//! counting lines and finding paths takes.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A Rust file without comments and tests.
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    /// What remains, as many lines as the file has. Insides of strings are `"`.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            code: without_tests(&without_comments(text)),
        }
    }

    /// Lines, from 1, that hold anything.
    pub(crate) fn code_lines(&self) -> usize {
        code_lines(&self.code)
    }

    /// The line, from 1, of a byte offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

/// Lines that hold anything.
pub(crate) fn code_lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Every Rust file under `crates/*/src` that is not there for tests only, in the order of their paths.
pub(crate) fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for entry in read_folder(&root.join("crates"))? {
        let folder = entry.join("src");
        if folder.is_dir() {
            collect(&folder, &mut files)?;
        }
    }
    files.sort();
    let mut read = Vec::new();
    let mut for_tests = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for_tests.extend(test_modules(&file, &text));
        read.push((file, text));
    }
    read.retain(|(file, _)| {
        let module = file.with_extension("");
        !for_tests.iter().any(|tests| module.starts_with(tests))
    });
    let source = |(file, text): &(PathBuf, String)| {
        let path = file.strip_prefix(root).unwrap_or(file);
        Source::new(&path.to_string_lossy().replace('\\', "/"), text)
    };
    Ok(read.iter().map(source).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in read_folder(folder)? {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else if entry.extension().is_some_and(|e| e == "rs") {
            files.push(entry);
        }
    }
    Ok(())
}

/// The modules of a file that are declared under `#[cfg(test)]`, as paths without `.rs`.
fn test_modules(file: &Path, text: &str) -> Vec<PathBuf> {
    let stem = file.file_stem().unwrap_or_default();
    let folder = if ["mod", "lib", "main"].iter().any(|root| *root == stem) {
        file.parent().unwrap_or(file).to_path_buf()
    } else {
        file.with_extension("")
    };
    let code = without_comments(text);
    let declarations = code.split("#[cfg(test)]").skip(1);
    let names = declarations.filter_map(|rest| {
        let name = rest.trim_start().strip_prefix("mod ")?;
        name.split_once(';').map(|(name, _)| name.trim().to_owned())
    });
    names
        .filter(|name| !name.contains('{'))
        .map(|name| folder.join(name))
        .collect()
}

fn read_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|e| Ok(e?.path())).collect();
    Ok(paths?)
}

/// Comments become spaces, insides of strings and characters become `"`.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (length, filler) = match skipped(bytes, at) {
            Some(skipped) => skipped,
            None => {
                code.push(bytes[at]);
                at += 1;
                continue;
            }
        };
        let end = (at + length).min(bytes.len());
        let fill = |&byte: &u8| if byte == b'\n' { b'\n' } else { filler };
        code.extend(bytes[at..end].iter().map(fill));
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Length of the comment or literal that starts at `at`, and what stands in its place.
fn skipped(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => {
            let length = rest.iter().position(|&b| b == b'\n');
            Some((length.unwrap_or(rest.len()), b' '))
        }
        [b'/', b'*', ..] => Some((block_comment(rest), b' ')),
        [b'"', ..] => Some((quoted(rest, b'"'), b'"')),
        [b'r', b'"' | b'#', ..] if !in_word || bytes[at - 1] == b'b' || bytes[at - 1] == b'c' => {
            raw_string(rest).map(|length| (length, b'"'))
        }
        // A quote is a lifetime unless it closes after one character or starts an escape.
        [b'\'', b'\\', ..] => Some((quoted(rest, b'\''), b'"')),
        [b'\'', ..] => {
            let text = std::str::from_utf8(&rest[1..]).ok()?;
            let first = text.chars().next()?.len_utf8();
            (rest.get(1 + first) == Some(&b'\'')).then_some((first + 2, b'"'))
        }
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"` or `r#"…"#`; `None` for a raw identifier such as `r#type`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = &rest[hashes + 2..];
    let end = body
        .windows(close.len())
        .position(|window| window == close.as_slice());
    Some(end.map_or(rest.len(), |end| hashes + 2 + end + close.len()))
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    for mark in ["#[cfg(test)]", "#[cfg(all(test"] {
        while let Some(start) = code.find(mark) {
            let end = item_end(&code, start + mark.len());
            let blank = code[start..end].replace(|c| c != '\n', " ");
            code.replace_range(start..end, &blank);
        }
    }
    code
}

/// Where the item that starts at `start` ends: behind its `;` or its closing brace.
fn item_end(code: &str, start: usize) -> usize {
    match code[start..].find([';', '{']) {
        Some(at) if code.as_bytes()[start + at] == b'{' => block_end(code, start + at),
        Some(at) => start + at + 1,
        None => code.len(),
    }
}

/// Where the block that opens at `open` ends, behind its brace.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return open + at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Byte ranges of every identifier and keyword.
pub(crate) fn words(code: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = code.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_word(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        (start < at).then_some(start..at)
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_lines_stay() {
        let code = without_comments("a // b\n/* c /* d */\n e */ f\n");
        assert_eq!(code.lines().count(), 3);
        assert_eq!(code.split_whitespace().collect::<String>(), "af");
    }

    #[test]
    fn braces_and_slashes_in_strings_are_not_code() {
        for text in [
            r#"let a = "{ // \" {"; b"#,
            "let a = r#\"{ \" // {\"#; b",
            r"let a = '{'; let c = '\''; b",
            "let a = br\"{\"; b",
        ] {
            let code = without_comments(text);
            assert!(!code.contains('{'), "{code}");
            assert!(code.ends_with("; b"), "{code}");
        }
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        let text = "fn a<'a>(x: &'a str) -> &'a str { x }";
        assert_eq!(without_comments(text), text);
        let text = "let r#type = 1;";
        assert_eq!(without_comments(text), text);
    }

    #[test]
    fn files_that_are_tests_are_known_by_their_declaration() {
        let text = "mod a;\n#[cfg(test)]\nmod golden;\n#[cfg(test)]\nmod tests { mod b; }\n";
        let found = |file: &str| test_modules(Path::new(file), text);
        assert_eq!(found("src/x/mod.rs"), [Path::new("src/x/golden")]);
        assert_eq!(found("src/x.rs"), [Path::new("src/x/golden")]);
    }

    #[test]
    fn tests_are_left_out() {
        let source = Source::new(
            "a.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n",
        );
        assert_eq!(source.code_lines(), 2);
        assert!(!source.code.contains("fn b"));
        assert_eq!(source.line(source.code.find("fn c").unwrap()), 6);
    }
}
