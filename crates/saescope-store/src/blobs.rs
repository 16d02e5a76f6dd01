//! The blobs of the store: evidence and roles of features, blocks of sequences, segments of the index.

use saescope::Result;
use saescope::corpus::SequencePiece;
use saescope::direction::Nearest;
use saescope::harvest::{
    Activation, ClassEvidence, CorpusCounts, ExactSum, FeatureEvidence, FeatureRole, Firing,
    Histogram, Moments, TokenCounts, Vocabulary,
};

use crate::bytes::{Reader, Writer, corrupt, decompressed};

/// A sequence as the store holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredSequence {
    /// Its number.
    pub(crate) number: u32,
    /// The hash of its content.
    pub(crate) key: u64,
    /// Its tokens.
    pub(crate) tokens: Vec<u32>,
    /// Its stretches of documents.
    pub(crate) pieces: Vec<SequencePiece>,
    /// Positions that are left out, ascending.
    pub(crate) left_out: Vec<u32>,
    /// True if its activations are indexed.
    pub(crate) indexed: bool,
}

/// Ascending numbers as the differences between them.
fn write_ascending(to: &mut Writer, numbers: impl ExactSizeIterator<Item = u32>) {
    to.len(numbers.len());
    let mut last = 0;
    for number in numbers {
        to.int(u64::from(number.wrapping_sub(last)));
        last = number;
    }
}

fn read_ascending(from: &mut Reader) -> Result<Vec<u32>> {
    let len = from.len()?;
    let mut last = 0_u32;
    (0..len)
        .map(|_| {
            last = last
                .checked_add(from.u32()?)
                .ok_or_else(|| corrupt("a number is too large"))?;
            Ok(last)
        })
        .collect()
}

pub(crate) fn write_sequences(sequences: &[StoredSequence]) -> Result<Vec<u8>> {
    let mut to = Writer::default();
    to.len(sequences.len());
    for sequence in sequences {
        to.u64(sequence.key);
        to.int(u64::from(sequence.indexed));
        to.len(sequence.tokens.len());
        sequence.tokens.iter().for_each(|&id| to.int(id.into()));
        write_ascending(&mut to, sequence.left_out.iter().copied());
        to.len(sequence.pieces.len());
        for piece in &sequence.pieces {
            to.int(piece.document.into());
            for n in [piece.position, piece.offset, piece.len] {
                to.len(n);
            }
        }
    }
    to.compressed()
}

/// The sequences of a block, the first of which has the number `first`.
pub(crate) fn read_sequences(bytes: &[u8], first: u32) -> Result<Vec<StoredSequence>> {
    let bytes = decompressed(bytes)?;
    let mut from = Reader::new(&bytes);
    let len = from.len()?;
    (0..len as u32)
        .map(|index| {
            let key = from.u64()?;
            let indexed = from.int()? != 0;
            let tokens = from.len()?;
            let tokens: Vec<u32> = (0..tokens).map(|_| from.u32()).collect::<Result<_>>()?;
            let left_out = read_ascending(&mut from)?;
            let pieces = from.len()?;
            let pieces = (0..pieces).map(|_| read_piece(&mut from, tokens.len()));
            let pieces = pieces.collect::<Result<_>>()?;
            Ok(StoredSequence {
                number: first
                    .checked_add(index)
                    .ok_or_else(|| corrupt("a number is too large"))?,
                key,
                tokens,
                pieces,
                left_out,
                indexed,
            })
        })
        .collect()
}

fn read_piece(from: &mut Reader, tokens: usize) -> Result<SequencePiece> {
    let piece = SequencePiece {
        document: from.u32()?,
        position: from.u32()? as usize,
        offset: from.u32()? as usize,
        len: from.u32()? as usize,
    };
    if piece.position.saturating_add(piece.len) > tokens {
        return Err(corrupt(
            "a stretch of a document is longer than its sequence",
        ));
    }
    Ok(piece)
}

fn write_moments(to: &mut Writer, moments: &Moments) {
    to.int(moments.count);
    to.i128(moments.sum.0);
    to.i128(moments.squares.0);
    to.f32(moments.max);
}

fn read_moments(from: &mut Reader) -> Result<Moments> {
    Ok(Moments {
        count: from.int()?,
        sum: ExactSum(from.i128()?),
        squares: ExactSum(from.i128()?),
        max: from.f32()?,
    })
}

fn write_histogram(to: &mut Writer, histogram: &Histogram) {
    to.len(histogram.0.len());
    for &(bin, count) in &histogram.0 {
        to.int(bin.into());
        to.int(count.into());
    }
}

