//! First bytes of archives and of other programs' files, which lie in place of weights or of texts.

use super::{AGAIN, StandIn};

/// The use that a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A model, an autoencoder or their configuration.
    Weights,
    /// The texts of a corpus.
    Texts,
}

/// A kind of file.
struct Kind {
    magic: &'static [u8],
    what: &'static str,
    /// The next step of one who wants weights; `None` where their reader knows better.
    weights: Option<&'static str>,
    /// The next step of one who wants texts; `None` where their reader knows better.
    texts: Option<&'static str>,
}

const UNPACK: &str = "unpack it and name its files";
const SAFETENSORS: &str = "take the model's safetensors, or export it as such";
const GGUF: &str = "convert the original model to GGUF with today's llama.cpp";
const COMPRESS: &str = "decompress it, or use gzip or zstd";
const CONVERT: &str = "convert it to UTF-8";
const LINES: &str = "write Parquet or JSON Lines";

/// A kind for both purposes.
const fn both(
    magic: &'static [u8],
    what: &'static str,
    weights: &'static str,
    texts: &'static str,
) -> Kind {
    Kind {
        magic,
        what,
        weights: Some(weights),
        texts: Some(texts),
    }
}

/// A kind in place of weights.
const fn of_weights(magic: &'static [u8], what: &'static str, next: &'static str) -> Kind {
    Kind {
        magic,
        what,
        weights: Some(next),
        texts: None,
    }
}

/// A kind in place of texts.
const fn of_texts(magic: &'static [u8], what: &'static str, next: &'static str) -> Kind {
    Kind {
        magic,
        what,
        weights: None,
        texts: Some(next),
    }
}

#[rustfmt::skip]
const KINDS: [Kind; 22] = [
    of_weights(b"\x1f\x8b\x08", "compressed with gzip", "decompress it with `gunzip`"),
    both(b"BZh", "compressed with bzip2", "decompress it with `bunzip2`", COMPRESS),
    both(b"\xfd7zXZ\0", "compressed with xz", "decompress it with `unxz`", COMPRESS),
    of_weights(b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it with `unzstd`"),
    both(b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it with `unlz4`", COMPRESS),
    of_texts(b"PK\x03\x04", "a zip archive", UNPACK),
    both(b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK, UNPACK),
    both(b"Rar!\x1a\x07", "a RAR archive", UNPACK, UNPACK),
    both(b"\x89HDF", "an HDF5 file, as Keras, TensorFlow and pandas write", SAFETENSORS, LINES),
    of_weights(b"lmgg", "a ggml file from before GGUF", GGUF),
    of_weights(b"fmgg", "a ggmf file from before GGUF", GGUF),
    of_weights(b"tjgg", "a ggjt file from before GGUF", GGUF),
    both(b"%PDF", "a PDF document", AGAIN, "extract its text"),
    of_weights(b"HTTP/", "the answer of a server with its headers", AGAIN),
    of_texts(b"\xff\xfe", "UTF-16 text", CONVERT),
    of_texts(b"\xfe\xff", "UTF-16 text", CONVERT),
    of_texts(b"FEA1", "a Feather file of version 1", "write Parquet, or Feather of version 2"),
    of_texts(b"ORC", "an ORC file", "write Parquet"),
    of_texts(b"Obj\x01", "an Avro file", LINES),
    of_texts(b"SQLite format 3\0", "an SQLite database", "write its table as Parquet or CSV"),
    of_texts(b"\x93NUMPY", "a NumPy array", "write Parquet with a column `input_ids`"),
    of_texts(b"PARE", "an encrypted Parquet file", "decrypt it"),
];

/// A file of another kind than the one that is wanted.
pub(crate) fn foreign(head: &[u8], purpose: Purpose) -> Option<StandIn> {
    let next = |kind: &Kind| match purpose {
        Purpose::Weights => kind.weights,
        Purpose::Texts => kind.texts,
    };
    let mut kinds = KINDS.iter().filter(|kind| head.starts_with(kind.magic));
    if let Some((kind, next)) = kinds.find_map(|kind| Some((kind, next(kind)?))) {
        return StandIn::new(kind.what, next);
    }
    if head.get(257..262) == Some(b"ustar") {
        return StandIn::new("a tar archive", UNPACK);
    }
    if purpose == Purpose::Weights && head.get(4..8) == Some(b"TFL3") {
        return StandIn::new("a TensorFlow Lite model", SAFETENSORS);
    }
    None
}

/// An archive of files, which a reader of weights may open itself.
pub(super) fn zip(head: &[u8]) -> Option<StandIn> {
    let is_zip = head.starts_with(b"PK\x03\x04");
    is_zip
        .then(|| StandIn::new("a zip archive", UNPACK))
        .flatten()
}
