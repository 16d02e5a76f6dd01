//! Stores of parts of a corpus as one, and copies.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, params};
use saescope::harvest::{CorpusEvidence, HarvestHeader, Part};
use saescope::{Error, Result};

use crate::blobs;
use crate::open::{COUNTS, NEXT_BLOCK, Store, difference, failed};
use crate::text::Tokens;
use crate::user::ADD_TO_LIST;
use crate::write::{write_evidence, write_roles, write_texts};

/// Puts the stores of parts of one harvest together into a new file. With all parts the result is what one
/// pass over the whole corpus makes. Labels and lists of users are taken over; of two labels of one feature
/// the later stays.
///
/// # Errors
/// When two stores are of different harvests or have a part in common, one is not complete, or the file
/// exists.
pub fn merge(parts: &[Store], path: &Path) -> Result<Store> {
    let (first, rest) = parts.split_first().ok_or_else(|| Error::Empty {
        what: "the list of stores to merge".to_owned(),
    })?;
    check_new(path)?;
    let mut header = first.header.clone();
    for part in rest {
        join(&mut header, part)?;
    }
    for part in parts {
        if !part.is_finished()? {
            let reason =
                "its harvest is not complete; run the same harvest again, which continues it";
            return Err(Error::format(part.path(), reason));
        }
    }
    header.parts = joined(&header.parts);
    let mut evidence: Option<CorpusEvidence> = None;
    for part in parts {
        let own = part.evidence()?;
        match &mut evidence {
            None => evidence = Some(own),
            Some(all) => all.merge(&own),
        }
    }
    // There is at least one part.
    let mut evidence = evidence.ok_or_else(|| Error::Empty {
        what: "the list of stores to merge".to_owned(),
    })?;
    evidence.trim();
    let beside = beside(path);
    let merged = fill(parts, &header, &evidence, &beside);
    let store = merged.and_then(|store| {
        drop(store);
        std::fs::rename(&beside, path).map_err(|error| Error::io(path, error))?;
        Store::open(path)
    });
    if store.is_err() {
        remove(&beside);
    }
    store
}

fn fill(
    parts: &[Store],
    header: &HarvestHeader,
    evidence: &CorpusEvidence,
    path: &Path,
) -> Result<Store> {
    remove(path);
    let mut store = Store::create(path, header, &parts[0].vocabulary)?;
    let transaction = store.connection.transaction().map_err(failed(path))?;
    for part in parts {
        take_tables(&transaction, part).map_err(failed(path))?;
        part.each_block(&mut |sequences| {
            write_texts(&transaction, &sequences, Tokens(&part.vocabulary)).map_err(failed(path))
        })?;
    }
    write_evidence(&transaction, evidence).map_err(failed(path))?;
    let mut roles = Vec::with_capacity(header.d_sae);
    for feature in 0..header.d_sae as u32 {
        roles.push(parts[0].feature_role(feature)?.unwrap_or_default());
    }
    write_roles(&transaction, &roles).map_err(failed(path))?;
    let counts = blobs::write_counts(&evidence.counts)?;
    let last = parts.iter().map(|part| part.meta::<u32>(NEXT_BLOCK));
    let last = last
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .max();
    let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
    let done = transaction
        .execute(put, params![COUNTS, counts])
        .and_then(|_| transaction.execute(put, params![NEXT_BLOCK, last.unwrap_or(0)]));
    done.map_err(failed(path))?;
    transaction.commit().map_err(failed(path))?;
    store.counts.take();
    store.finish()?;
    Ok(store)
}

/// Copies the tables that hold a part as it is.
fn take_tables(to: &Connection, part: &Store) -> rusqlite::Result<()> {
    const NEWER: &str =
        "ON CONFLICT (feature) DO UPDATE SET label = excluded.label, note = excluded.note,
        written = excluded.written WHERE excluded.written > written";
    const TABLES: [(&str, usize, &str); 4] = [
        ("documents", 4, "ON CONFLICT DO NOTHING"),
        ("blocks", 3, ""),
        ("segments", 3, ""),
        ("labels", 4, NEWER),
    ];
    for (table, columns, conflict) in TABLES {
        let marks = vec!["?"; columns].join(", ");
        let mut put = to.prepare(&format!("INSERT INTO {table} VALUES ({marks}) {conflict}"))?;
        let mut get = part
            .connection
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
            let values = values.collect::<rusqlite::Result<Vec<_>>>()?;
            put.execute(rusqlite::params_from_iter(values))?;
        }
    }
    take_lists(to, part)
}

