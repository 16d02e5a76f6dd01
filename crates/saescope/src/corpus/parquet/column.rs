//! The texts of a column, row by row.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

use super::meta::{Chunk, Leaf, PageHeader};
use super::thrift::Compact;
use super::values::{Deltas, Runs};

/// Bytes of the longest page once decompressed. Writers make pages of one megabyte.
const MAX_PAGE: u64 = 256 << 20;

const DATA: u64 = 0;
const DICTIONARY: u64 = 2;
const DATA_2: u64 = 3;

const PLAIN: u64 = 0;
const PLAIN_DICTIONARY: u64 = 2;
const RLE: u64 = 3;
const DELTA_LENGTH: u64 = 6;
const RLE_DICTIONARY: u64 = 8;

/// The values of a column in a group of rows.
pub(super) struct Column<'a> {
    pages: &'a [u8],
    leaf: &'a Leaf,
    codec: u64,
    dictionary: Option<Dictionary>,
    page: Page,
}

struct Dictionary {
    bytes: Vec<u8>,
    /// Beginning and end of each value.
    values: Vec<(usize, usize)>,
}

/// A page of values, decompressed.
struct Page {
    bytes: Vec<u8>,
    /// Number of values that are left, missing ones included.
    left: u64,
    /// For each value the number of its groups that are not missing; `None` if no value may be missing.
    levels: Option<Runs>,
    values: Values,
}

enum Values {
    /// A length and as many bytes for each value, from this place on.
    Plain { at: usize },
    /// Indices into the dictionary.
    Places(Runs),
    /// All lengths first, then the bytes, from this place on.
    Lengths { lengths: Deltas, at: usize },
}

impl<'a> Column<'a> {
    /// The column whose pages in `file` are those of `chunk`.
    pub(super) fn new(file: &'a [u8], leaf: &'a Leaf, chunk: &Chunk) -> Result<Self, String> {
        if chunk.elsewhere {
            return Err("its values are in another file".to_owned());
        }
        let pages = usize::try_from(chunk.start())
            .ok()
            .and_then(|start| file.get(start..)?.get(..usize::try_from(chunk.bytes).ok()?));
        Ok(Column {
            pages: pages.ok_or("its pages are beyond the end of the file")?,
            leaf,
            codec: chunk.codec,
            dictionary: None,
            page: Page {
                bytes: Vec::new(),
                left: 0,
                levels: None,
                values: Values::Plain { at: 0 },
            },
        })
    }

