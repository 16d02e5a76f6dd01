//! The tables of a store, and the steps from one version to the next.

use rusqlite::Transaction;

/// Marks a SQLite file as a store: "saes".
pub(crate) const APPLICATION_ID: i32 = 0x7361_6573;

/// The steps that make the tables, each from the version before; the last one makes today's version.
const MIGRATIONS: [&str; 1] = [V1];

/// Today's version.
pub(crate) const VERSION: i32 = MIGRATIONS.len() as i32;

/// docs/harvest.md describes every table and blob.
const V1: &str = "
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
  document INTEGER PRIMARY KEY,
  source INTEGER NOT NULL,
  number INTEGER NOT NULL,
  labels TEXT
) STRICT;

CREATE TABLE blocks (
  first INTEGER PRIMARY KEY,
  sequences INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE segments (
  first INTEGER NOT NULL,
  features INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (first, features)
) STRICT, WITHOUT ROWID;

CREATE TABLE features (
  feature INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  left_out INTEGER NOT NULL,
  max REAL NOT NULL,
  mean REAL NOT NULL,
  left_out_max REAL NOT NULL,
  evidence BLOB NOT NULL,
  role BLOB,
  context BLOB
) STRICT;

CREATE TABLE sequence_features (
  sequence INTEGER PRIMARY KEY,
  features BLOB NOT NULL
) STRICT;

CREATE TABLE token_features (
  token INTEGER PRIMARY KEY,
  features BLOB NOT NULL
) STRICT;

CREATE TABLE class_features (
  class INTEGER PRIMARY KEY,
  features BLOB NOT NULL
) STRICT;

CREATE VIRTUAL TABLE texts USING fts5 (
  text, content = '', tokenize = \"unicode61 remove_diacritics 0\"
);

CREATE TABLE labels (
  feature INTEGER PRIMARY KEY,
  label TEXT NOT NULL,
  note TEXT,
  written TEXT NOT NULL
) STRICT;

CREATE TABLE lists (
  list INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  written TEXT NOT NULL
) STRICT;

CREATE TABLE list_features (
  list INTEGER NOT NULL REFERENCES lists (list) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  feature INTEGER NOT NULL,
  PRIMARY KEY (list, feature)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables of a new file, or those that an older version lacks. All of it belongs to the
/// transaction, the version too.
pub(crate) fn migrate(to: &Transaction, from: i32) -> rusqlite::Result<()> {
    for step in MIGRATIONS.iter().skip(from.max(0) as usize) {
        to.execute_batch(step)?;
    }
    to.pragma_update(None, "application_id", APPLICATION_ID)?;
    to.pragma_update(None, "user_version", VERSION)
}