/// Adds the lists of a part: the features of a list behind those that it has.
fn take_lists(to: &Connection, part: &Store) -> rusqlite::Result<()> {
    let lists = "SELECT l.name, l.description, l.written, f.feature
        FROM lists AS l LEFT JOIN list_features AS f USING (list) ORDER BY l.name, f.place";
    let mut get = part.connection.prepare(lists)?;
    let mut rows = get.query([])?;
    while let Some(row) = rows.next()? {
        let (name, description, written): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        to.execute(
            "INSERT INTO lists (name, description, written) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET description = excluded.description
             WHERE description = ''",
            params![name, description, written],
        )?;
        if let Some(feature) = row.get::<_, Option<i64>>(3)? {
            to.execute(ADD_TO_LIST, params![feature, name])?;
        }
    }
    Ok(())
}

/// Adds the parts of a store to a header, which has to be of the same harvest.
fn join(header: &mut HarvestHeader, part: &Store) -> Result<()> {
    let own = part.header();
    let same = HarvestHeader {
        parts: header.parts.clone(),
        ..own.clone()
    };
    if let Some(what) = difference(header, &same) {
        return Err(Error::format(
            part.path(),
            format!("it is of another harvest than the first store: {what}"),
        ));
    }
    for part_of in &own.parts {
        let of = header.parts.first().map_or(part_of.of, |part| part.of);
        if of != part_of.of {
            let reason = format!("it is part {part_of}, and the first store is one of {of} parts");
            return Err(Error::format(part.path(), reason));
        }
        if header.parts.contains(part_of) {
            let reason = format!("part {part_of} is in two stores");
            return Err(Error::format(part.path(), reason));
        }
    }
    header.parts.extend(own.parts.iter().copied());
    Ok(())
}

/// Parts in order; all of them are the whole.
fn joined(parts: &[Part]) -> Vec<Part> {
    let numbers: BTreeSet<u32> = parts.iter().map(|part| part.number).collect();
    match parts.first() {
        Some(first) if numbers.len() == first.of as usize => vec![Part::default()],
        Some(first) => numbers
            .into_iter()
            .map(|number| Part {
                number,
                of: first.of,
            })
            .collect(),
        None => Vec::new(),
    }
}

/// Copies a store while others read it or write it.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn copy(store: &Store, path: &Path) -> Result<()> {
    check_new(path)?;
    let beside = beside(path);
    remove(&beside);
    let copied = (|| {
        let mut to = Connection::open(&beside)?;
        let backup = Backup::new(&store.connection, &mut to)?;
        backup.run_to_completion(4096, std::time::Duration::ZERO, None)?;
        drop(backup);
        to.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        to.close().map_err(|(_, error)| error)
    })();
    let done = copied.map_err(failed(path)).and_then(|()| {
        let file = std::fs::File::open(&beside).map_err(|error| Error::io(path, error))?;
        file.sync_all().map_err(|error| Error::io(path, error))?;
        std::fs::rename(&beside, path).map_err(|error| Error::io(path, error))
    });
    if done.is_err() {
        remove(&beside);
    }
    done
}

/// Files that SQLite keeps beside a database. One that an earlier database left would be taken for that of a
/// new file of the same name.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Refuses a file that exists, or of which SQLite left something.
fn check_new(path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::format(path, "it exists; name a new file"));
    }
    match BESIDE
        .map(|end| with_end(path, end))
        .into_iter()
        .find(|left| left.exists())
    {
        None => Ok(()),
        Some(left) => Err(Error::format(
            left,
            "an earlier store of this name left it; remove it first",
        )),
    }
}

/// Removes a database with all that SQLite keeps beside it.
fn remove(path: &Path) {
    std::fs::remove_file(path).ok();
    for end in BESIDE {
        std::fs::remove_file(with_end(path, end)).ok();
    }
}

/// The file beside `path` that becomes it.
fn beside(path: &Path) -> std::path::PathBuf {
    with_end(path, ".partial")
}

fn with_end(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
