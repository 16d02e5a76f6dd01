//! As much of Thrift's compact protocol as the checks of Parquet files need: numbers, and how to skip all else.

/// Types of fields, the low half of the byte before each; the high half is the step from the field before.
pub(super) const NUMBER: u8 = 5;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;
/// Deepest nesting that is skipped.
const MAX_DEPTH: u32 = 32;

/// Bytes that are read from their beginning.
pub(super) struct Thrift<'a> {
    pub(super) bytes: &'a [u8],
}

impl Thrift<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number that is not negative.
    pub(super) fn natural(&mut self) -> Option<u64> {
        let zigzag = self.varint()?;
        (zigzag & 1 == 0).then_some(zigzag >> 1)
    }

    /// The number and the type of the next field of a struct; type 0 at its end.
    pub(super) fn field(&mut self, before: u64) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 0x0f) {
            (_, 0) => Some((0, 0)),
            (0, kind) => Some((self.natural()?, kind)),
            (step, kind) => Some((before + u64::from(step), kind)),
        }
    }

    /// The length of a list and the type of its elements.
    pub(super) fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 0x0f) {
            (15, kind) => Some((self.varint()?, kind)),
            (len, kind) => Some((u64::from(len), kind)),
        }
    }

    /// Skips the content of a field.
    pub(super) fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_nested(kind, 0)
    }

    fn skip_nested(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.bytes = self.bytes.get(8..)?,
            8 => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.bytes = self.bytes.get(len..)?;
            }
            9 | 10 => {
                let (len, kind) = self.list()?;
                // A boolean in a list has a byte.
                let kind = if kind == 2 { 3 } else { kind };
                for _ in 0..len {
                    self.skip_nested(kind, depth + 1)?;
                }
            }
            STRUCT => loop {
                let (_, kind) = self.field(0)?;
                if kind == 0 {
                    break;
                }
                self.skip_nested(kind, depth + 1)?;
            },
            _ => return None,
        }
        Some(())
    }
}
