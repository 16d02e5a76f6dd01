//! The direction of imports.
//!
//! Modules stand in `lib.rs` in the order in which data flows. A module that imports from a later one
//! breaks the order. Modules without an empty line between them form a group: rustfmt sorts them by
//! name, so they have no order among themselves. Files must not form circles, and subcommands must not
//! know each other. Unsafe code, printing and the environment are left to lints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules::{Modules, Reference};
use crate::source::{Source, sources};

/// Crates whose modules stand in the order of their data flow.
pub(crate) const ORDERED: [&str; 4] = [
    "crates/saescope-kernels/src/",
    "crates/saescope/src/",
    "crates/saescope-store/src/",
    "crates/saescope-cli/src/",
];

/// Pairs of modules that must not know each other, whatever their order.
const STRANGERS: [(&str, &str); 2] = [("model", "sae"), ("sae", "model")];

/// The module whose children must not know each other.
const COMMANDS: &str = "commands";

/// Every break of the rules, as `file:line: message`, and after them every circle.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let sources = sources(root)?;
    let mut faults = Vec::new();
    for root in ORDERED {
        let modules = Modules::of(&sources, root);
        for source in modules.files() {
            for reference in modules.references(source) {
                let fault = import_fault(&modules, source, &reference);
                let place = format!("{}:{}", source.path, reference.line);
                faults.extend(fault.map(|fault| format!("{place}: {fault}")));
            }
        }
    }
    faults.dedup(); // One line may name a module twice.
    for root in ORDERED {
        let modules = Modules::of(&sources, root);
        faults.extend(circles(&modules).iter().map(ToString::to_string));
    }
    Ok(faults)
}

fn import_fault(
    modules: &Modules<'_>,
    source: &Source,
    reference: &Reference<'_>,
) -> Option<String> {
    // The root names every module: that is its purpose.
    let home = source.module.first()?;
    let Some(position) = modules.position(home) else {
        return Some(format!("`{home}` is not declared in the root of the crate"));
    };
    let target = reference.head?;
    if STRANGERS.contains(&(home, target)) {
        return Some(format!("`{home}` must not know `{target}`"));
    }
    if modules.position(target) > Some(position) {
        return Some(format!(
            "`{home}` imports `{target}`, which stands after it in the root of the crate"
        ));
    }
    let own = command(source)?;
    let other = command(reference.target)?;
    (own != other).then(|| format!("the command `{own}` imports the command `{other}`"))
}

/// The subcommand that a file belongs to.
fn command(source: &Source) -> Option<&str> {
    match &source.module[..] {
        [room, command, ..] if room == COMMANDS => Some(command),
        _ => None,
    }
}

/// Files of a crate that use each other, directly or through others.
pub(crate) struct Circle<'a> {
    /// Each import within the circle: line, items.
    imports: BTreeMap<Arrow<'a>, (usize, BTreeSet<String>)>,
}

/// From the file that imports to the file that owns the items.
type Arrow<'a> = (&'a str, &'a str);

impl std::fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a circle of files:")?;
        for ((file, owner), (line, items)) in &self.imports {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            write!(f, "\n  {file}:{line} uses {} of {owner}", items.join(", "))?;
        }
        Ok(())
    }
}

/// The circles among the files of a crate.
///
/// An import points to the file that defines the item, not to one that re-exports it, and a path that
/// ends with a module names no item. A file may use its ancestors: a child module is a part of them,
/// and sees even what is private there.
pub(crate) fn circles<'a>(modules: &Modules<'a>) -> Vec<Circle<'a>> {
    let mut imports: BTreeMap<Arrow<'_>, (usize, BTreeSet<String>)> = BTreeMap::new();
    for source in modules.files() {
        for reference in modules.references(source) {
            let target = reference.target;
            if let Some(item) = reference.item
                && !reference.reexport
                && !source.module.starts_with(&target.module)
            {
                let import = imports.entry((&source.path, &target.path));
                let import = import.or_insert((reference.line, BTreeSet::new()));
                import.1.insert(item);
            }
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|(file, _)| (*file, reached(&imports, file)))
        .collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut circles: BTreeMap<BTreeSet<&str>, Circle<'_>> = BTreeMap::new();
    for (arrow @ (file, owner), items) in imports {
        if leads(owner, file) {
            let members = reached[file].iter().copied();
            let members = members.filter(|other| leads(other, file)).collect();
            let circle = circles.entry(members).or_insert(Circle {
                imports: BTreeMap::new(),
            });
            circle.imports.insert(arrow, items);
        }
    }
    circles.into_values().collect()
}

