//! Places of the stored entries of a zip archive, and the contents of the deflated ones.
//!
//! torch, and numpy by default, store entries neither compressed nor encrypted, so that tensors can be
//! mapped. This reader therefore needs the central directory alone. It allocates by what it has read,
//! not by what the archive claims.

use std::collections::HashMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// First bytes of every zip archive with an entry.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Bytes of the end record without its comment, and of the locator of the 64-bit one before it.
const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;

/// The entries of an archive.
pub(super) struct Archive {
    entries: HashMap<String, Entry>,
}

struct Entry {
    /// Byte at which its local header starts.
    header: u64,
    /// Bytes of the content.
    size: u64,
    /// Bytes that it takes in the archive.
    stored: u64,
    method: u16,
    encrypted: bool,
    crc: u32,
}

impl Archive {
    /// Reads the central directory.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Archive> {
        let (start, count) = directory(path, bytes)?;
        let start = usize::try_from(start).ok().filter(|&s| s <= bytes.len());
        let start =
            start.ok_or_else(|| Error::format(path, "its zip directory lies outside the file"))?;
        let mut cursor = Cursor::new(path, &bytes[start..]);
        let mut entries = HashMap::new();
        for _ in 0..count {
            let (name, entry) = central(&mut cursor)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::format(path, format!("its zip holds `{name}` twice")));
            }
        }
        Ok(Archive { entries })
    }

    /// The names of the entries, in no particular order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// True if an entry is compressed in the way that [`Archive::inflate`] knows.
    pub(super) fn has_deflated(&self) -> bool {
        self.entries.values().any(|entry| entry.method == DEFLATED)
    }

    /// The range of `bytes`, the archive, that is the entry `name`, or the reason why there is none.
    pub(super) fn find(&self, bytes: &[u8], name: &str) -> Result<Range<usize>, String> {
        let entry = self.entry(name)?;
        if entry.method != STORED || entry.stored != entry.size {
            return Err(format!(
                "`{name}` is compressed; only stored entries can be read"
            ));
        }
        entry.place(bytes, name)
    }

    /// Appends the content of the entry `name` of `bytes`, the archive, to `into`, whose length may not
    /// exceed `most` by it.
    pub(super) fn inflate(
        &self,
        bytes: &[u8],
        name: &str,
        into: &mut Vec<u8>,
        most: usize,
    ) -> Result<Range<usize>, String> {
        let entry = self.entry(name)?;
        let start = into.len();
        let room = (most - start.min(most)) as u64;
        if entry.size > room {
            return Err(format!(
                "`{name}` has {} bytes, and the archive's entries would have over {most}; save it uncompressed",
                entry.size
            ));
        }
        let place = match entry.method {
            STORED => self.find(bytes, name)?,
            DEFLATED => entry.place(bytes, name)?,
            other => {
                return Err(format!(
                    "`{name}` is compressed by method {other}; only deflate is read"
                ));
            }
        };
        let place = &bytes[place];
        if entry.method == STORED {
            into.extend_from_slice(place);
        } else {
            // A byte more than the directory says is enough to find out that it is wrong.
            let read = DeflateDecoder::new(place)
                .take(entry.size + 1)
                .read_to_end(into);
            read.map_err(|error| format!("`{name}` is damaged: {error}"))?;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&into[start..]);
        if (into.len() - start) as u64 != entry.size || crc.sum() != entry.crc {
            return Err(format!(
                "`{name}` is damaged: its length or its checksum differs from what the archive says"
            ));
        }
        Ok(start..into.len())
    }

    fn entry(&self, name: &str) -> Result<&Entry, String> {
        let entry = self.entries.get(name);
        let entry = entry.ok_or_else(|| format!("there is no `{name}` in the archive"))?;
        match entry.encrypted {
            true => Err(format!("`{name}` is encrypted; save it without a password")),
            false => Ok(entry),
        }
    }
}

