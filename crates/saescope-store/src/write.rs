//! A store as the receiver of a harvest.

use rusqlite::{Transaction, params};
use saescope::Result;
use saescope::corpus::{DocumentOrigin, SequencePiece};
use saescope::harvest::{Block, CorpusEvidence, FeatureRole, HarvestedSequence, Saved, Sink};

use crate::blobs::{self, Posting, SEGMENT_FEATURES, StoredSequence};
use crate::derive::derive;
use crate::open::{COUNTS, FINISHED, NEXT_BLOCK, Store, failed};
use crate::text::{Tokens, spaced};

/// A store that a harvest fills.
pub struct StoreSink<'a> {
    store: Store,
    /// Gives the place and the labels of a document.
    origin: &'a dyn Fn(u32) -> DocumentOrigin<'a>,
}

impl<'a> StoreSink<'a> {
    /// Fills `store`; `origin` gives the place and the labels of a document of the corpus.
    pub fn new(store: Store, origin: &'a dyn Fn(u32) -> DocumentOrigin<'a>) -> StoreSink<'a> {
        StoreSink { store, origin }
    }

    /// The store.
    pub fn into_store(self) -> Store {
        self.store
    }
}

impl Sink for StoreSink<'_> {
    fn saved(&mut self) -> Result<Option<Saved>> {
        let Some(next_block) = self.store.meta::<u32>(NEXT_BLOCK)? else {
            return Ok(None);
        };
        let finished = self.store.is_finished()?;
        Ok(Some(Saved {
            next_block,
            evidence: self.store.evidence()?,
            finished,
        }))
    }

    fn checkpoint(&mut self, blocks: &[Block], evidence: &CorpusEvidence) -> Result<()> {
        let Store {
            connection,
            path,
            vocabulary,
            ..
        } = &mut self.store;
        let transaction = connection.transaction().map_err(failed(path))?;
        for block in blocks {
            let sequences: Vec<StoredSequence> = block.sequences.iter().map(stored).collect();
            write_block(&transaction, &sequences, Tokens(vocabulary)).map_err(failed(path))?;
            write_documents(&transaction, block, self.origin).map_err(failed(path))?;
            write_segments(&transaction, block).map_err(failed(path))?;
        }
        write_evidence(&transaction, evidence).map_err(failed(path))?;
        let counts = blobs::write_counts(&evidence.counts)?;
        let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
        let next = blocks.last().map(|block| block.number + 1);
        let done = transaction
            .execute(put, params![COUNTS, counts])
            .and_then(|_| match next {
                Some(next) => transaction.execute(put, params![NEXT_BLOCK, next]),
                None => Ok(0),
            });
        done.map_err(failed(path))?;
        transaction.commit().map_err(failed(path))?;
        self.store.counts.take();
        Ok(())
    }

    fn finish(&mut self, roles: &[FeatureRole]) -> Result<()> {
        let Store {
            connection, path, ..
        } = &mut self.store;
        let transaction = connection.transaction().map_err(failed(path))?;
        write_roles(&transaction, roles).map_err(failed(path))?;
        transaction.commit().map_err(failed(path))?;
        self.store.finish()
    }
}

impl Store {
    /// Writes everything that follows from evidence and roles, and marks the store as finished.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let derived = derive(self)?;
        let (path, connection) = (&self.path, &mut self.connection);
        let transaction = connection.transaction().map_err(failed(path))?;
        derived.write(&transaction).map_err(failed(path))?;
        let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, 1)";
        transaction.execute(put, [FINISHED]).map_err(failed(path))?;
        transaction.commit().map_err(failed(path))?;
        // The log becomes part of the file, which can then be copied as it is.
        let done =
            connection.execute_batch("INSERT INTO texts (texts) VALUES ('optimize'); ANALYZE;");
        done.map_err(failed(path))?;
        connection
            .pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
            .map_err(failed(path))
    }
}

fn stored(sequence: &HarvestedSequence) -> StoredSequence {
    StoredSequence {
        number: sequence.number,
        key: sequence.key,
        tokens: sequence.tokens.clone(),
        pieces: sequence.pieces.clone(),
        left_out: sequence.left_out.clone(),
        indexed: sequence.indexed,
    }
}

