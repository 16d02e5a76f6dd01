//! What the tables hold, as the types that were written.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Params};
use saescope::harvest::{CorpusCounts, CorpusEvidence, Draw, FeatureEvidence, FeatureRole};
use saescope::{Error, Result};

use crate::blobs::{self, Posting, SEGMENT_FEATURES, StoredSequence};
use crate::open::{COUNTS, INDEXED, Store, failed};
use crate::text::Tokens;

/// The place where a document comes from, and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredDocument {
    /// Number of its file among those of the corpus.
    pub source: usize,
    /// Number of its line, row or record, from 1.
    pub number: u64,
    /// Its labels.
    pub labels: Vec<String>,
}

/// Sequences that were read, each block once.
#[derive(Default)]
pub(crate) struct Sequences(BTreeMap<u32, Vec<StoredSequence>>);

impl Store {
    /// The tokens of the model as text.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens(&self.vocabulary)
    }

    /// Counts of the corpus that belong to no feature.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn counts(&self) -> Result<&CorpusCounts> {
        if let Some(counts) = self.counts.get() {
            return Ok(counts);
        }
        let bytes: Option<Vec<u8>> = self.meta(COUNTS)?;
        let counts = bytes.map(|bytes| blobs::read_counts(&bytes)).transpose();
        let counts = counts.map_err(|error| self.at(&error))?;
        Ok(self.counts.get_or_init(|| counts.unwrap_or_default()))
    }

    /// Calls `each` with every block of sequences, in their order.
    pub(crate) fn each_block(
        &self,
        each: &mut dyn FnMut(Vec<StoredSequence>) -> Result<()>,
    ) -> Result<()> {
        let get = "SELECT first, data FROM blocks ORDER BY first";
        self.each_blob(get, [], &mut |first, data| {
            each(blobs::read_sequences(data, first)?)
        })
    }

    /// Calls `each` with the number and the blob of every row that `get` selects.
    fn each_blob(
        &self,
        get: &str,
        values: impl Params,
        each: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let failed = failed(&self.path);
        let mut select = self.connection.prepare_cached(get).map_err(&failed)?;
        let mut rows = select.query(values).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let number: u32 = row.get(0).map_err(&failed)?;
            let data = row.get_ref(1).and_then(|data| Ok(data.as_blob()?));
            each(number, data.map_err(&failed)?).map_err(|error| self.at(&error))?;
        }
        Ok(())
    }

    /// A sequence; `read` keeps its block for the next one.
    pub(crate) fn sequence<'a>(
        &self,
        number: u32,
        read: &'a mut Sequences,
    ) -> Result<&'a StoredSequence> {
        let missing = || {
            let reason = format!("it refers to the sequence {number}, which it does not hold");
            Error::format(&self.path, reason)
        };
        let known = read.0.range(..=number).next_back();
        let known = known.is_some_and(|(first, block)| ((number - first) as usize) < block.len());
        if !known {
            let get = "SELECT first, data FROM blocks WHERE first <= ? ORDER BY first DESC LIMIT 1";
            let found = self
                .connection
                .prepare_cached(get)
                .and_then(|mut get| {
                    let row = get.query_row([number], |row| {
                        Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?))
                    });
                    row.optional()
                })
                .map_err(failed(&self.path))?;
            let (first, data) = found.ok_or_else(missing)?;
            let block = blobs::read_sequences(&data, first).map_err(|error| self.at(&error))?;
            read.0.insert(first, block);
        }
        let block = read.0.range(..=number).next_back();
        block
            .and_then(|(first, block)| block.get((number - first) as usize))
            .ok_or_else(missing)
    }

    /// The place where a document comes from, and its labels.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn document(&self, document: u32) -> Result<StoredDocument> {
        let get = "SELECT source, number, labels FROM documents WHERE document = ?";
        let found = self
            .connection
            .prepare_cached(get)
            .and_then(|mut get| {
                let row = get.query_row([document], |row| {
                    Ok((
                        row.get::<_, u32>(0)?,
                        row.get::<_, u64>(1)?,
                        row.get::<_, Option<String>>(2)?,
                    ))
                });
                row.optional()
            })
            .map_err(failed(&self.path))?;
        let Some((source, number, labels)) = found else {
            return Ok(StoredDocument::default());
        };
        let labels = labels.map_or(Ok(Vec::new()), |json| serde_json::from_str(&json));
        Ok(StoredDocument {
            source: source as usize,
            number,
            labels: labels.map_err(|error| Error::format(&self.path, error.to_string()))?,
        })
    }

    /// The name of a file of the corpus.
    pub fn source(&self, number: usize) -> String {
        let file = self.header.corpus.files.get(number);
        let name = file.and_then(|file| file.file_name());
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// What the corpus says about a feature.
    ///
    /// # Errors
    /// When there is no such feature, or its evidence is damaged.
    pub fn feature_evidence(&self, feature: u32) -> Result<FeatureEvidence> {
        let get = "SELECT evidence FROM features WHERE feature = ?";
        let evidence = self.decoded(feature, get, blobs::read_evidence)?;
        evidence.ok_or_else(|| self.no_feature(feature))
    }

    /// The role of a feature by its weights; none while the harvest is not complete.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn feature_role(&self, feature: u32) -> Result<Option<FeatureRole>> {
        let get = "SELECT role FROM features WHERE feature = ?";
        self.decoded(feature, get, blobs::read_role)
    }

    /// What the blob says that `get` selects by a number; none if there is no such row, or it is null.
    pub(crate) fn decoded<T>(
        &self,
        number: u32,
        get: &str,
        read: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let found = self.connection.prepare_cached(get).and_then(|mut get| {
            let row = get.query_row([number], |row| row.get::<_, Option<Vec<u8>>>(0));
            row.optional()
        });
        let bytes = found.map_err(failed(&self.path))?.flatten();
        let decoded = bytes.map(|bytes| read(&bytes)).transpose();
        decoded.map_err(|error| self.at(&error))
    }

    pub(crate) fn no_feature(&self, feature: u32) -> Error {
        let d_sae = self.header.d_sae;
        Error::NoFeature { feature, d_sae }
    }

    /// What all features have, as a harvest left it.
    pub(crate) fn evidence(&self) -> Result<CorpusEvidence> {
        let path = &self.path;
        let held: usize = self
            .connection
            .query_row("SELECT count(*) FROM features", [], |row| row.get(0))
            .map_err(failed(path))?;
        let d_sae = self.header.d_sae;
        if held != d_sae {
            let reason = format!("it holds {held} features, and its harvest had {d_sae}");
            return Err(Error::format(path, reason));
        }
        let mut features = vec![FeatureEvidence::default(); d_sae];
        let get = "SELECT feature, evidence FROM features";
        self.each_blob(get, [], &mut |feature, bytes| {
            let slot = features
                .get_mut(feature as usize)
                .ok_or_else(|| self.no_feature(feature))?;
            *slot = blobs::read_evidence(bytes)?;
            Ok(())
        })?;
        let mut keys = Vec::new();
        self.each_block(&mut |sequences| {
            keys.extend(sequences.iter().map(|s| (s.number, s.key)));
            Ok(())
        })?;
        Ok(CorpusEvidence::resumed(
            self.header.config.limits,
            features,
            self.counts()?.clone(),
            keys,
        ))
    }

    /// The indexed activations of one feature, by sequence and position. Sequences have their numbers in
    /// the corpus.
    pub(crate) fn postings(&self, feature: u32) -> Result<Vec<Posting>> {
        let get = "SELECT first, data FROM segments WHERE features = ? ORDER BY first";
        let mut found = self.selected_postings(get, feature / SEGMENT_FEATURES)?;
        found.retain(|posting| posting.feature == feature);
        Ok(found)
    }

    /// All indexed activations of the block that begins with the sequence `first`, by feature.
    pub(crate) fn postings_of_block(&self, first: u32) -> Result<Vec<Posting>> {
        let get = "SELECT first, data FROM segments WHERE first = ? ORDER BY features";
        self.selected_postings(get, first)
    }

    fn selected_postings(&self, get: &str, value: u32) -> Result<Vec<Posting>> {
        let mut found = Vec::new();
        self.each_blob(get, [value], &mut |first, data| {
            let postings = blobs::read_postings(data)?.into_iter();
            found.extend(postings.map(|posting| Posting {
                sequence: first.saturating_add(posting.sequence),
                ..posting
            }));
            Ok(())
        })?;
        Ok(found)
    }

    /// The first `most` indexed sequences in a random order of `draw`, with their keys.
    pub(crate) fn some_indexed(&self, draw: Draw, most: usize) -> Result<Vec<(u32, u64)>> {
        let bytes: Option<Vec<u8>> = self.meta(INDEXED)?;
        let indexed = bytes.map(|bytes| blobs::read_indexed(&bytes)).transpose();
        let mut indexed = indexed
            .map_err(|error| self.at(&error))?
            .unwrap_or_default();
        indexed.sort_by_key(|&(number, key)| (draw.at(key, u32::MAX), number));
        indexed.truncate(most);
        Ok(indexed)
    }
}
