//! Counts that tell how readable the code is, for comparison with earlier commits and other projects.
//!
//! Everything counts files in `crates/*/src` without tests. Documents, benches and examples are not read.

use std::path::Path;

use crate::layers::{ORDERED, circles};
use crate::modules::Modules;
use crate::source::{Function, Source, sources};

/// Words that a comment should not begin with: a noun or a verb says sooner what it is about.
const RELATIVES: [&str; 5] = ["what", "whether", "where", "who", "how"];

/// Methods of `Matrix` that hand out memory of the host.
const HOST_ACCESS: [&str; 4] = ["data", "data_mut", "row", "row_mut"];

const COMMAND: &str = "crates/saescope-cli/src/";
const LIBRARY: &str = "crates/saescope/src/";

/// A table with one count on each line.
pub(crate) fn report(root: &Path) -> anyhow::Result<String> {
    let sources = sources(root)?;
    let rows = [sizes(&sources), language(&sources), structure(&sources)].concat();
    let line = |(name, value): &(&str, String)| format!("{name:<46}{value}\n");
    Ok(rows.iter().map(line).collect())
}

fn sizes(sources: &[Source]) -> Vec<(&'static str, String)> {
    let lengths = sources.iter().map(|s| s.lines);
    let functions = functions(sources).map(|f| f.length);
    vec![
        ("files", sources.len().to_string()),
        ("lines", lengths.clone().sum::<usize>().to_string()),
        ("lines of code", code_lines(sources).to_string()),
        ("file p50/p90/max", spread(lengths.collect())),
        ("functions", functions.clone().count().to_string()),
        ("function p50/p90/max", spread(functions.collect())),
    ]
}

fn language(sources: &[Source]) -> Vec<(&'static str, String)> {
    let comments: usize = sources.iter().map(|s| s.comments.lines).sum();
    let documented = sources.iter().filter(|s| s.comments.module_doc).count();
    let first_words = sources.iter().flat_map(|s| &s.comments.first_words);
    let relative = first_words
        .clone()
        .filter(|word| RELATIVES.contains(&&*word.to_lowercase()));
    let relative = percent(relative.count(), first_words.count());
    let tuples: usize = functions(sources).map(|f| f.tuples).sum();
    let tuples = ratio(1000 * tuples, functions(sources).count());
    vec![
        (
            "comment lines : lines of code",
            ratio(comments, code_lines(sources)),
        ),
        (
            "files with a module comment",
            percent(documented, sources.len()),
        ),
        ("comments begun by what/whether/where/who/how", relative),
        ("tuple parameters per 1,000 functions", tuples),
    ]
}

fn structure(sources: &[Source]) -> Vec<(&'static str, String)> {
    let command = sources.iter().filter(|s| s.root() == COMMAND);
    let serialised: usize = command.clone().map(|s| s.serialised).sum();
    let lines: usize = command.map(|s| s.code_lines.len()).sum();
    let library = sources.iter().filter(|s| s.root() == LIBRARY);
    let accesses: Vec<usize> = library.map(host_accesses).filter(|n| *n > 0).collect();
    let total: usize = accesses.iter().sum();
    let circles = ORDERED.map(|root| circles(&Modules::of(sources, root)).len());
    vec![
        (
            "the command's share of lines of code",
            percent(lines, code_lines(sources)),
        ),
        (
            "types of the command that derive Serialize",
            serialised.to_string(),
        ),
        (
            "host accesses to Matrix in the library",
            format!("{total} in {} files", accesses.len()),
        ),
        (
            "circles of files",
            circles.iter().sum::<usize>().to_string(),
        ),
    ]
}

fn functions(sources: &[Source]) -> impl Iterator<Item = &Function> + Clone {
    sources.iter().flat_map(|s| &s.functions)
}

fn code_lines(sources: &[Source]) -> usize {
    sources.iter().map(|s| s.code_lines.len()).sum()
}

/// Calls of methods with the names of `Matrix`'s own; the receiver's type is not known here.
fn host_accesses(source: &Source) -> usize {
    let calls = source.methods.iter();
    calls
        .filter(|name| HOST_ACCESS.contains(&name.as_str()))
        .count()
}

fn spread(mut lengths: Vec<usize>) -> String {
    lengths.sort_unstable();
    let at = |percent: usize| lengths[(lengths.len() - 1) * percent / 100];
    let [p50, p90, max] = [50, 90, 100].map(at);
    format!("{p50}/{p90}/{max}")
}

fn ratio(part: usize, whole: usize) -> String {
    format!("{:.2}", part as f64 / whole.max(1) as f64)
}

fn percent(part: usize, whole: usize) -> String {
    format!(
        "{:.1}% ({part} of {whole})",
        100.0 * part as f64 / whole.max(1) as f64
    )
}