/// Writes successive sequences and their texts.
pub(crate) fn write_block(
    to: &Transaction,
    sequences: &[StoredSequence],
    tokens: Tokens,
) -> rusqlite::Result<()> {
    let Some(first) = sequences.first() else {
        return Ok(());
    };
    let data = blobs::write_sequences(sequences).map_err(boxed)?;
    to.prepare_cached("INSERT INTO blocks (first, sequences, data) VALUES (?, ?, ?)")?
        .execute(params![first.number, sequences.len(), data])?;
    write_texts(to, sequences, tokens)
}

/// Writes the texts of sequences for full text search.
pub(crate) fn write_texts(
    to: &Transaction,
    sequences: &[StoredSequence],
    tokens: Tokens,
) -> rusqlite::Result<()> {
    let mut texts = to.prepare_cached("INSERT INTO texts (rowid, text) VALUES (?, ?)")?;
    for sequence in sequences {
        let text = spaced(&tokens.join(&sequence.tokens));
        texts.execute(params![sequence.number, text])?;
    }
    Ok(())
}

fn write_documents<'a>(
    to: &Transaction,
    block: &Block,
    origin: &dyn Fn(u32) -> DocumentOrigin<'a>,
) -> rusqlite::Result<()> {
    let put =
        "INSERT OR IGNORE INTO documents (document, source, number, labels) VALUES (?, ?, ?, ?)";
    let mut put = to.prepare_cached(put)?;
    let pieces = block.sequences.iter().flat_map(|sequence| &sequence.pieces);
    for &SequencePiece { document, .. } in pieces {
        let origin = origin(document);
        let labels = (!origin.labels.is_empty())
            .then(|| serde_json::to_string(origin.labels))
            .transpose()
            .map_err(boxed)?;
        put.execute(params![document, origin.file, origin.number, labels])?;
    }
    Ok(())
}

fn write_segments(to: &Transaction, block: &Block) -> rusqlite::Result<()> {
    let Some(first) = block.sequences.first() else {
        return Ok(());
    };
    let indexed = block
        .activations
        .iter()
        .filter(|activation| block.sequences[activation.row.sequence as usize].indexed);
    let postings: Vec<Posting> = indexed.map(Posting::from).collect();
    let mut put =
        to.prepare_cached("INSERT INTO segments (first, features, data) VALUES (?, ?, ?)")?;
    for chunk in
        postings.chunk_by(|a, b| a.feature / SEGMENT_FEATURES == b.feature / SEGMENT_FEATURES)
    {
        let data = blobs::write_postings(chunk).map_err(boxed)?;
        put.execute(params![
            first.number,
            chunk[0].feature / SEGMENT_FEATURES,
            data
        ])?;
    }
    Ok(())
}

pub(crate) fn write_evidence(to: &Transaction, evidence: &CorpusEvidence) -> rusqlite::Result<()> {
    let put = "INSERT INTO features (feature, count, left_out, max, mean, left_out_max, evidence)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (feature) DO UPDATE SET count = excluded.count, left_out = excluded.left_out,
           max = excluded.max, mean = excluded.mean, left_out_max = excluded.left_out_max,
           evidence = excluded.evidence
         WHERE evidence != excluded.evidence";
    let mut put = to.prepare_cached(put)?;
    for (feature, of) in evidence.features.iter().enumerate() {
        let (counted, left_out) = (&of.counted, &of.left_out);
        put.execute(params![
            feature,
            counted.count,
            left_out.count,
            f64::from(counted.max),
            counted.mean(),
            f64::from(left_out.max),
            blobs::write_evidence(of),
        ])?;
    }
    Ok(())
}

pub(crate) fn write_roles(to: &Transaction, roles: &[FeatureRole]) -> rusqlite::Result<()> {
    let mut put = to.prepare_cached("UPDATE features SET role = ? WHERE feature = ?")?;
    for (feature, role) in roles.iter().enumerate() {
        put.execute(params![blobs::write_role(role), feature])?;
    }
    Ok(())
}

pub(crate) fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