/// Every file that imports lead to from `file`.
fn reached<'a, T>(imports: &BTreeMap<Arrow<'a>, T>, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for (_, owner) in imports.keys().filter(|(from, _)| *from == file) {
            if reached.insert(*owner) {
                open.push(owner);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "\
pub mod error;

pub mod site;

pub mod model;

pub mod sae;

pub use error::Error;
pub use model::Model;
";
    const COMMAND: &str = "mod print;\n\nmod args;\n\nmod commands;\n";

    /// The sources of a crate with a root and files of other modules.
    fn sources(root: &str, files: &[(&str, &str)]) -> Vec<Source> {
        let files = [("lib.rs", root)].into_iter().chain(files.iter().copied());
        let parse = |(file, text)| Source::parse(&format!("x/src/{file}"), text).unwrap();
        files.map(parse).collect()
    }

    /// The faults of imports in the last of `files`.
    fn faults(root: &str, files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources(root, files);
        let modules = Modules::of(&sources, "x/src/");
        let source = sources.last().unwrap();
        let references = modules.references(source);
        let fault = |reference: &Reference<'_>| {
            let fault = import_fault(&modules, source, reference)?;
            Some(format!("{}: {fault}", reference.line))
        };
        references.iter().filter_map(fault).collect()
    }

    const MODEL: (&str, &str) = ("model/mod.rs", "mod config;\npub struct Model;");
    const CONFIG: (&str, &str) = ("model/config.rs", "pub struct Config;");
    const ERROR: (&str, &str) = ("error.rs", "pub enum Error {}");

    #[test]
    fn a_module_may_import_what_stands_before_it() {
        let text = "use crate::error::{self, Error};\nuse super::config::Config;\nfn f(_: crate::Error) {}";
        let files = [ERROR, MODEL, CONFIG, ("model/load.rs", text)];
        assert_eq!(faults(LIB, &files), [""; 0]);
    }

    #[test]
    fn a_module_must_not_import_what_stands_after_it() {
        let expected = "2: `site` imports `model`, which stands after it in the root of the crate";
        for text in [
            "\nuse crate::model::config;",
            "\nuse crate::{error::Error, model};",
            "\nfn f(m: &crate::Model) {}",
            "\nuse super::model;",
            "\nfn f() { assert_eq!(1, crate::model::g(), \"message\"); }",
            "use crate::{\n    model::Model, error};",
        ] {
            let files = [ERROR, MODEL, CONFIG, ("site.rs", text)];
            assert_eq!(faults(LIB, &files), [expected], "{text}");
        }
    }

    #[test]
    fn modules_of_one_group_may_import_each_other() {
        let files = [
            ("b.rs", ""),
            ("c.rs", ""),
            ("a.rs", "use crate::b::x;\nuse crate::c::y;\n"),
        ];
        assert_eq!(
            faults("mod a;\nmod b;\n\nmod c;\n", &files),
            ["2: `a` imports `c`, which stands after it in the root of the crate"]
        );
    }

    #[test]
    fn super_counts_from_the_module_of_the_file() {
        let files = |text| [MODEL, ("site/mod.rs", ""), ("site/names.rs", text)];
        assert_eq!(faults(LIB, &files("use super::model;")), [""; 0]);
        assert_eq!(faults(LIB, &files("use super::super::model;")).len(), 1);
    }

    #[test]
    fn model_and_sae_are_strangers_in_both_directions() {
        for (file, text) in [
            ("model/load.rs", "use crate::sae;"),
            ("sae/encode.rs", "use crate::model::Model;"),
            ("sae/encode.rs", "use crate::Model;"),
        ] {
            let files = [MODEL, ("sae/mod.rs", ""), (file, text)];
            let found = faults(LIB, &files);
            assert!(found[0].contains("must not know"), "{found:?}");
        }
    }

    #[test]
    fn tests_and_comments_may_name_anything() {
        let text = "/// [`crate::model`]\n#[cfg(test)]\nmod tests {\n    use crate::model;\n}\n";
        assert_eq!(faults(LIB, &[MODEL, ("site.rs", text)]), [""; 0]);
    }

    #[test]
    fn a_command_must_not_import_another() {
        let run = ("commands/run/mod.rs", "pub struct Args;");
        let commands = ("commands/mod.rs", "mod run;\nmod steer;");
        let files = |text| [commands, run, ("commands/steer.rs", text)];
        let expected = "1: the command `steer` imports the command `run`";
        for text in ["use crate::commands::run::Args;", "use super::run;\n"] {
            assert_eq!(faults(COMMAND, &files(text)), [expected], "{text}");
        }
        let own = [commands, run, ("commands/run/chat.rs", "use super::Args;")];
        assert_eq!(faults(COMMAND, &own), [""; 0]);
    }

    #[test]
    fn arguments_may_import_printing_and_neither_may_import_commands() {
        let files = |file, text| [("print.rs", ""), ("commands/mod.rs", ""), (file, text)];
        assert_eq!(
            faults(COMMAND, &files("args/mod.rs", "use crate::print;")),
            [""; 0]
        );
        assert_eq!(
            faults(COMMAND, &files("args/mod.rs", "use crate::commands;")).len(),
            1
        );
        assert_eq!(
            faults(COMMAND, &files("print/a.rs", "use crate::commands;")).len(),
            1
        );
    }

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources("mod a;\nmod b;\nmod c;", files);
        let found = circles(&Modules::of(&sources, "x/src/"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_lists_the_imports_that_close_it() {
        let files = [
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "use crate::c;\npub struct B(c::C);"),
            ("c.rs", "pub struct C;\nfn f(_: crate::a::A) {}"),
        ];
        let expected = "a circle of files:\n  x/src/a.rs:1 uses B of x/src/b.rs\n  \
                        x/src/b.rs:2 uses C of x/src/c.rs\n  x/src/c.rs:2 uses A of x/src/a.rs";
        assert_eq!(circles_of(&files), [expected]);
        assert_eq!(circles_of(&files[..2]), [""; 0]);
    }

    #[test]
    fn an_item_belongs_to_the_file_that_defines_it() {
        let files = [
            ("a/mod.rs", "mod one;\nmod two;\npub use two::Two;"),
            ("a/one.rs", "use super::Two;\npub struct One;"),
            ("a/two.rs", "pub struct Two;"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
        let back = ("a/two.rs", "use super::one::One;\npub struct Two(One);");
        assert_eq!(circles_of(&[files[0], files[1], back]).len(), 1);
    }

    #[test]
    fn a_child_may_use_its_parent() {
        let files = [
            ("a/mod.rs", "mod one;\npub struct A;\nfn f() { one::g(A); }"),
            ("a/one.rs", "use super::A;\npub fn g(_: A) {}"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }
}