    /// The value of the next row; `None` if it is missing.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        while self.page.left == 0 {
            self.next_page()?;
        }
        let page = &mut self.page;
        page.left -= 1;
        if let Some(levels) = &mut page.levels
            && levels.next(&page.bytes)? < u64::from(self.leaf.max_definition)
        {
            return Ok(None);
        }
        let range = match &mut page.values {
            Values::Plain { at } => plain(&page.bytes, at)?,
            Values::Lengths { lengths, at } => {
                let len = usize::try_from(lengths.next(&page.bytes)?).ok();
                let end = len.and_then(|len| at.checked_add(len));
                let end = end.filter(|end| *end <= page.bytes.len());
                let start = *at;
                *at = end.ok_or("a value is longer than its page")?;
                (start, *at)
            }
            Values::Places(places) => {
                let place = places.next(&page.bytes)?;
                let dictionary = self.dictionary.as_ref().ok_or("it has no dictionary")?;
                let range = dictionary.values.get(place as usize);
                let &(start, end) = range.ok_or("a value is not in its dictionary")?;
                return Ok(Some(&dictionary.bytes[start..end]));
            }
        };
        Ok(Some(&page.bytes[range.0..range.1]))
    }

    fn next_page(&mut self) -> Result<(), String> {
        let mut thrift = Compact::new(self.pages);
        let header = PageHeader::read(&mut thrift)
            .map_err(|reason| format!("the header of a page: {reason}"))?;
        let rest = &self.pages[thrift.at()..];
        let stored = usize::try_from(header.stored).ok();
        let stored = stored.and_then(|len| rest.split_at_checked(len));
        let (stored, rest) = stored.ok_or("a page is longer than its column")?;
        self.pages = rest;
        match header.kind {
            DATA => {
                let bytes = self.decompress(stored, header.len)?;
                self.open_page(&header, bytes, None)
            }
            DATA_2 => {
                let levels = header
                    .definition_bytes
                    .saturating_add(header.repetition_bytes);
                let cut = usize::try_from(levels).ok();
                let parts = cut.and_then(|cut| stored.split_at_checked(cut));
                let (levels, values) = parts.ok_or("levels are longer than their page")?;
                let mut bytes = levels[header.repetition_bytes as usize..].to_vec();
                let len = header.len.saturating_sub(cut.unwrap_or(0) as u64);
                if header.plain {
                    bytes.extend_from_slice(values);
                } else {
                    bytes.extend(self.decompress(values, len)?);
                }
                let levels = header.definition_bytes as usize;
                self.open_page(&header, bytes, Some(levels))
            }
            DICTIONARY if self.dictionary.is_none() => {
                let bytes = self.decompress(stored, header.len)?;
                self.dictionary = Some(Dictionary::new(bytes, header.values)?);
                Ok(())
            }
            DICTIONARY => Err("a column has two dictionaries".to_owned()),
            // Pages of other kinds are indices and hold no values.
            _ => Ok(()),
        }
    }

    /// Reads a page whose first `levels` bytes mark missing values; without `levels`, the page begins with
    /// their number.
    fn open_page(
        &mut self,
        header: &PageHeader,
        bytes: Vec<u8>,
        levels: Option<usize>,
    ) -> Result<(), String> {
        let mut start = 0;
        let mut missing = None;
        if self.leaf.max_definition > 0 {
            if levels.is_none() {
                if header.level_encoding != RLE {
                    let encoding = header.level_encoding;
                    return Err(format!(
                        "levels in the encoding {encoding} are not supported"
                    ));
                }
                start = 4;
            }
            let len = match levels {
                Some(len) => len,
                None => length(&bytes, 0)?,
            };
            let end = start + len;
            if end > bytes.len() {
                return Err("levels are longer than their page".to_owned());
            }
            let width = u32::BITS - self.leaf.max_definition.leading_zeros();
            missing = Some(Runs::new(start..end, width)?);
            start = end;
        }
        let end = bytes.len();
        let values = match header.encoding {
            PLAIN => Values::Plain { at: start },
            PLAIN_DICTIONARY | RLE_DICTIONARY => match bytes.get(start) {
                Some(&width) => Values::Places(Runs::new(start + 1..end, width.into())?),
                // A page that holds only missing values may omit it.
                None => Values::Places(Runs::new(end..end, 0)?),
            },
            DELTA_LENGTH => Values::Lengths {
                at: Deltas::new(&bytes, start..end)?.end(&bytes)?,
                lengths: Deltas::new(&bytes, start..end)?,
            },
            other => {
                return Err(format!(
                    "values in the encoding {other} are not read; write the file with PLAIN or \
                     dictionary encoding"
                ));
            }
        };
        self.page = Page {
            bytes,
            left: header.values,
            levels: missing,
            values,
        };
        Ok(())
    }

    fn decompress(&self, stored: &[u8], len: u64) -> Result<Vec<u8>, String> {
        if len > MAX_PAGE {
            return Err(format!("a page has {len} bytes once decompressed"));
        }
        let bytes = match self.codec {
            0 => stored.to_vec(),
            1 => {
                let found = snap::raw::decompress_len(stored).map_err(|e| e.to_string())?;
                if found as u64 != len {
                    return Err(format!(
                        "a page of {len} bytes has {found} once decompressed"
                    ));
                }
                let bytes = snap::raw::Decoder::new().decompress_vec(stored);
                bytes.map_err(|e| e.to_string())?
            }
            2 => limited(flate2::read::MultiGzDecoder::new(stored), len)?,
            6 if stored.is_empty() => Vec::new(),
            6 => {
                let decoder = StreamingDecoder::new(stored).map_err(|e| e.to_string())?;
                limited(decoder, len)?
            }
            other => {
                let name = match other {
                    3 => "LZO",
                    4 => "Brotli",
                    5 | 7 => "LZ4",
                    _ => "an unknown codec",
                };
                return Err(format!(
                    "it is compressed with {name}; write it with Snappy, gzip or zstd"
                ));
            }
        };
        if bytes.len() as u64 != len {
            let found = bytes.len();
            return Err(format!(
                "a page of {len} bytes has {found} once decompressed"
            ));
        }
        Ok(bytes)
    }
}

/// Reads at most one byte more than `len`.
fn limited(decoder: impl Read, len: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = decoder.take(len + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("a page cannot be decompressed: {e}"))?;
    Ok(bytes)
}

impl Dictionary {
    fn new(bytes: Vec<u8>, len: u64) -> Result<Dictionary, String> {
        let mut values = Vec::new();
        let mut at = 0;
        for _ in 0..len {
            values.push(plain(&bytes, &mut at)?);
        }
        Ok(Dictionary { bytes, values })
    }
}

fn length(bytes: &[u8], at: usize) -> Result<usize, String> {
    let stated = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let stated = stated.ok_or("values end too soon")?;
    Ok(u32::from_le_bytes(*stated) as usize)
}

/// Beginning and end of the value at `at`, after its length.
fn plain(bytes: &[u8], at: &mut usize) -> Result<(usize, usize), String> {
    let start = *at + 4;
    let end = start + length(bytes, *at)?;
    if end > bytes.len() {
        return Err("a value is longer than its page".to_owned());
    }
    *at = end;
    Ok((start, end))
}
