//! Rust files as the other chores read them: parsed by `syn`, with everything under `#[cfg(test)]`
//! left out.
//!
//! Knows one file at a time. Paths are kept as they are written; `modules` resolves them.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, FnArg, Item, Meta, Pat, Signature, UseTree, Visibility};

/// A Rust file without its tests.
#[derive(Default)]
pub(crate) struct Source {
    /// Path in the repository, with `/`.
    pub(crate) path: String,
    /// Module path in its crate: `[model, config]` of `model/config.rs`, `[]` of `lib.rs`.
    pub(crate) module: Vec<String>,
    /// Declared modules with the number of their group; an empty line ends a group.
    pub(crate) children: Vec<(String, usize)>,
    /// Modules declared for tests.
    test_children: Vec<String>,
    /// Names of the items that the file defines, macros included.
    pub(crate) items: HashSet<String>,
    pub(crate) uses: Vec<Use>,
    /// Paths of at least two segments outside `use`, each with its line.
    pub(crate) paths: Vec<(Vec<String>, usize)>,
    /// First segments of all paths outside `use`.
    pub(crate) names: HashSet<String>,
    pub(crate) functions: Vec<Function>,
    /// Names of the methods that are called.
    pub(crate) methods: Vec<String>,
    /// Number of types that derive `Serialize`.
    pub(crate) serialised: usize,
    /// Number of lines of any kind.
    pub(crate) lines: usize,
    /// Lines that hold code.
    pub(crate) code_lines: BTreeSet<usize>,
    pub(crate) comments: Comments,
    /// Lines of tests.
    tests: Vec<RangeInclusive<usize>>,
}

/// One name imported by a `use`.
pub(crate) struct Use {
    pub(crate) path: Vec<String>,
    /// The name in this file, `*` of a glob.
    pub(crate) name: String,
    /// True for `pub use` of any visibility.
    pub(crate) reexport: bool,
    pub(crate) line: usize,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Lines of code from the signature to the closing brace.
    pub(crate) length: usize,
    /// Number of parameters written as a tuple of names, such as `(a, b): (A, B)`.
    pub(crate) tuples: usize,
}

/// Comments on lines of their own.
#[derive(Default)]
pub(crate) struct Comments {
    pub(crate) lines: usize,
    /// The first word of each block of comment lines.
    pub(crate) first_words: Vec<String>,
    pub(crate) module_doc: bool,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> anyhow::Result<Source> {
        let file = syn::parse_file(text).with_context(|| path.to_owned())?;
        let tokens = text.parse().map_err(|e| anyhow!("{path}: {e}"))?;
        let mut source = Source {
            path: path.to_owned(),
            module: module_of(path),
            ..Source::default()
        };
        mark_lines(tokens, &mut source.code_lines);
        source.visit_file(&file);
        source.group_children(&file, text);
        source.read_comments(text);
        let tests: usize = source.tests.iter().map(|lines| lines.clone().count()).sum();
        source.lines = text.lines().count() - tests;
        Ok(source)
    }

    /// Folder of its crate's sources, such as `crates/saescope/src/`.
    pub(crate) fn root(&self) -> &str {
        let end = self.path.find("src/").map_or(0, |at| at + "src/".len());
        &self.path[..end]
    }

    /// Lines of code of a range of lines.
    fn length(&self, lines: RangeInclusive<usize>) -> usize {
        self.code_lines.range(lines).count()
    }

    fn skip_test(&mut self, item: &impl syn::spanned::Spanned) {
        let lines = lines_of(item);
        self.code_lines.retain(|line| !lines.contains(line));
        self.tests.push(lines);
    }

