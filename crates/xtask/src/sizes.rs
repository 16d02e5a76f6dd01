//! The longest files and functions.

use std::fmt::Write as _;
use std::path::Path;

use crate::source::{Function, sources};

const SHOWN: usize = 10;
/// Limits in lines of code. Clippy's `too_many_lines` enforces that of functions.
const FILE_LIMIT: usize = 500;
const FUNCTION_LIMIT: usize = 60;

pub(crate) fn report(root: &Path) -> anyhow::Result<String> {
    let sources = sources(root)?;
    let files = sources
        .iter()
        .map(|source| (source.code_lines.len(), source.path.clone()));
    let functions = sources.iter().flat_map(|source| {
        let named = |f: &Function| format!("{}:{} {}", source.path, f.line, f.name);
        let functions = source.functions.iter();
        functions.map(move |f| (f.length, named(f)))
    });
    let files = table("files", files.collect(), FILE_LIMIT);
    Ok(files + &table("functions", functions.collect(), FUNCTION_LIMIT))
}

fn table(what: &str, mut all: Vec<(usize, String)>, limit: usize) -> String {
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let sum: usize = all.iter().map(|(lines, _)| lines).sum();
    let over = all.iter().filter(|(lines, _)| *lines > limit).count();
    let mut text = format!(
        "{what}: {} with {sum} lines of code, {over} over {limit}\n",
        all.len()
    );
    for (lines, name) in all.iter().take(SHOWN) {
        let mark = if *lines > limit {
            "  over the limit"
        } else {
            ""
        };
        let _ = writeln!(text, "{lines:6}  {name}{mark}");
    }
    text
}
