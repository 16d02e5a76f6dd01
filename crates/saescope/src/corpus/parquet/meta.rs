//! The metadata at the end of a Parquet file: its columns and the places of their pages.

use super::thrift::{Compact, Kind};

/// Deepest nesting of groups of columns.
const MAX_DEPTH: usize = 32;

/// The metadata of a file.
#[derive(Default)]
pub(super) struct Meta {
    pub(super) leaves: Vec<Leaf>,
    pub(super) groups: Vec<Group>,
}

/// A column that has values.
pub(super) struct Leaf {
    /// Its name and those of the groups around it, with dots between.
    pub(super) name: String,
    pub(super) kind: u64,
    /// Number of levels, its groups and itself, that may be missing.
    pub(super) max_definition: u32,
    /// True if it is part of a list.
    pub(super) repeated: bool,
}

/// Successive rows.
#[derive(Default)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// In the order of the leaves.
    pub(super) chunks: Vec<Chunk>,
}

/// The pages of a column in a group.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) elsewhere: bool,
    pub(super) codec: u64,
    pub(super) values: u64,
    pub(super) bytes: u64,
    data_page: u64,
    dictionary_page: Option<u64>,
}

impl Chunk {
    /// Place of its first page.
    pub(super) fn start(&self) -> u64 {
        match self.dictionary_page {
            // Some writers put 0 for none.
            Some(start) if start > 0 && start < self.data_page => start,
            _ => self.data_page,
        }
    }
}

/// An entry of the schema: a group of columns or a column.
#[derive(Default)]
struct Entry {
    name: String,
    kind: Option<u64>,
    repetition: u64,
    children: u64,
}

/// 0 is required, 1 optional.
const REPEATED: u64 = 2;

impl Meta {
    pub(super) fn parse(bytes: &[u8]) -> Result<Meta, String> {
        let mut meta = Meta::default();
        let mut schema = Vec::new();
        Compact::new(bytes).structure(|thrift, number, kind| match (number, kind) {
            (2, Kind::List) => {
                thrift.list(Kind::Struct, |thrift| {
                    schema.push(entry(thrift)?);
                    Ok(())
                })?;
                Ok(true)
            }
            (4, Kind::List) => {
                thrift.list(Kind::Struct, |thrift| {
                    meta.groups.push(group(thrift)?);
                    Ok(())
                })?;
                Ok(true)
            }
            _ => Ok(false),
        })?;
        let mut entries = schema.into_iter();
        let root = entries.next().ok_or("it has no columns")?;
        for _ in 0..root.children {
            leaves(&mut entries, (&[], 0, false), &mut meta.leaves)?;
        }
        let columns = meta.leaves.len();
        if let Some(odd) = meta.groups.iter().find(|g| g.chunks.len() != columns) {
            let found = odd.chunks.len();
            return Err(format!(
                "it has {columns} columns, a group of its rows {found}"
            ));
        }
        Ok(meta)
    }
}

/// Reads an entry with all that it contains.
fn leaves(
    entries: &mut impl Iterator<Item = Entry>,
    (path, definition, repeated): (&[String], u32, bool),
    found: &mut Vec<Leaf>,
) -> Result<(), String> {
    let entry = entries.next().ok_or("a group of columns lacks columns")?;
    if path.len() == MAX_DEPTH {
        return Err("its columns are nested too deep".to_owned());
    }
    let definition = definition + u32::from(entry.repetition != 0);
    let repeated = repeated || entry.repetition == REPEATED;
    if entry.repetition > REPEATED {
        let (name, repetition) = (entry.name, entry.repetition);
        return Err(format!(
            "the column `{name}` has the unknown repetition {repetition}"
        ));
    }
    let mut path = path.to_vec();
    path.push(entry.name);
    match entry.kind {
        Some(kind) if entry.children == 0 => found.push(Leaf {
            name: path.join("."),
            kind,
            max_definition: definition,
            repeated,
        }),
        _ => {
            for _ in 0..entry.children {
                leaves(entries, (&path, definition, repeated), found)?;
            }
        }
    }
    Ok(())
}

fn entry(thrift: &mut Compact) -> Result<Entry, String> {
    let mut entry = Entry::default();
    thrift.structure(|thrift, number, kind| {
        match (number, kind) {
            (1, Kind::Int) => entry.kind = Some(thrift.count()?),
            (3, Kind::Int) => entry.repetition = thrift.count()?,
            (4, Kind::Binary) => entry.name = thrift.text()?.to_owned(),
            (5, Kind::Int) => entry.children = thrift.count()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(entry)
}

fn group(thrift: &mut Compact) -> Result<Group, String> {
    let mut group = Group::default();
    thrift.structure(|thrift, number, kind| {
        match (number, kind) {
            (1, Kind::List) => thrift.list(Kind::Struct, |thrift| {
                group.chunks.push(chunk(thrift)?);
                Ok(())
            })?,
            (3, Kind::Int) => group.rows = thrift.count()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(group)
}

fn chunk(thrift: &mut Compact) -> Result<Chunk, String> {
    let mut chunk = Chunk::default();
    thrift.structure(|thrift, number, kind| {
        match (number, kind) {
            (1, Kind::Binary) => chunk.elsewhere = !thrift.text()?.is_empty(),
            (3, Kind::Struct) => thrift.structure(|thrift, number, kind| {
                match (number, kind) {
                    (4, Kind::Int) => chunk.codec = thrift.count()?,
                    (5, Kind::Int) => chunk.values = thrift.count()?,
                    (7, Kind::Int) => chunk.bytes = thrift.count()?,
                    (9, Kind::Int) => chunk.data_page = thrift.count()?,
                    (11, Kind::Int) => chunk.dictionary_page = Some(thrift.count()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(chunk)
}

/// The header of a page.
#[derive(Default)]
pub(super) struct PageHeader {
    pub(super) kind: u64,
    /// Bytes of the page decompressed, and as it is in the file.
    pub(super) len: u64,
    pub(super) stored: u64,
    pub(super) values: u64,
    pub(super) encoding: u64,
    pub(super) level_encoding: u64,
    /// Of a page of the second version: bytes of its levels, and true if the rest is compressed.
    pub(super) definition_bytes: u64,
    pub(super) repetition_bytes: u64,
    pub(super) plain: bool,
}

impl PageHeader {
    pub(super) fn read(thrift: &mut Compact) -> Result<PageHeader, String> {
        let mut header = PageHeader::default();
        thrift.structure(|thrift, number, kind| {
            match (number, kind) {
                (1, Kind::Int) => header.kind = thrift.count()?,
                (2, Kind::Int) => header.len = thrift.count()?,
                (3, Kind::Int) => header.stored = thrift.count()?,
                (5 | 7 | 8, Kind::Struct) => header.details(thrift, number == 8)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(header)
    }

    /// The fields that headers of all kinds of pages share, and those of the second version.
    fn details(&mut self, thrift: &mut Compact, second: bool) -> Result<(), String> {
        thrift.structure(|thrift, number, kind| {
            match (number, kind, second) {
                (1, Kind::Int, _) => self.values = thrift.count()?,
                (2, Kind::Int, false) | (4, Kind::Int, true) => self.encoding = thrift.count()?,
                (3, Kind::Int, false) => self.level_encoding = thrift.count()?,
                (5, Kind::Int, true) => self.definition_bytes = thrift.count()?,
                (6, Kind::Int, true) => self.repetition_bytes = thrift.count()?,
                (7, Kind::False, true) => self.plain = true,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}
