//! The direction of imports, and the places where some things may not be.
//!
//! Modules of a library stand in `lib.rs` in the order in which data flows. One that imports from
//! a module standing after it breaks the order; so does a `model` that knows what an SAE is.
//! Modules without a blank line between them stand side by side: rustfmt sorts such a group by name,
//! so an order within it could not mean anything.

use std::path::Path;

use anyhow::Context;

use crate::source::{Source, sources, words};

/// Libraries whose modules stand in the order of their data flow.
const ORDERED: [&str; 2] = ["crates/saescope-kernels/src/", "crates/saescope/src/"];

/// Pairs of modules that must not know each other, whatever their order.
const STRANGERS: [(&str, &str); 2] = [("model", "sae"), ("sae", "model")];

/// The only places with unsafe code.
const UNSAFE: [&str; 2] = [
    "crates/saescope-kernels/src/",
    "crates/saescope/src/checkpoint/mmap.rs",
];

/// What a library leaves to its callers.
const CALLERS_BUSINESS: [(&str, &str); 6] = [
    ("print!", "a library does not print"),
    ("println!", "a library does not print"),
    ("eprint!", "a library does not print"),
    ("eprintln!", "a library does not print"),
    ("env::var", "a library reads no environment variable"),
    ("env::var_os", "a library reads no environment variable"),
];

/// Every break of the rules, as `file:line: what`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let sources = sources(root)?;
    let mut faults = Vec::new();
    for library in ORDERED {
        let lib = sources
            .iter()
            .find(|source| source.path == format!("{library}lib.rs"))
            .with_context(|| format!("{library}lib.rs is missing"))?;
        let order = Order::of(lib);
        for source in sources.iter().filter(|s| s.path.starts_with(library)) {
            let module = module_path(&source.path[library.len()..]);
            imports(source, &module, &order, &mut faults);
            callers_business(source, &mut faults);
        }
    }
    for source in &sources {
        unsafe_code(source, &mut faults);
    }
    Ok(faults)
}

/// The modules of a library in their order, and what its root re-exports from them.
struct Order {
    /// Name, number of its group.
    modules: Vec<(String, usize)>,
    /// Name at the root, module it comes from.
    exports: Vec<(String, String)>,
}

impl Order {
    fn of(lib: &Source) -> Order {
        let mut order = Order {
            modules: Vec::new(),
            exports: Vec::new(),
        };
        for (group, lines) in lib.code.split("\n\n").enumerate() {
            for statement in lines.split(';') {
                let names: Vec<&str> = words(statement).map(|w| &statement[w]).collect();
                if let [.., "mod", name] = names.as_slice() {
                    order.modules.push(((*name).to_owned(), group));
                }
            }
        }
        for statement in lib.code.split(';') {
            let mut names = words(statement).map(|w| &statement[w]);
            if let Some(module) = names.find(|name| order.position(name).is_some())
                && statement.contains("use ")
            {
                let exported = names.map(|name| (name.to_owned(), module.to_owned()));
                order.exports.extend(exported);
            }
        }
        order
    }

    fn position(&self, module: &str) -> Option<usize> {
        let found = self.modules.iter().find(|(name, _)| name == module)?;
        Some(found.1)
    }

    /// The module that `crate::name` is, or comes from.
    fn module_of<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.position(name).is_some() {
            return Some(name);
        }
        let export = self.exports.iter().find(|(exported, _)| exported == name)?;
        Some(&export.1)
    }
}

/// `model/config.rs` is `[model, config]`, `model/mod.rs` is `[model]`, `lib.rs` is `[]`.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if matches!(path.last(), Some(&"mod" | &"lib")) {
        path.pop();
    }
    path
}

fn imports(source: &Source, module: &[&str], order: &Order, faults: &mut Vec<String>) {
    // The root names every module; that is its purpose.
    let [home, ..] = module else { return };
    if order.position(home).is_none() {
        let place = format!("{}:1", source.path);
        faults.push(format!("{place}: `{home}` is no module of lib.rs"));
        return;
    }
    for (offset, name) in root_names(&source.code, module.len()) {
        let Some(target) = order.module_of(name) else {
            continue;
        };
        let place = format!("{}:{}", source.path, source.line(offset));
        if STRANGERS.contains(&(home, target)) {
            faults.push(format!("{place}: `{home}` must not know `{target}`"));
        } else if order.position(target) > order.position(home) {
            faults.push(format!(
                "{place}: `{home}` imports `{target}`, which stands after it in lib.rs"
            ));
        }
    }
}

/// Names looked up in the root of the crate: `a` and `b` of `crate::a::c` and `crate::{a, b::d}`,
/// and the same behind as many `super::` as lead from a module `depth` deep to the root.
fn root_names(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut supers = 0;
    for word in words(code) {
        let behind = code[word.end..].trim_start();
        let path = behind.strip_prefix("::").map(str::trim_start);
        supers = match (&code[word.clone()], path) {
            ("super", Some(_)) => supers + 1,
            _ => 0,
        };
        let at_root = &code[word.clone()] == "crate" || (supers > 0 && supers == depth);
        let Some(path) = path.filter(|_| at_root) else {
            continue;
        };
        let start = code.len() - path.len();
        for (offset, name) in heads(path) {
            names.push((start + offset, name));
        }
    }
    names
}