fn read_histogram(from: &mut Reader) -> Result<Histogram> {
    let len = from.len()?;
    let mut bins: Vec<(u8, u32)> = Vec::with_capacity(len.min(256));
    for _ in 0..len {
        let bin = from.int()?;
        let bin = u8::try_from(bin).map_err(|_| corrupt("there is no such bin"))?;
        if bins.last().is_some_and(|&(last, _)| last >= bin) {
            return Err(corrupt("bins do not ascend"));
        }
        bins.push((bin, from.u32()?));
    }
    Ok(Histogram(bins))
}

pub(crate) fn write_evidence(evidence: &FeatureEvidence) -> Vec<u8> {
    let mut to = Writer::default();
    write_moments(&mut to, &evidence.counted);
    write_moments(&mut to, &evidence.left_out);
    write_histogram(&mut to, &evidence.histogram);
    let of_sequences = evidence.firings.chunk_by(|a, b| a.sequence == b.sequence);
    to.len(of_sequences.clone().count());
    let mut last = 0;
    for firings in of_sequences {
        to.int(u64::from(firings[0].sequence.wrapping_sub(last)));
        last = firings[0].sequence;
        write_ascending(&mut to, firings.iter().map(|firing| firing.position));
        firings.iter().for_each(|firing| to.f32(firing.activation));
    }
    to.len(evidence.classes.len());
    for class in &evidence.classes {
        to.int(class.class.into());
        write_histogram(&mut to, &class.histogram);
        to.i128(class.sum.0);
    }
    to.0
}

pub(crate) fn read_evidence(bytes: &[u8]) -> Result<FeatureEvidence> {
    let mut from = Reader::new(bytes);
    let mut evidence = FeatureEvidence {
        counted: read_moments(&mut from)?,
        left_out: read_moments(&mut from)?,
        histogram: read_histogram(&mut from)?,
        ..FeatureEvidence::default()
    };
    let (mut sequence, mut read) = (0_u32, 0);
    for _ in 0..from.len()? {
        let next = sequence.checked_add(from.u32()?);
        sequence = next.ok_or_else(|| corrupt("a number is too large"))?;
        for position in read_ascending(&mut from)? {
            let activation = 0.0; // the values follow
            evidence.firings.push(Firing {
                sequence,
                position,
                activation,
            });
        }
        let unread = evidence.firings.iter_mut().skip(read);
        for firing in unread {
            firing.activation = from.f32()?;
        }
        read = evidence.firings.len();
    }
    let classes = from.len()?;
    for _ in 0..classes {
        let class = from.int()?;
        evidence.classes.push(ClassEvidence {
            class: u16::try_from(class).map_err(|_| corrupt("there is no such class"))?,
            histogram: read_histogram(&mut from)?,
            sum: ExactSum(from.i128()?),
        });
    }
    Ok(evidence)
}

pub(crate) fn write_role(role: &FeatureRole) -> Vec<u8> {
    let mut to = Writer::default();
    let numbers = [
        role.encoder_norm,
        role.decoder_norm,
        role.encoder_bias,
        role.cosine,
    ];
    numbers.iter().for_each(|&number| to.f32(number));
    for tokens in [&role.promoted, &role.suppressed] {
        to.len(tokens.len());
        for &(token, effect) in tokens {
            to.int(token.into());
            to.f32(effect);
        }
    }
    to.len(role.nearest.len());
    for nearest in &role.nearest {
        to.int(nearest.row.into());
        to.f32(nearest.cosine);
    }
    to.0
}

pub(crate) fn read_role(bytes: &[u8]) -> Result<FeatureRole> {
    let mut from = Reader::new(bytes);
    let mut numbers = [0.0; 4];
    for number in &mut numbers {
        *number = from.f32()?;
    }
    let [encoder_norm, decoder_norm, encoder_bias, cosine] = numbers;
    let promoted = read_pairs(&mut from)?;
    let suppressed = read_pairs(&mut from)?;
    let nearest = read_pairs(&mut from)?.into_iter();
    Ok(FeatureRole {
        encoder_norm,
        decoder_norm,
        encoder_bias,
        cosine,
        promoted,
        suppressed,
        nearest: nearest
            .map(|(row, cosine)| Nearest { row, cosine })
            .collect(),
    })
}

fn read_pairs(from: &mut Reader) -> Result<Vec<(u32, f32)>> {
    let len = from.len()?;
    (0..len).map(|_| Ok((from.u32()?, from.f32()?))).collect()
}

pub(crate) fn write_counts(counts: &CorpusCounts) -> Result<Vec<u8>> {
    let mut to = Writer::default();
    to.int(counts.counted);
    to.int(counts.left_out);
    let TokenCounts { here, before, next } = &counts.tokens;
    for list in [&counts.texts, here, before, next] {
        to.len(list.len());
        list.iter().for_each(|&count| to.int(count));
    }
    to.compressed()
}

