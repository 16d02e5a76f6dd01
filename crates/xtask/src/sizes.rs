//! The longest files and functions, to be looked at on every run: what goes wrong in a codebase
//! goes wrong in the one file that nobody split.

use std::fmt::Write as _;
use std::path::Path;

use crate::source::{Source, block_end, code_lines, sources, words};

const SHOWN: usize = 10;
const FILE_LIMIT: usize = 500;
const FUNCTION_LIMIT: usize = 60;

/// Something with a length: a file, or a function and where it is.
#[derive(Debug, PartialEq)]
struct Sized {
    lines: usize,
    name: String,
}

pub(crate) fn report(root: &Path) -> anyhow::Result<String> {
    let sources = sources(root)?;
    let files = sources.iter().map(|source| Sized {
        lines: source.code_lines(),
        name: source.path.clone(),
    });
    let mut text = String::new();
    table(&mut text, "files", files.collect(), FILE_LIMIT);
    let functions = sources.iter().flat_map(functions).collect();
    table(&mut text, "functions", functions, FUNCTION_LIMIT);
    Ok(text)
}

fn table(text: &mut String, what: &str, mut all: Vec<Sized>, limit: usize) {
    all.sort_by(|a, b| b.lines.cmp(&a.lines).then_with(|| a.name.cmp(&b.name)));
    let sum: usize = all.iter().map(|s| s.lines).sum();
    let over = all.iter().filter(|s| s.lines > limit).count();
    let _ = writeln!(
        text,
        "{what}: {} with {sum} lines of code, {over} over {limit}",
        all.len()
    );
    for Sized { lines, name } in all.iter().take(SHOWN) {
        let mark = if *lines > limit {
            "  wants a reason"
        } else {
            ""
        };
        let _ = writeln!(text, "{lines:6}  {name}{mark}");
    }
}

/// Every function with a body, closures and all counted in.
fn functions(source: &Source) -> Vec<Sized> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    let mut words = words(code).peekable();
    while let Some(word) = words.next() {
        // `fn(usize)` is a type: no name follows at once.
        let Some(name) = words.peek().cloned() else {
            break;
        };
        if &code[word.clone()] != "fn" || !code[word.end..name.start].trim().is_empty() {
            continue;
        }
        if let Some(open) = body(code, name.end) {
            found.push(Sized {
                lines: code_lines(&code[word.start..block_end(code, open)]),
                name: format!(
                    "{}:{} {}",
                    source.path,
                    source.line(word.start),
                    &code[name]
                ),
            });
        }
    }
    found
}

/// Where the body of a function opens, looking from behind its name; `None` for a declaration.
fn body(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code[from..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(from + at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_lengths() {
        let source = Source::new(
            "a.rs",
            "trait T {\n    fn declared(&self, x: [u8; 3]);\n}\nfn short() {}\n\
             fn long(f: fn(usize) -> u8)\nwhere\n    u8: Copy,\n{\n    // why\n\n    f(1);\n}\n",
        );
        let found = functions(&source);
        assert_eq!(
            found,
            [
                Sized {
                    lines: 1,
                    name: "a.rs:4 short".to_owned()
                },
                Sized {
                    lines: 6,
                    name: "a.rs:5 long".to_owned()
                },
            ]
        );
    }

    #[test]
    fn the_longest_comes_first_and_says_that_it_is_too_long() {
        let all = vec![
            Sized {
                lines: 3,
                name: "small".to_owned(),
            },
            Sized {
                lines: 11,
                name: "large".to_owned(),
            },
        ];
        let mut text = String::new();
        table(&mut text, "files", all, 10);
        assert_eq!(
            text,
            "files: 2 with 14 lines of code, 1 over 10\n    11  large  wants a reason\n     3  small\n"
        );
    }
}
