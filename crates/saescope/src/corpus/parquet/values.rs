//! Packed numbers within a page: levels, indices into a dictionary, lengths.
//!
//! They are read one at a time and never held, since a few bytes can encode billions of them.

use std::ops::Range;

/// `width` bits from bit `at` of `bytes` on, lowest bits first.
fn bits(bytes: &[u8], at: usize, width: u32) -> u64 {
    let mut value = 0;
    let (mut got, mut at) = (0, at);
    while got < width {
        let byte = u64::from(bytes.get(at / 8).copied().unwrap_or(0));
        let taken = (8 - at as u32 % 8).min(width - got);
        let part = (byte >> (at % 8)) & ((1 << taken) - 1);
        value |= part << got;
        got += taken;
        at += taken as usize;
    }
    value
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or("packed numbers end too soon")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a packed number has more than 64 bits".to_owned())
}

/// Runs of one number and stretches of packed numbers, alternating.
pub(super) struct Runs {
    at: usize,
    end: usize,
    width: u32,
    left: u64,
    run: Run,
}

enum Run {
    Same(u64),
    /// Packed numbers from this bit on.
    Packed(usize),
}

impl Runs {
    /// Numbers of `width` bits in a range of a page.
    pub(super) fn new(range: Range<usize>, width: u32) -> Result<Runs, String> {
        if width > 32 {
            return Err(format!("packed numbers have {width} bits"));
        }
        Ok(Runs {
            at: range.start,
            end: range.end,
            width,
            left: 0,
            run: Run::Same(0),
        })
    }

    /// The next number; `page` is the page of the range.
    pub(super) fn next(&mut self, page: &[u8]) -> Result<u64, String> {
        let bytes = &page[..self.end];
        while self.left == 0 {
            let header = varint(bytes, &mut self.at)?;
            if header & 1 == 1 {
                let len = (header >> 1).checked_mul(u64::from(self.width));
                let len = len.and_then(|len| usize::try_from(len).ok());
                let len = len.filter(|len| *len <= bytes.len() - self.at);
                let len = len.ok_or("packed numbers end too soon")?;
                self.run = Run::Packed(8 * self.at);
                self.at += len;
                self.left = (header >> 1).saturating_mul(8);
            } else {
                let len = self.width.div_ceil(8) as usize;
                if len > bytes.len() - self.at {
                    return Err("packed numbers end too soon".to_owned());
                }
                self.run = Run::Same(bits(bytes, 8 * self.at, 8 * len as u32));
                self.at += len;
                self.left = header >> 1;
            }
        }
        self.left -= 1;
        match &mut self.run {
            Run::Same(value) => Ok(*value),
            Run::Packed(at) => {
                let value = bits(bytes, *at, self.width);
                *at += self.width as usize;
                Ok(value)
            }
        }
    }
}

/// Numbers as differences (`DELTA_BINARY_PACKED`).
pub(super) struct Deltas {
    at: usize,
    end: usize,
    /// Numbers in a stretch of one width, and stretches in a block.
    stretch: usize,
    stretches: usize,
    left: u64,
    last: i64,
    first: bool,
    min: i64,
    /// Place of the widths of the block.
    widths: usize,
    /// The current stretch, the number of its numbers that were read, and its beginning.
    number: usize,
    read: usize,
}

impl Deltas {
    pub(super) fn new(page: &[u8], range: Range<usize>) -> Result<Deltas, String> {
        let bytes = &page[..range.end];
        let mut at = range.start;
        let block = varint(bytes, &mut at)?;
        let stretches = varint(bytes, &mut at)?;
        let left = varint(bytes, &mut at)?;
        let last = zigzag(varint(bytes, &mut at)?);
        let fits = (1..=1 << 20).contains(&block)
            && (1..=block).contains(&stretches)
            && block.is_multiple_of(stretches)
            && (block / stretches).is_multiple_of(8);
        if !fits {
            return Err(format!(
                "differences in blocks of {block} in {stretches} stretches are not supported"
            ));
        }
        Ok(Deltas {
            at,
            end: range.end,
            stretch: (block / stretches) as usize,
            stretches: stretches as usize,
            left,
            last,
            first: true,
            min: 0,
            widths: 0,
            number: stretches as usize,
            read: 0,
        })
    }

    /// The next number.
    pub(super) fn next(&mut self, page: &[u8]) -> Result<i64, String> {
        if self.left == 0 {
            return Err("there are fewer lengths than values".to_owned());
        }
        self.left -= 1;
        if std::mem::take(&mut self.first) {
            return Ok(self.last);
        }
        let bytes = &page[..self.end];
        if self.number == self.stretches {
            self.min = zigzag(varint(bytes, &mut self.at)?);
            self.widths = self.at;
            self.at += self.stretches;
            (self.number, self.read) = (0, 0);
        }
        let width = u32::from(
            *bytes
                .get(self.widths + self.number)
                .ok_or("a block is cut off")?,
        );
        let len = self.stretch / 8 * width as usize;
        if width > 64 || self.at > bytes.len() || len > bytes.len() - self.at {
            return Err("differences end too soon".to_owned());
        }
        let delta = bits(bytes, 8 * self.at + self.read * width as usize, width);
        self.last = self.last.wrapping_add(self.min).wrapping_add(delta as i64);
        self.read += 1;
        if self.read == self.stretch || self.left == 0 {
            self.at += len;
            self.number += 1;
            self.read = 0;
        }
        Ok(self.last)
    }

    /// Place of the first byte after the numbers.
    pub(super) fn end(mut self, page: &[u8]) -> Result<usize, String> {
        while self.left > 0 {
            self.next(page)?;
        }
        Ok(self.at)
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_numbers_alternate() {
        // The example of Parquet's own documentation: 0 to 7 in three bits; then five times 4.
        let bytes = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010, 0b1010, 4];
        let mut runs = Runs::new(0..6, 3).unwrap();
        let found: Vec<u64> = (0..13).map(|_| runs.next(&bytes).unwrap()).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 6, 7, 4, 4, 4, 4, 4]);
        assert!(runs.next(&bytes).is_err());
    }

    #[test]
    fn differences_are_added_up() {
        // Blocks of 128 in four: 7, 5, 3, 1, 2, 3, 4, 5, as in Parquet's own documentation.
        let mut bytes = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        bytes.extend([0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
        bytes.push(99);
        let deltas = Deltas::new(&bytes, 0..bytes.len()).unwrap();
        assert_eq!(deltas.end(&bytes).unwrap(), 18);
        let mut deltas = Deltas::new(&bytes, 0..bytes.len()).unwrap();
        let found: Vec<i64> = (0..8).map(|_| deltas.next(&bytes).unwrap()).collect();
        assert_eq!(found, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(deltas.next(&bytes).is_err());
    }
}