pub(crate) fn read_counts(bytes: &[u8]) -> Result<CorpusCounts> {
    let bytes = decompressed(bytes)?;
    let mut from = Reader::new(&bytes);
    let (counted, left_out) = (from.int()?, from.int()?);
    let mut list = || -> Result<Vec<u64>> {
        let len = from.len()?;
        (0..len).map(|_| from.int()).collect()
    };
    Ok(CorpusCounts {
        counted,
        left_out,
        texts: list()?,
        tokens: TokenCounts {
            here: list()?,
            before: list()?,
            next: list()?,
        },
    })
}

pub(crate) fn write_vocabulary(vocabulary: &Vocabulary) -> Result<Vec<u8>> {
    let mut to = Writer::default();
    to.len(vocabulary.len());
    for id in 0..vocabulary.len() as u32 {
        to.int(u64::from(vocabulary.is_special(id)));
        to.bytes(vocabulary.piece(id));
    }
    to.compressed()
}

pub(crate) fn read_vocabulary(bytes: &[u8]) -> Result<Vocabulary> {
    let bytes = decompressed(bytes)?;
    let mut from = Reader::new(&bytes);
    let mut vocabulary = Vocabulary::default();
    for _ in 0..from.len()? {
        let special = from.int()? != 0;
        vocabulary.push(from.bytes()?, special);
    }
    Ok(vocabulary)
}

/// The numbers and keys of the indexed sequences, ascending.
pub(crate) fn write_indexed(indexed: &[(u32, u64)]) -> Vec<u8> {
    let mut to = Writer::default();
    write_ascending(&mut to, indexed.iter().map(|(number, _)| *number));
    indexed.iter().for_each(|(_, key)| to.u64(*key));
    to.0
}

pub(crate) fn read_indexed(bytes: &[u8]) -> Result<Vec<(u32, u64)>> {
    let mut from = Reader::new(bytes);
    let numbers = read_ascending(&mut from)?.into_iter();
    numbers.map(|number| Ok((number, from.u64()?))).collect()
}

/// Features of a segment of the index.
pub(crate) const SEGMENT_FEATURES: u32 = 256;

/// An indexed activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Posting {
    pub(crate) feature: u32,
    /// The sequence by its place in the block.
    pub(crate) sequence: u32,
    pub(crate) position: u32,
    pub(crate) value: f32,
}

impl From<&Activation> for Posting {
    fn from(activation: &Activation) -> Posting {
        Posting {
            feature: activation.feature,
            sequence: activation.row.sequence,
            position: activation.row.position,
            value: activation.value,
        }
    }
}

/// Postings of successive features, by feature, sequence and position. Integers and the bytes of the
/// values stand apart, each where its like compress best.
pub(crate) fn write_postings(postings: &[Posting]) -> Result<Vec<u8>> {
    let mut to = Writer::default();
    to.len(postings.len());
    let mut last = Posting {
        feature: 0,
        sequence: 0,
        position: 0,
        value: 0.0,
    };
    for posting in postings {
        let feature = posting.feature - last.feature;
        let sequence = if feature > 0 {
            posting.sequence
        } else {
            posting.sequence - last.sequence
        };
        let same = feature == 0 && sequence == 0;
        let position = if same {
            posting.position - last.position
        } else {
            posting.position
        };
        for n in [feature, sequence, position] {
            to.int(n.into());
        }
        last = *posting;
    }
    for byte in (0..4).rev() {
        to.0.extend(postings.iter().map(|p| p.value.to_le_bytes()[byte]));
    }
    to.compressed()
}

pub(crate) fn read_postings(bytes: &[u8]) -> Result<Vec<Posting>> {
    let bytes = decompressed(bytes)?;
    let mut from = Reader::new(&bytes);
    let len = from.len()?;
    // Three numbers and a value each.
    if len.saturating_mul(7) > bytes.len() {
        return Err(corrupt("it counts more than it holds"));
    }
    let mut postings: Vec<Posting> = Vec::with_capacity(len);
    let (mut feature, mut sequence, mut position) = (0_u32, 0_u32, 0_u32);
    for _ in 0..len {
        let steps = [from.u32()?, from.u32()?, from.u32()?];
        if steps[0] > 0 {
            sequence = 0;
        }
        if steps[0] > 0 || steps[1] > 0 {
            position = 0;
        }
        let add = |a: u32, b: u32| {
            a.checked_add(b)
                .ok_or_else(|| corrupt("a number is too large"))
        };
        feature = add(feature, steps[0])?;
        sequence = add(sequence, steps[1])?;
        position = add(position, steps[2])?;
        postings.push(Posting {
            feature,
            sequence,
            position,
            value: 0.0,
        });
    }
    let mut values = vec![[0_u8; 4]; len];
    for byte in (0..4).rev() {
        for value in &mut values {
            value[byte] = from.byte()?;
        }
    }
    for (posting, value) in postings.iter_mut().zip(values) {
        posting.value = f32::from_le_bytes(value);
    }
    Ok(postings)
}
