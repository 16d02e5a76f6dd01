//! Thrift's compact protocol, as far as Parquet's metadata uses it.

/// Structures within structures; Parquet's own go four deep.
const MAX_DEPTH: usize = 16;

/// Type of a field or an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    True,
    False,
    /// One byte.
    Byte,
    /// A number of any width.
    Int,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Kind, String> {
        Ok(match code {
            1 => Kind::True,
            2 => Kind::False,
            3 => Kind::Byte,
            4..=6 => Kind::Int,
            7 => Kind::Double,
            8 => Kind::Binary,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => {
                return Err(format!(
                    "its metadata has a field of the unknown type {code}"
                ));
            }
        })
    }
}

/// Bytes that are read from the front.
pub(super) struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// Reads a field and returns true, or returns false for a field to be skipped.
pub(super) type Read = Result<bool, String>;

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Compact<'a> {
        Compact {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// Number of bytes that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len) {
            Ok(len) if len <= rest.len() => {
                self.at += len;
                Ok(&rest[..len])
            }
            _ => Err("its metadata ends too soon".to_owned()),
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("its metadata has a number of more than 64 bits".to_owned())
    }

    /// A number.
    pub(super) fn int(&mut self) -> Result<i64, String> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A number that is a count or a place.
    pub(super) fn count(&mut self) -> Result<u64, String> {
        let value = self.int()?;
        u64::try_from(value).map_err(|_| format!("its metadata counts {value} of something"))
    }

    /// Text.
    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        let len = self.varint()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| "a name in it is not UTF-8".to_owned())
    }

    /// A structure: `field` receives the number and the kind of each field. It reads the field and returns
    /// true, or the field is skipped.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Read,
    ) -> Result<(), String> {
        self.deeper(|this| {
            let mut number = 0;
            loop {
                let header = this.byte()?;
                if header == 0 {
                    return Ok(());
                }
                match header >> 4 {
                    0 => number = this.int()?,
                    step => number += i64::from(step),
                }
                let kind = Kind::of(header & 0xf)?;
                if !field(this, number, kind)? {
                    this.skip(kind)?;
                }
            }
        })
    }

    /// The elements of a list, which must be of one kind.
    pub(super) fn list(
        &mut self,
        kind: Kind,
        mut element: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let (len, found) = self.list_header()?;
        if found != kind && len > 0 {
            return Err(format!(
                "a list in its metadata holds {found:?} instead of {kind:?}"
            ));
        }
        (0..len).try_for_each(|_| element(self))
    }

    fn list_header(&mut self) -> Result<(u64, Kind), String> {
        let header = self.byte()?;
        let len = match header >> 4 {
            15 => self.varint()?,
            len => u64::from(len),
        };
        Ok((len, Kind::of(header & 0xf)?))
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        if self.depth == MAX_DEPTH {
            return Err("its metadata is nested too deep".to_owned());
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn skip(&mut self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::True | Kind::False => Ok(()),
            Kind::Byte => self.take(1).map(drop),
            Kind::Int => self.varint().map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Binary => {
                let len = self.varint()?;
                self.take(len).map(drop)
            }
            Kind::Struct => self.structure(|_, _, _| Ok(false)),
            Kind::List => self.deeper(|this| {
                let (len, kind) = this.list_header()?;
                (0..len).try_for_each(|_| this.skip_element(kind))
            }),
            Kind::Map => self.deeper(|this| {
                let len = this.varint()?;
                if len == 0 {
                    return Ok(());
                }
                let kinds = this.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0xf)?);
                (0..len).try_for_each(|_| {
                    this.skip_element(key)?;
                    this.skip_element(value)
                })
            }),
        }
    }

    /// A truth value takes a byte in a list or a map.
    fn skip_element(&mut self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::True | Kind::False => self.take(1).map(drop),
            kind => self.skip(kind),
        }
    }
}
