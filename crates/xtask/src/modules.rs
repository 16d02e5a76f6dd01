//! The modules of one crate, to resolve a path to the file that owns the item.
//!
//! Follows `use` declarations and re-exports to the file that defines an item. Knows nothing of
//! methods, which no path names, nor of traits and types.

use std::collections::HashMap;

use crate::source::{Source, Use};

/// Limit of a chain of re-exports.
const DEPTH: usize = 16;

/// The files of one crate by their module.
pub(crate) struct Modules<'a> {
    files: HashMap<&'a [String], &'a Source>,
}

/// The use of an item or a module by a file.
pub(crate) struct Reference<'a> {
    pub(crate) line: usize,
    /// The module below the root that the path names first.
    pub(crate) head: Option<&'a String>,
    pub(crate) target: &'a Source,
    /// The item, or `None` for a path that ends with a module.
    pub(crate) item: Option<String>,
    /// True if the file only passes the item on.
    pub(crate) reexport: bool,
}

/// The file at the end of a path, and the item in it.
type Owner<'a> = (&'a Source, Option<String>);

impl<'a> Modules<'a> {
    /// The modules of the crate whose sources are in the folder `root`.
    pub(crate) fn of(sources: &'a [Source], root: &str) -> Modules<'a> {
        let files = sources.iter().filter(|source| source.root() == root);
        let files = files.map(|source| (&source.module[..], source)).collect();
        Modules { files }
    }

    /// The crate's files in the order of their modules.
    pub(crate) fn files(&self) -> Vec<&'a Source> {
        let mut files: Vec<&Source> = self.files.values().copied().collect();
        files.sort_by_key(|source| &source.path);
        files
    }

    /// Number of the group in which the root declares `module`.
    pub(crate) fn position(&self, module: &str) -> Option<usize> {
        let root = self.files.get::<[String]>(&[])?;
        let child = root.children.iter().find(|(name, _)| name == module)?;
        Some(child.1)
    }

    /// Every item and module of the crate that `source` names.
    pub(crate) fn references(&self, source: &'a Source) -> Vec<Reference<'a>> {
        let mut found = Vec::new();
        for import in &source.uses {
            for (target, item) in self.imported(source, import) {
                found.push(Reference {
                    line: import.line,
                    head: self.head(source, &import.path, target),
                    target,
                    item,
                    reexport: import.reexport && !source.names.contains(&import.name),
                });
            }
        }
        for (path, line) in &source.paths {
            if let Some((target, item)) = self.resolve(source, path, DEPTH) {
                found.push(Reference {
                    line: *line,
                    head: self.head(source, path, target),
                    target,
                    item,
                    reexport: false,
                });
            }
        }
        found
    }

    /// The owner of an import, or of each name that the file uses of a glob.
    fn imported(&self, source: &'a Source, import: &Use) -> Vec<Owner<'a>> {
        let Some((target, item)) = self.resolve(source, &import.path, DEPTH) else {
            return Vec::new();
        };
        if import.name != "*" || item.is_some() {
            return vec![(target, item)];
        }
        let named = target.uses.iter().map(|import| &import.name);
        let names = target.items.iter().chain(named);
        let used = names.filter(|name| source.names.contains(*name));
        let owners = used.filter_map(|name| self.in_module(target, name, DEPTH));
        owners.collect()
    }

    /// The module below the root that `path` names first; of a name that the root re-exports, the one
    /// that owns it.
    fn head(&self, source: &Source, path: &[String], target: &'a Source) -> Option<&'a String> {
        let mut module = source.module.clone();
        for segment in path {
            match segment.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                name => {
                    module.push(name.to_owned());
                    break;
                }
            }
        }
        let named = self.files.get(module.get(..1)?);
        named.unwrap_or(&target).module.first()
    }

    /// The owner of `path` as written in `source`; `None` for paths that leave the crate.
    fn resolve(&self, source: &'a Source, path: &[String], depth: usize) -> Option<Owner<'a>> {
        let (first, rest) = path.split_first()?;
        let depth = depth.checked_sub(1)?;
        let start = match first.as_str() {
            "crate" => self.files.get::<[String]>(&[])?,
            "self" => source,
            "super" => self.parent(source)?,
            name => match self.child(source, name) {
                Some(child) => child,
                None => {
                    let import = source.uses.iter().find(|import| import.name == name)?;
                    let (owner, item) = self.resolve(source, &import.path, depth)?;
                    if item.is_some() {
                        return Some((owner, item));
                    }
                    owner
                }
            },
        };
        self.below(start, rest, depth)
    }

    fn below(&self, module: &'a Source, path: &[String], depth: usize) -> Option<Owner<'a>> {
        match path.split_first() {
            None => Some((module, None)),
            Some((first, rest)) if first == "super" => {
                self.below(self.parent(module)?, rest, depth)
            }
            Some((first, rest)) => match self.child(module, first) {
                Some(child) => self.below(child, rest, depth),
                None => self.in_module(module, first, depth),
            },
        }
    }

    /// The owner of a name that is looked up in a module.
    fn in_module(&self, module: &'a Source, name: &str, depth: usize) -> Option<Owner<'a>> {
        if module.items.contains(name) {
            return Some((module, Some(name.to_owned())));
        }
        if let Some(import) = module.uses.iter().find(|import| import.name == name) {
            return self.resolve(module, &import.path, depth);
        }
        let globs = module.uses.iter().filter(|import| import.name == "*");
        let mut found = globs.filter_map(|import| {
            let (target, _) = self.resolve(module, &import.path, depth)?;
            target
                .items
                .contains(name)
                .then(|| (target, Some(name.to_owned())))
        });
        // An item that no file defines comes out of a macro.
        found
            .next()
            .or_else(|| Some((module, Some(name.to_owned()))))
    }

    fn child(&self, source: &Source, name: &str) -> Option<&'a Source> {
        let module = [&source.module[..], &[name.to_owned()]].concat();
        self.files.get(&module[..]).copied()
    }

    fn parent(&self, source: &Source) -> Option<&'a Source> {
        let (_, parent) = source.module.split_last()?;
        self.files.get(parent).copied()
    }
}