impl Entry {
    /// The range of `bytes`, the archive, that the entry takes.
    fn place(&self, bytes: &[u8], name: &str) -> Result<Range<usize>, String> {
        let outside = || format!("`{name}` does not lie in the archive");
        let header = usize::try_from(self.header).map_err(|_| outside())?;
        // The local header has its own lengths of name and extra field, the latter padded by torch.
        let header = bytes.get(header..).and_then(<[u8]>::first_chunk::<30>);
        let header = header.ok_or_else(outside)?;
        if header[..4] != LOCAL.to_le_bytes() {
            return Err(outside());
        }
        let [name_len, extra_len] =
            [26, 28].map(|at| u64::from(u16::from_le_bytes([header[at], header[at + 1]])));
        let start = (self.header + 30).checked_add(name_len + extra_len);
        let end = start.and_then(|start| start.checked_add(self.stored));
        match (start, end) {
            (Some(start), Some(end)) if end <= bytes.len() as u64 => {
                Ok(start as usize..end as usize)
            }
            _ => Err(outside()),
        }
    }
}

/// Byte at which the central directory starts, and the number of its entries.
fn directory(path: &Path, bytes: &[u8]) -> Result<(u64, u64)> {
    // Only a comment may follow the end record, which gives the comment's length.
    let window = bytes.len().saturating_sub(END_LEN + usize::from(u16::MAX));
    let end = (window..=bytes.len().saturating_sub(END_LEN))
        .rev()
        .find(|&at| {
            let record = bytes[at..].first_chunk::<END_LEN>();
            record.is_some_and(|record| {
                let comment = u16::from_le_bytes([record[20], record[21]]);
                record[..4] == END.to_le_bytes()
                    && at + END_LEN + usize::from(comment) == bytes.len()
            })
        });
    let end = end.ok_or_else(|| {
        Error::format(
            path,
            "a zip archive without its end, as of an unfinished download; download it again",
        )
    })?;
    let mut cursor = Cursor::new(path, &bytes[end..]);
    cursor.take(10)?;
    let count = cursor.u16()?;
    cursor.take(4)?;
    let start = cursor.u32()?;
    let locator = end.checked_sub(LOCATOR_LEN).map(|at| &bytes[at..end]);
    match locator {
        Some(locator) if locator.starts_with(&END_64_LOCATOR.to_le_bytes()) => {
            directory_64(path, bytes, locator)
        }
        _ => Ok((start.into(), count.into())),
    }
}

/// The same, from the record of archives with over 4 GB or 65535 entries, which torch always writes.
fn directory_64(path: &Path, bytes: &[u8], locator: &[u8]) -> Result<(u64, u64)> {
    let mut cursor = Cursor::new(path, locator);
    cursor.take(8)?;
    let at = usize::try_from(cursor.u64()?).ok();
    let record = at.and_then(|at| bytes.get(at..)).unwrap_or(&[]);
    let mut cursor = Cursor::new(path, record);
    if cursor.u32()? != END_64 {
        return Err(Error::format(
            path,
            "its zip directory is not at the place that it names",
        ));
    }
    cursor.take(28)?;
    let count = cursor.u64()?;
    cursor.take(8)?;
    Ok((cursor.u64()?, count))
}

/// One record of the central directory.
fn central(cursor: &mut Cursor) -> Result<(String, Entry)> {
    if cursor.u32()? != CENTRAL {
        return Err(cursor.error("the zip directory is damaged"));
    }
    cursor.take(4)?;
    let flags = cursor.u16()?;
    let method = cursor.u16()?;
    cursor.take(4)?;
    let crc = cursor.u32()?;
    let mut stored = u64::from(cursor.u32()?);
    let mut size = u64::from(cursor.u32()?);
    let [name_len, extra_len, comment_len] = [cursor.u16()?, cursor.u16()?, cursor.u16()?];
    cursor.take(8)?;
    let mut header = u64::from(cursor.u32()?);
    let name = cursor.take(name_len.into())?;
    let name = String::from_utf8_lossy(name).into_owned();
    let mut extra = cursor.sub(extra_len.into())?;
    cursor.take(comment_len.into())?;
    while extra.left() >= 4 {
        let [id, len] = [extra.u16()?, extra.u16()?];
        let mut field = extra.sub(len.into())?;
        // The 64-bit field holds the values that do not fit 32 bits, in this order.
        if id == 1 {
            for value in [&mut size, &mut stored, &mut header] {
                if *value == u64::from(u32::MAX) {
                    *value = field.u64()?;
                }
            }
        }
    }
    let entry = Entry {
        header,
        size,
        stored,
        method,
        encrypted: flags & 1 != 0,
        crc,
    };
    Ok((name, entry))
}
