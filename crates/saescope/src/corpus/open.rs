//! Opens files and decompresses them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::error::{Error, Result};

/// Largest ratio of decompressed to compressed bytes. Text rarely shrinks to a twentieth; a file that grows
/// more is made to fill the memory or the disk of its reader.
const MAX_GROWTH: u64 = 200;
/// Decompressed bytes that any file may have.
const SMALL: u64 = 16 << 20;

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
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let bounded = |inner| BoundedReader {
        inner,
        read: Rc::clone(&read),
        given: 0,
    };
    let bytes: Box<dyn BufRead> = match compression {
        Compression::None => Box::new(plain),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(plain);
            Box::new(BufReader::with_capacity(1 << 16, bounded(decoder)))
        }
        Compression::Zstd => {
            let decoder = ZstdFrames {
                source: Some(plain),
                frame: None,
            };
            let bounded = BoundedReader {
                inner: decoder,
                read: Rc::clone(&read),
                given: 0,
            };
            Box::new(BufReader::with_capacity(1 << 16, bounded))
        }
    };
    Ok(Source {
        bytes,
        read,
        compressed: compression != Compression::None,
    })
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

/// The frames of a zstd file one after another, as `zstd` itself reads them.
struct ZstdFrames<R: BufRead> {
    source: Option<R>,
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
            }
            if let Some(frame) = self.frame.take() {
                let sums = (
                    frame.decoder.get_checksum_from_data(),
                    frame.decoder.get_calculated_checksum(),
                );
                if let (Some(stated), Some(found)) = sums
                    && stated != found
                {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a frame's checksum does not match its content",
                    ));
                }
                self.source = Some(frame.into_inner());
            }
            let Some(mut source) = self.source.take() else {
                return Ok(0);
            };
            if source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source);
            self.frame = Some(frame.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?);
        }
    }
}
