//! The evidence of every feature in one SQLite file.
//!
//! A harvest fills a store ([`StoreSink`]); reading one needs no model. The corpus is there once, and an
//! example is a place in it, so that the window around it is chosen when it is shown. Everything that a
//! harvest writes can be merged: parts of a corpus, put together, equal the whole.
//!
//! Files of strangers are read with care: a file is checked to be a store, views and triggers are refused,
//! and every blob is bounded before it is decoded. docs/formats.md describes tables and blobs.

#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod bytes;

mod blobs;
mod schema;
mod text;

mod open;

mod read;

mod derive;

mod write;

mod user;

mod report;

mod examples;

mod feature;
mod list;

mod merge;
mod search;

mod export;

#[cfg(test)]
mod tests;

pub use export::{Written, dashboard_batches, feature_page, neuronpedia_batches};
pub use list::{FeatureFilter, FeatureRow, SortBy};
pub use merge::{copy, merge};
pub use open::Store;
pub use read::StoredDocument;
pub use report::{
    ClassEffect, Coactive, ContextToken, Contexts, Example, FeatureReport, Group, LeftOut,
    ReportOptions, RoleToken, Similar, Weights, Window,
};
pub use search::{ClassHit, TokenHit, TokenRole, WordHits, WordPlace};
pub use text::Tokens;
pub use user::{FeatureLabel, FeatureList};
pub use write::StoreSink;