    fn group_children(&mut self, file: &syn::File, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let (mut group, mut end) = (0, 0);
        for item in &file.items {
            let range = lines_of(item);
            let gap = &lines[end..range.start() - 1];
            group += usize::from(gap.iter().any(|line| line.trim().is_empty()));
            end = *range.end();
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                match (is_test(&module.attrs), &module.content) {
                    (true, None) => self.test_children.push(name),
                    (false, None) => self.children.push((name, group)),
                    (_, Some(_)) => {}
                }
            }
        }
    }

    fn read_comments(&mut self, text: &str) {
        let mut before = "";
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start();
            let words = line.trim_start_matches(['/', '!']);
            let marker = &line[..line.len() - words.len()];
            let in_test = self.tests.iter().any(|lines| lines.contains(&number));
            if !marker.starts_with("//") || in_test || self.code_lines.contains(&number) {
                before = "";
                continue;
            }
            self.comments.lines += 1;
            self.comments.module_doc |= marker == "//!";
            if marker != before {
                let first = words.split_whitespace().next().unwrap_or_default();
                self.comments.first_words.push(first.to_owned());
            }
            before = marker;
        }
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        let line = signature.span().start().line;
        let is_tuple = |input: &&FnArg| match input {
            FnArg::Typed(input) => matches!(*input.pat, Pat::Tuple(_)),
            FnArg::Receiver(_) => false,
        };
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line,
            length: self.length(line..=body.span().end().line),
            tuples: signature.inputs.iter().filter(is_tuple).count(),
        });
    }

    fn path(&mut self, segments: Vec<String>, line: usize) {
        if let Some(first) = segments.first() {
            self.names.insert(first.clone());
        }
        if segments.len() > 1 {
            self.paths.push((segments, line));
        }
    }

    /// Paths within the tokens of a macro, which `syn` does not parse.
    fn macro_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, wanted: char| match tokens.get(at) {
            Some(TokenTree::Punct(found)) => found.as_char() == wanted,
            _ => false,
        };
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.macro_tokens(group.stream()),
                TokenTree::Ident(name) if at > 0 && is(at - 1, '.') => {
                    if let Some(TokenTree::Group(_)) = tokens.get(at + 1) {
                        self.methods.push(name.to_string());
                    }
                }
                TokenTree::Ident(first) => {
                    let mut segments = vec![first.to_string()];
                    while is(at + 1, ':')
                        && is(at + 2, ':')
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        segments.push(next.to_string());
                        at += 3;
                    }
                    self.path(segments, first.span().start().line);
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn use_tree(&mut self, tree: &UseTree, mut path: Vec<String>, reexport: bool) {
        let line = tree.span().start().line;
        let name = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.use_tree(&tree.tree, path, reexport);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, path.clone(), reexport);
                }
                return;
            }
            UseTree::Glob(_) => "*".to_owned(),
            UseTree::Name(tree) if tree.ident == "self" => path.last().cloned().unwrap_or_default(),
            UseTree::Name(tree) => {
                path.push(tree.ident.to_string());
                tree.ident.to_string()
            }
            UseTree::Rename(tree) => {
                if tree.ident != "self" {
                    path.push(tree.ident.to_string());
                }
                tree.rename.to_string()
            }
        };
        self.uses.push(Use {
            path,
            name,
            reexport,
            line,
        });
    }
}

impl Visit<'_> for Source {
    fn visit_item(&mut self, item: &Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Mod(item) => (&item.attrs, item.content.as_ref().map(|_| &item.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return self.skip_test(item);
        }
        self.items.extend(name.map(ToString::to_string));
        let derived = arguments(attributes, "derive").any(|traits| traits.contains("Serialize"));
        self.serialised += usize::from(derived);
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if is_test(&item.attrs) {
            return self.skip_test(item);
        }
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let reexport = !matches!(item.vis, Visibility::Inherited);
        self.use_tree(&item.tree, Vec::new(), reexport);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.path(segments.collect(), path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        self.methods.push(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, invocation: &syn::Macro) {
        self.macro_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    // Neither attributes nor `pub(in crate::sae)` use anything.
    fn visit_attribute(&mut self, _: &Attribute) {}
    fn visit_visibility(&mut self, _: &Visibility) {}
}

/// Every Rust file in `crates/*/src` that is not there for tests only, in the order of paths.
pub(crate) fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files).context("crates")?;
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let path = file
            .strip_prefix(root)?
            .to_string_lossy()
            .replace('\\', "/");
        if path.split('/').nth(2) == Some("src") && path.ends_with(".rs") {
            let text = fs::read_to_string(&file).with_context(|| path.clone())?;
            sources.push(Source::parse(&path, &text)?);
        }
    }
    Ok(without_tests(sources))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn without_tests(mut sources: Vec<Source>) -> Vec<Source> {
    let mut tests = HashSet::new();
    for source in &sources {
        for child in &source.test_children {
            let module = [&source.module[..], std::slice::from_ref(child)].concat();
            tests.insert((source.root().to_owned(), module));
        }
    }
    sources.retain(|source| {
        let root = source.root().to_owned();
        let mut ancestors = (1..=source.module.len()).map(|n| source.module[..n].to_vec());
        !ancestors.any(|module| tests.contains(&(root.clone(), module)))
    });
    sources
}

fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("src/").map_or(path, |(_, inside)| inside);
    let mut module: Vec<String> = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

fn lines_of(item: &impl syn::spanned::Spanned) -> RangeInclusive<usize> {
    let span = item.span();
    span.start().line..=span.end().line
}

/// True for `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    arguments(attributes, "cfg")
        .any(|text| text.starts_with("test") || text.starts_with("all (test"))
}

