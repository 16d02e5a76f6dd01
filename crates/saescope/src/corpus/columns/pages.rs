//! The pages of a Parquet file, checked before they are decoded.
//!
//! A header states the length of its page and the number of its values. The decoder allocates by both, and
//! expands gzip and Brotli without a bound, so headers are read here first, and such pages expanded to
//! nowhere.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::thrift::{STRUCT, Thrift};

/// Most bytes of a page.
const MAX_PAGE: u64 = 256 << 20;
/// Most bytes of the pages of one batch of rows.
const MAX_BYTES: u64 = 1 << 30;
/// Most values of the pages of one batch of rows.
const MAX_VALUES: u64 = 64 << 20;
/// Most bytes that a byte of gzip, and of LZ4, expands to.
const MAX_DEFLATE: u64 = 1032;
const MAX_LZ4: u64 = 255;

/// A file whose pages are checked.
#[derive(Clone)]
pub(super) struct Pages {
    bytes: Bytes,
    chunks: Arc<Vec<Chunk>>,
    /// Bytes and values of the pages that were opened for the batch of rows.
    opened: Arc<[AtomicU64; 2]>,
}

/// The pages of a column in a group of rows.
struct Chunk {
    range: Range<u64>,
    codec: Compression,
    /// End of the last header that was counted.
    counted: AtomicU64,
    /// Bytes of the page to come that are not compressed; all, if it is not compressed.
    plain: AtomicU64,
    /// Bytes that it states to have when it is expanded.
    stated: AtomicU64,
}

/// Statements of a page's header.
struct Header {
    expanded: u64,
    values: u64,
    plain: u64,
}

impl Pages {
    pub(super) fn new(bytes: Bytes, metadata: &ParquetMetaData, mask: &ProjectionMask) -> Pages {
        let chunks = metadata.row_groups().iter().flat_map(|group| {
            let columns = group.columns().iter().enumerate();
            columns
                .filter(|(leaf, _)| mask.leaf_included(*leaf))
                .map(|(_, column)| {
                    // The least of its offsets; a decoder refuses one that is negative.
                    let offsets = [
                        column.dictionary_page_offset(),
                        Some(column.data_page_offset()),
                    ];
                    let start = offsets
                        .into_iter()
                        .flatten()
                        .filter(|at| *at > 0)
                        .min()
                        .unwrap_or(0) as u64;
                    let len = column.compressed_size().max(0) as u64;
                    Chunk {
                        range: start..start.saturating_add(len),
                        codec: column.compression(),
                        counted: AtomicU64::new(0),
                        plain: AtomicU64::new(0),
                        stated: AtomicU64::new(0),
                    }
                })
        });
        Pages {
            bytes,
            chunks: Arc::new(chunks.collect()),
            opened: Arc::default(),
        }
    }

    /// Begins to count the pages of another batch of rows.
    pub(super) fn begin_batch(&self) {
        self.opened.iter().for_each(|count| count.store(0, Relaxed));
    }

    fn chunk(&self, at: u64) -> Result<&Chunk> {
        let chunk = self.chunks.iter().find(|chunk| chunk.range.contains(&at));
        chunk.ok_or_else(|| broken("a page lies outside its column"))
    }

    /// Checks the header of a page.
    fn check(&self, at: u64) -> Result<()> {
        let chunk = self.chunk(at)?;
        let bytes = self.bytes.get(at as usize..).unwrap_or_default();
        let header =
            Header::read(bytes).ok_or_else(|| broken("a page's header is out of order"))?;
        if header.expanded > MAX_PAGE {
            return Err(broken("a page has more than 256 MiB"));
        }
        chunk.plain.store(header.plain, Relaxed);
        chunk.stated.store(header.expanded, Relaxed);
        if chunk.counted.fetch_max(at + 1, Relaxed) > at {
            return Ok(()); // It was counted when it was first looked at.
        }
        let count =
            |counter: usize, more: u64| self.opened[counter].fetch_add(more, Relaxed) + more;
        if count(0, header.expanded) > MAX_BYTES {
            return Err(broken("64 rows have more than 1 GiB"));
        }
        if count(1, header.values) > MAX_VALUES {
            return Err(broken("64 rows have more than 67 million values"));
        }
        Ok(())
    }

    /// Makes sure that a page expands to no more than its header states.
    fn check_page(&self, at: u64, page: &[u8]) -> Result<()> {
        let chunk = self.chunk(at)?;
        let (plain, stated) = (chunk.plain.load(Relaxed), chunk.stated.load(Relaxed));
        let Some(compressed) = usize::try_from(plain)
            .ok()
            .and_then(|plain| page.get(plain..))
        else {
            return Ok(());
        };
        let len = compressed.len() as u64;
        let mut limited: Box<dyn Read> = match chunk.codec {
            Compression::GZIP(_) if len > MAX_PAGE / MAX_DEFLATE => {
                Box::new(flate2::read::MultiGzDecoder::new(compressed).take(stated + 1))
            }
            Compression::BROTLI(_) => {
                Box::new(brotli::Decompressor::new(compressed, 1 << 16).take(stated + 1))
            }
            Compression::LZ4
                if compressed.starts_with(b"\x04\x22\x4d\x18") && len > MAX_PAGE / MAX_LZ4 =>
            {
                return Err(broken("a page of LZ4 frames has more than 1 MiB"));
            }
            _ => return Ok(()),
        };
        let expanded = std::io::copy(&mut limited, &mut std::io::sink())?;
        if expanded > stated {
            return Err(broken("a page is longer than its header states"));
        }
        Ok(())
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl ChunkReader for Pages {
    type T = <Bytes as ChunkReader>::T;

    /// Called for the header of a page.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.check(start)?;
        self.bytes.get_read(start)
    }

    /// Called for the content of a page.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let page = self.bytes.get_bytes(start, length)?;
        if length > 0 {
            self.check_page(start, &page)?;
        }
        Ok(page)
    }
}

fn broken(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

impl Header {
    /// Reads the beginning of a header, whose fields all writers put in order.
    fn read(bytes: &[u8]) -> Option<Header> {
        let mut thrift = Thrift { bytes };
        let kind = number(&mut thrift)?;
        let expanded = number(&mut thrift)?;
        number(&mut thrift)?;
        // A checksum may come before the header of the kind.
        let mut mark = thrift.byte()?;
        if mark == NEXT_NUMBER {
            thrift.varint()?;
            mark = thrift.byte()?;
        }
        if mark & 0x0f != STRUCT {
            return None;
        }
        let mut header = Header {
            expanded,
            values: 0,
            plain: 0,
        };
        if kind == INDEX_PAGE {
            return Some(header); // It is skipped.
        }
        header.values = number(&mut thrift)?;
        if kind == DATA_PAGE_V2 {
            for _ in 0..3 {
                number(&mut thrift)?; // Missing values, rows, encoding.
            }
            let definition = number(&mut thrift)?;
            header.plain = definition.checked_add(number(&mut thrift)?)?;
            if thrift.byte()? == NEXT_FALSE {
                header.plain = u64::MAX;
            }
        }
        Some(header)
    }
}

/// Bytes before a field that follows the one before: a number, and one that is false.
const NEXT_NUMBER: u8 = 0x15;
const NEXT_FALSE: u8 = 0x12;
/// Kinds of pages.
const INDEX_PAGE: u64 = 1;
const DATA_PAGE_V2: u64 = 3;

/// The next field, a number that is not negative.
fn number(thrift: &mut Thrift) -> Option<u64> {
    (thrift.byte()? == NEXT_NUMBER).then(|| thrift.natural())?
}
