//! Opens files and decompresses them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};

/// Bytes of the longest document, and of the longest line: a novel has one million.
pub(super) const MAX_DOCUMENT: usize = 16 << 20;

/// Largest ratio of decompressed to compressed bytes. Text rarely shrinks to a twentieth; a file that grows
/// more is made to fill the memory or the disk of its reader.
const MAX_GROWTH: u64 = 200;
/// Decompressed bytes that any file may have.
const SMALL: u64 = 16 << 20;

/// Binary logarithm of the largest window of zstd: dumps of forums use it, 2 GiB, which take memory only as
/// far as the text fills them.
const MAX_WINDOW: u32 = 31;

/// Compression of a file, recognised by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// An opened file.
pub(super) struct Source {
    /// Its decompressed bytes.
    pub(super) bytes: Box<dyn BufRead>,
    /// Number of the file's own bytes that were read.
    pub(super) read: Rc<Cell<u64>>,
    pub(super) compressed: bool,
}

/// Refuses a path that is not a regular file. Checked before opening: opening a pipe would wait for a
/// writer.
pub(super) fn check(path: &Path) -> Result<()> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if kind.is_file() {
        return Ok(());
    }
    Err(Error::format(
        path,
        "not a regular file; name the files of a folder one by one, and save the output of a pipe \
         to a file, since a corpus is read twice",
    ))
}

/// The reason for refusing a document of more than [`MAX_DOCUMENT`].
pub(super) fn too_long(what: &str) -> String {
    let limit = MAX_DOCUMENT >> 20;
    format!("the {what} is longer than {limit} MiB, the limit of a document; cut it")
}

/// Opens the regular file at `path`.
pub(super) fn open(path: &Path) -> Result<Source> {
    check(path)?;
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let read = Rc::new(Cell::new(0));
    let counted = CountingReader {
        file,
        read: Rc::clone(&read),
    };
    let mut plain = BufReader::with_capacity(1 << 16, counted);
    let start = plain.fill_buf().map_err(|e| Error::io(path, e))?;
    let compression = match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame of zstd, or one that is to be skipped and comes before it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let bytes: Box<dyn BufRead> = match compression {
        Compression::None => Box::new(plain),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(plain);
            bounded(decoder, Rc::clone(&read))
        }
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(plain).map_err(|e| Error::io(path, e))?;
            decoder
                .window_log_max(MAX_WINDOW)
                .map_err(|e| Error::io(path, e))?;
            bounded(decoder, Rc::clone(&read))
        }
    };
    Ok(Source {
        bytes,
        read,
        compressed: compression != Compression::None,
    })
}

fn bounded(inner: impl Read + 'static, read: Rc<Cell<u64>>) -> Box<dyn BufRead> {
    let given = 0;
    Box::new(BufReader::with_capacity(
        1 << 16,
        BoundedReader { inner, read, given },
    ))
}

/// A file whose bytes are counted as they are read.
struct CountingReader {
    file: File,
    read: Rc<Cell<u64>>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

/// A decompressed file that fails when it grows too much.
struct BoundedReader<R> {
    inner: R,
    read: Rc<Cell<u64>>,
    given: u64,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.given += read as u64;
        if self.given > SMALL + MAX_GROWTH * self.read.get() {
            let reason = format!("decompressed, it is more than {MAX_GROWTH} times as long");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(read)
    }
}
