//! Packs documents into sequences.

use super::documents::Documents;

/// Tokens around the text of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delimiters {
    /// Before every sequence.
    pub(super) before: Vec<u32>,
    /// After a document that has a sequence of its own.
    pub(super) after: Vec<u32>,
    /// Between two documents that share a sequence.
    pub(super) between: Vec<u32>,
}

/// Beginning of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Its first document, by its place among the chosen ones.
    pub(super) place: u32,
    /// Its first id in that document.
    pub(super) offset: u32,
}

/// Documents laid one after another and cut into sequences of `context` ids.
pub(super) struct Packing<'a> {
    pub(super) documents: &'a Documents,
    /// The numbers of the documents, in order.
    pub(super) chosen: &'a [u32],
    pub(super) delimiters: &'a Delimiters,
    pub(super) context: usize,
}

/// A stretch of a document in a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePiece {
    /// Number of the document, in the order of the files.
    pub document: u32,
    /// Its first id in the sequence.
    pub position: usize,
    /// Its first id in the document.
    pub offset: usize,
    /// Number of its ids.
    pub len: usize,
}

/// A part of a sequence.
enum Piece {
    Between,
    /// The ids from `offset` on, `len` of them, of the document at `place`.
    Text {
        place: usize,
        offset: usize,
        len: usize,
    },
}

impl Packing<'_> {
    /// Beginnings of all full sequences, and the number of ids of text that are left after the last.
    pub(super) fn starts(&self) -> (Vec<Start>, usize) {
        let mut starts = Vec::new();
        let mut next = Start {
            place: 0,
            offset: 0,
        };
        loop {
            let mut text = 0;
            let end = self.walk(next, |piece| {
                if let Piece::Text { len, .. } = piece {
                    text += len;
                }
            });
            match end {
                Some(end) => starts.push(std::mem::replace(&mut next, end)),
                None => return (starts, text),
            }
        }
    }

    /// Appends the sequence that begins at `start`.
    pub(super) fn sequence(&self, start: Start, to: &mut Vec<u32>) {
        to.extend_from_slice(&self.delimiters.before);
        let end = to.len() - self.delimiters.before.len() + self.context;
        self.walk(start, |piece| match piece {
            Piece::Between => to.extend_from_slice(&self.delimiters.between),
            Piece::Text { place, offset, len } => {
                let document = self.chosen[place] as usize;
                self.documents.copy(document, offset..offset + len, to);
            }
        });
        // The tokens between two documents may exceed the context.
        to.truncate(end);
    }

    /// The stretches of documents in the sequence that begins at `start`.
    pub(super) fn pieces(&self, start: Start) -> Vec<SequencePiece> {
        let mut position = self.delimiters.before.len();
        let mut pieces = Vec::new();
        self.walk(start, |piece| match piece {
            Piece::Between => position += self.delimiters.between.len(),
            Piece::Text { place, offset, len } => {
                pieces.push(SequencePiece {
                    document: self.chosen[place],
                    position,
                    offset,
                    len,
                });
                position += len;
            }
        });
        pieces
    }

    /// Shows the parts of the sequence that begins at `start`, and returns the beginning of the next one;
    /// `None` if the documents do not fill the sequence.
    fn walk(&self, start: Start, mut show: impl FnMut(Piece)) -> Option<Start> {
        let mut room = self.context - self.delimiters.before.len();
        let (mut place, mut offset) = (start.place as usize, start.offset as usize);
        while room > 0 {
            let &document = self.chosen.get(place)?;
            let ids = self.documents.ids(document as usize);
            let len = room.min(ids - offset);
            show(Piece::Text { place, offset, len });
            room -= len;
            offset += len;
            if offset == ids {
                (place, offset) = (place + 1, 0);
                if room > 0 && place < self.chosen.len() {
                    show(Piece::Between);
                    room = room.saturating_sub(self.delimiters.between.len());
                }
            }
        }
        Some(Start {
            place: place as u32,
            offset: offset as u32,
        })
    }
}