/// The tokens in the parentheses of the attributes of a name.
fn arguments(attributes: &[Attribute], name: &str) -> impl Iterator<Item = String> {
    attributes
        .iter()
        .filter_map(move |attribute| match &attribute.meta {
            Meta::List(list) if list.path.is_ident(name) => Some(list.tokens.to_string()),
            _ => None,
        })
}

/// Marks the lines that tokens touch. A doc comment is an attribute whose tokens all have the place of
/// the comment, so a `#` longer than a character is one.
fn mark_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut comment = None;
    for token in tokens {
        let span = token.span();
        if let TokenTree::Punct(_) = &token
            && span.byte_range().len() > 1
        {
            comment = Some(span.byte_range());
        }
        if comment.as_ref() == Some(&span.byte_range()) {
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                lines.insert(group.span_open().start().line);
                lines.insert(group.span_close().end().line);
                mark_lines(group.stream(), lines);
            }
            _ => lines.extend(span.start().line..=span.end().line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
//! The module.

use crate::{a::{self, B}, c as d};
pub use self::e::*;

mod f;

/// What a function is.
/// Two lines.
fn long((a, b): (u8, u8), c: fn(usize) -> u8) -> u8 {
    // A reason.

    g::h(a, macro_name!(i::j, k.l));
    \"{ // no comment
      nor code that ends }\";
}
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests {
    // A comment of a test.
    fn short() {}
}
fn after() {}
";

    fn parsed() -> Source {
        Source::parse("crates/x/src/y/mod.rs", FILE).unwrap()
    }

    #[test]
    fn lines_are_counted_without_comments_and_tests() {
        let source = parsed();
        let lines: Vec<usize> = source.code_lines.into_iter().collect();
        assert_eq!(lines, [3, 4, 6, 10, 13, 14, 15, 16, 24]);
        assert_eq!(source.comments.lines, 4);
        assert_eq!(source.comments.first_words, ["The", "What", "A"]);
        assert!(source.comments.module_doc);
    }

    #[test]
    fn functions_have_their_lines_of_code_and_tuples() {
        let found = parsed().functions;
        let found: Vec<_> = found
            .iter()
            .map(|f| (&*f.name, f.line, f.length, f.tuples))
            .collect();
        assert_eq!(found, [("long", 10, 5, 1), ("after", 24, 1, 0)]);
    }

    #[test]
    fn imports_are_read_name_by_name_and_paths_also_inside_macros() {
        let source = parsed();
        let uses = source.uses.iter().map(|u| {
            let reexport = if u.reexport { "pub " } else { "" };
            format!("{reexport}{} as {}", u.path.join("::"), u.name)
        });
        let expected = [
            "crate::a as a",
            "crate::a::B as B",
            "crate::c as d",
            "pub self::e as *",
        ];
        assert_eq!(uses.collect::<Vec<_>>(), expected);
        let paths = source.paths.iter().map(|(path, _)| path.join("::"));
        assert_eq!(paths.collect::<Vec<_>>(), ["g::h", "i::j"]);
        assert_eq!(source.module, ["y"]);
        assert_eq!(source.children, [("f".to_owned(), 2)]);
        assert!(source.items.contains("after") && !source.items.contains("short"));
        assert!(source.names.contains("k") && !source.names.contains("l"));
    }

    #[test]
    fn files_declared_for_tests_are_left_out() {
        let paths = ["y/mod.rs", "y/golden/a.rs", "y/golden.rs", "golden.rs"];
        let sources = paths.map(|path| {
            let text = if path == "y/mod.rs" { FILE } else { "" };
            Source::parse(&format!("crates/x/src/{path}"), text).unwrap()
        });
        let kept = without_tests(sources.into());
        let kept: Vec<&str> = kept.iter().map(|source| &*source.path).collect();
        assert_eq!(kept, ["crates/x/src/y/mod.rs", "crates/x/src/golden.rs"]);
    }
}