/// The first segments of a path, which may be a group in braces.
fn heads(path: &str) -> Vec<(usize, &str)> {
    if !path.starts_with('{') {
        let first = words(path).next().filter(|word| word.start == 0);
        return first.map(|w| (0, &path[w])).into_iter().collect();
    }
    let mut heads = Vec::new();
    let (mut depth, mut wanted) = (0, false);
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'{' => {
                depth += 1;
                wanted = depth == 1;
            }
            b'}' if depth == 1 => break,
            b'}' => depth -= 1,
            b',' => wanted = depth == 1,
            byte if wanted && !byte.is_ascii_whitespace() => {
                wanted = false;
                if let Some(word) = words(&path[at..]).next() {
                    heads.push((at, &path[at..at + word.end]));
                }
            }
            _ => {}
        }
    }
    heads
}

fn unsafe_code(source: &Source, faults: &mut Vec<String>) {
    if UNSAFE.iter().any(|place| source.path.starts_with(place)) {
        return;
    }
    for word in words(&source.code) {
        if &source.code[word.clone()] == "unsafe" {
            let line = source.line(word.start);
            faults.push(format!(
                "{}:{line}: unsafe code lives in saescope-kernels and checkpoint/mmap.rs only",
                source.path
            ));
        }
    }
}

fn callers_business(source: &Source, faults: &mut Vec<String>) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    for (name, why) in CALLERS_BUSINESS {
        for (offset, _) in source.code.match_indices(name) {
            let before = source.code[..offset].chars().next_back();
            let after = source.code[offset + name.len()..].chars().next();
            if !before.is_some_and(word) && !after.is_some_and(word) {
                let line = source.line(offset);
                faults.push(format!("{}:{line}: `{name}`: {why}", source.path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "pub mod error;\n\npub mod site;\n\npub mod model;\n\npub mod sae;\n\npub use error::{Error, Result};\npub use model::Model;\n";

    fn faults(file: &str, text: &str) -> Vec<String> {
        let order = Order::of(&Source::new("lib.rs", LIB));
        let source = Source::new(file, text);
        let mut faults = Vec::new();
        imports(&source, &module_path(file), &order, &mut faults);
        faults
    }

    #[test]
    fn importing_what_stands_before_is_fine() {
        let text = "use crate::error::{Error, Result};\nuse super::config::Config;\nuse crate::{Error, site::Site};\n";
        assert_eq!(faults("model/load.rs", text), [""; 0]);
    }

    #[test]
    fn importing_what_stands_after_is_named_with_its_line() {
        let expected = ["site.rs:2: `site` imports `model`, which stands after it in lib.rs"];
        for text in [
            "\nuse crate::model::config;",
            "\nuse crate::{error::Error, model};",
            "\nfn f(m: &crate::Model) {}",
            "\nuse super::model;",
            "// crate::sae\nuse crate::{\n    model::{Model, sae}};",
        ] {
            let found = faults("site.rs", text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(
                found[0].replace("site.rs:3", "site.rs:2"),
                expected[0],
                "{text}"
            );
        }
    }

    #[test]
    fn modules_of_one_group_may_know_each_other() {
        let order = Order::of(&Source::new("lib.rs", "mod a;\nmod b;\n\nmod c;\n"));
        let mut faults = Vec::new();
        let source = Source::new("a.rs", "use crate::b;\nuse crate::c;\n");
        imports(&source, &["a"], &order, &mut faults);
        assert_eq!(
            faults,
            ["a.rs:2: `a` imports `c`, which stands after it in lib.rs"]
        );
    }

    #[test]
    fn super_counts_from_where_the_file_is() {
        assert_eq!(faults("site/names.rs", "use super::model;"), [""; 0]);
        assert_eq!(faults("site/names.rs", "use super::super::model;").len(), 1);
    }

    #[test]
    fn model_and_sae_stay_strangers_in_both_directions() {
        for (file, text) in [
            ("model/mod.rs", "use crate::sae;"),
            ("sae/encode.rs", "use crate::model::Model;"),
            ("sae/encode.rs", "use crate::Model;"),
        ] {
            let found = faults(file, text);
            assert!(found[0].contains("must not know"), "{found:?}");
        }
    }

    #[test]
    fn tests_and_comments_may_name_anything() {
        let text = "/// [`crate::model`]\n#[cfg(test)]\nmod tests {\n    use crate::model;\n}\n";
        assert_eq!(faults("site.rs", text), [""; 0]);
    }

    #[test]
    fn unsafe_code_and_printing_are_found() {
        let source = Source::new(
            "crates/saescope/src/a.rs",
            "#![allow(unsafe_code)]\nunsafe fn f() {}\nfn g() { println!(\"unsafe\"); }\nfn h() { std::env::var(\"A\"); writeln!(w); }\n",
        );
        let mut found = Vec::new();
        unsafe_code(&source, &mut found);
        callers_business(&source, &mut found);
        let places: Vec<&str> = found.iter().map(|f| f.split(' ').next().unwrap()).collect();
        let place = |line| format!("crates/saescope/src/a.rs:{line}:");
        assert_eq!(places, [place(2), place(3), place(4)]);
    }
}
