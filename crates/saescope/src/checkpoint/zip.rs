//! Places of the stored entries of a zip archive.
//!
//! torch, and numpy by default, store entries neither compressed nor encrypted, so that tensors can be
//! mapped. This reader therefore needs the central directory alone. It allocates by what it has read,
//! not by what the archive claims.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// First bytes of every zip archive with an entry.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;

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
    size: u64,
    /// True if it is neither compressed nor encrypted.
    plain: bool,
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

    /// The range of `bytes`, the archive, that is the entry `name`, or the reason why there is none.
    pub(super) fn find(&self, bytes: &[u8], name: &str) -> Result<Range<usize>, String> {
        let entry = self.entries.get(name);
        let entry = entry.ok_or_else(|| format!("there is no `{name}` in the archive"))?;
        if !entry.plain {
            return Err(format!(
                "`{name}` is compressed or encrypted; only stored entries can be read"
            ));
        }
        let outside = || format!("`{name}` does not lie in the archive");
        let header = usize::try_from(entry.header).map_err(|_| outside())?;
        // The local header has its own lengths of name and extra field, the latter padded by torch.
        let header = bytes.get(header..).and_then(<[u8]>::first_chunk::<30>);
        let header = header.ok_or_else(outside)?;
        if header[..4] != LOCAL.to_le_bytes() {
            return Err(outside());
        }
        let [name_len, extra_len] =
            [26, 28].map(|at| u64::from(u16::from_le_bytes([header[at], header[at + 1]])));
        let start = (entry.header + 30).checked_add(name_len + extra_len);
        let end = start.and_then(|start| start.checked_add(entry.size));
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
    cursor.take(8)?;
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
        plain: method == 0 && flags & 1 == 0 && stored == size,
    };
    Ok((name, entry))
}
