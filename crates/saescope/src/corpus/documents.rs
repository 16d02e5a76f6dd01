//! Documents as ids, in memory or in a file of the cache.
//!
//! The file has little-endian numbers: eight bytes that name the format, the key, the numbers of documents
//! and of ids (u64 each), the SHA-256 of the rest; then the ids (u32) of one document after another, the
//! end of each document's ids (u64), its origin (three u32), and the combinations of labels as JSON.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::encode::Encoder;
use super::format::Format;
use super::origins::{DocumentOrigin, ORIGIN, OriginWriter, origin};
use super::read::{DocumentReader, Found};
use super::record::{DOCUMENTS, Document, TOOLS};
use super::template::{DEFAULT_FIELD, Template};
use super::{Chats, CorpusConfig, NO_TEMPLATE, Progress, Templates, TextUnit, open};
use crate::checkpoint::{File, save_whole};
use crate::digest::{self, Digest};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

const MAGIC: &[u8; 8] = b"SAEDOCS2";
/// Begins the key of documents; it stays when the format of the file changes, as the ids do.
const KEY: &[u8; 8] = b"SAEDOCS1";
const HEADER: usize = 8 + 32 + 8 + 8 + 32;
/// Bytes of text that are turned into ids at once.
const PIECE_TEXT: usize = 4 << 20;

/// The ids of all documents, without the tokens that a tokenizer puts around a text.
pub(super) struct Documents {
    file: File,
    len: usize,
    ids: usize,
    pub(super) key: [u8; 32],
    /// Combinations of labels.
    labels: Vec<Vec<String>>,
}

impl Documents {
    /// Turns the files into ids, or takes the ids from the cache.
    pub(super) fn open(
        config: &CorpusConfig,
        tokenizer: &Tokenizer,
        cache: Option<&Path>,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Documents> {
        let source = DocumentSource {
            files: &config.files,
            templates: templates(config)?,
            labels: config.labels.as_deref(),
            text: config.text,
            encoder: Encoder::new(tokenizer, config.chats),
        };
        let key = key(config, &source)?;
        let d_vocab = tokenizer.d_vocab();
        let Some(folder) = cache else {
            let name = Path::new("the corpus in memory");
            let mut bytes = io::Cursor::new(Vec::new());
            source.write(name, &mut bytes, &key, on_progress)?;
            return Documents::check(File::held(name, bytes.into_inner()), key, d_vocab);
        };
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join(format!("{}.documents", &digest::hex(&key)[..32]));
        let open = || File::open(&path).and_then(|file| Documents::check(file, key, d_vocab));
        if path.exists()
            // A broken file is made again.
            && let Ok(documents) = open()
        {
            return Ok(documents);
        }
        let mut failure = None;
        let saved = save_whole(&path, |file| {
            let mut file = io::BufWriter::with_capacity(1 << 18, file);
            let made = source.write(&path, &mut file, &key, on_progress);
            made.map_err(|error| {
                failure = Some(error);
                io::Error::other("the documents could not be read")
            })?;
            file.flush()
        });
        match failure {
            Some(error) => Err(error),
            None => saved.and_then(|()| open()),
        }
    }

    /// Reads documents from a file, after checking every number in it.
    fn check(file: File, key: [u8; 32], d_vocab: usize) -> Result<Documents> {
        let broken = |reason: &str| Error::format(&file.path, reason);
        let bytes = file.bytes();
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            return Err(broken("it ends within its header"));
        };
        if header[..8] != *MAGIC || header[8..40] != key {
            return Err(broken("it holds other documents"));
        }
        let (len, ids) = (number(&header[40..48]), number(&header[48..56]));
        let expected = (ids.checked_mul(4)).zip(len.checked_mul(8 + ORIGIN as u64));
        let expected = expected.and_then(|(ids, rest)| ids.checked_add(rest));
        let labels = expected.and_then(|labels| body.get(usize::try_from(labels).ok()?..));
        let Some(labels) = labels else {
            return Err(broken("it has the wrong length"));
        };
        let mut digest = Digest::new();
        digest.add(body);
        if digest.finish() != header[56..88] {
            return Err(broken("its checksum does not match its content"));
        }
        let labels = serde_json::from_slice(labels);
        let documents = Documents {
            labels: labels.map_err(|_| broken("its labels cannot be read"))?,
            len: len as usize,
            ids: ids as usize,
            key,
            file,
        };
        documents.check_content(d_vocab)?;
        Ok(documents)
    }

    fn check_content(&self, d_vocab: usize) -> Result<()> {
        let broken = |reason: &str| Err(Error::format(&self.file.path, reason));
        let mut before = 0;
        for document in 0..self.len {
            let end = self.end(document);
            if end <= before || end > self.ids {
                return broken("a document ends before it begins");
            }
            if self.origin_of(document).is_none() {
                return broken("a document has labels that there are not");
            }
            before = end;
        }
        if before != self.ids {
            return broken("there are ids after the last document");
        }
        let ids = self.body()[..4 * self.ids].as_chunks().0;
        if ids
            .par_iter()
            .any(|id| u32::from_le_bytes(*id) as usize >= d_vocab)
        {
            return broken("it holds an id that the tokenizer does not have");
        }
        Ok(())
    }

    fn body(&self) -> &[u8] {
        &self.file.bytes()[HEADER..]
    }

    fn end(&self, document: usize) -> usize {
        let at = 4 * self.ids + 8 * document;
        number(&self.body()[at..at + 8]) as usize
    }

    fn start(&self, document: usize) -> usize {
        document.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn origin_of(&self, document: usize) -> Option<DocumentOrigin<'_>> {
        let at = 4 * self.ids + 8 * self.len + ORIGIN * document;
        origin(self.body().get(at..at + ORIGIN)?, &self.labels)
    }

    /// The place where a document comes from, and its labels.
    pub(super) fn origin(&self, document: usize) -> DocumentOrigin<'_> {
        // Every origin was read once when the file was checked.
        self.origin_of(document).unwrap_or(DocumentOrigin {
            file: 0,
            number: 0,
            labels: &[],
        })
    }

    /// True if any document has a label.
    pub(super) fn have_labels(&self) -> bool {
        self.labels.iter().any(|labels| !labels.is_empty())
    }

    /// The names of all labels, in alphabetical order.
    pub(super) fn label_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.labels.concat();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Number of documents.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of ids of a document; no document is empty.
    pub(super) fn ids(&self, document: usize) -> usize {
        self.end(document) - self.start(document)
    }

    /// The bytes of some of the ids of a document.
    fn bytes(&self, document: usize, range: Range<usize>) -> &[u8] {
        let start = self.start(document);
        &self.body()[4 * (start + range.start)..4 * (start + range.end)]
    }

    /// Appends some of the ids of a document.
    pub(super) fn copy(&self, document: usize, range: Range<usize>, to: &mut Vec<u32>) {
        let ids = self.bytes(document, range).as_chunks().0;
        to.extend(ids.iter().map(|id| u32::from_le_bytes(*id)));
    }

    /// Digest of a document's ids.
    pub(super) fn digest(&self, document: usize) -> [u8; 32] {
        let mut digest = Digest::new();
        digest.add(self.bytes(document, 0..self.ids(document)));
        digest.finish()
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(bytes);
    u64::from_le_bytes(array)
}

/// Digest of everything that determines the ids of the documents.
fn key(config: &CorpusConfig, source: &DocumentSource) -> Result<[u8; 32]> {
    let mut digest = Digest::new();
    digest.part(KEY);
    let tokenizer = source.encoder.tokenizer;
    digest.part(tokenizer.digest()?.as_bytes());
    let (all, each): (&str, &[String]) = match &config.template {
        None => ("", &[]),
        Some(Templates::All(all)) => (all, &[]),
        Some(Templates::Each(each)) => ("", each),
    };
    digest.part(all.as_bytes());
    digest.part(config.text.name().as_bytes());
    let mut found = Vec::new();
    for (path, template) in config.files.iter().zip(&source.templates) {
        open::check(path)?;
        let name = path.file_name().unwrap_or_default();
        digest.part(name.as_encoded_bytes());
        let (content, len) = digest::of_file(path)?;
        digest.part(&len.to_le_bytes());
        digest.part(&content);
        found.extend(differently_read(
            path,
            &source.reader(template),
            config.chats,
            tokenizer,
        )?);
    }
    each.iter()
        .for_each(|template| digest.part(template.as_bytes()));
    found.iter().for_each(|part| digest.part(part));
    if let Some(field) = source.labels {
        digest.part(b"labels");
        digest.part(field.as_bytes());
    }
    Ok(digest.finish())
}

/// Parts of the digest for a file that is read by more than its name and the text of its fields.
fn differently_read(
    path: &Path,
    reader: &DocumentReader,
    chats: Chats,
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<u8>>> {
    let format = reader.format(path)?;
    let mut parts = Vec::new();
    if format != Format::by_name(path) {
        parts.push(format!("{format:?}").into_bytes());
    }
    let field = reader.template.and_then(Template::only_field);
    let lists = !matches!(format, Format::Text | Format::Table(_));
    if lists && field.is_some_and(|field| field != DEFAULT_FIELD) {
        let template = match chats {
            Chats::Auto => tokenizer.chat_template().unwrap_or("plain"),
            Chats::Template => tokenizer.chat_template().unwrap_or_default(),
            Chats::Plain => "plain",
        };
        parts.push(template.as_bytes().to_vec());
        // A template that names the lists beside the turns gives another text since it sees them.
        if [TOOLS, DOCUMENTS]
            .iter()
            .any(|name| template.contains(name))
        {
            let with_tools = tokenizer.tool_template().unwrap_or("attachments");
            parts.push(with_tools.as_bytes().to_vec());
        }
    }
    Ok(parts)
}

/// The template of every file; none where none is given.
fn templates(config: &CorpusConfig) -> Result<Vec<Option<Template>>> {
    let files = config.files.len();
    let parse = |template: &String| match template.as_str() {
        NO_TEMPLATE => Ok(None),
        template => Template::parse(template).map(Some),
    };
    match &config.template {
        None => Ok((0..files).map(|_| None).collect()),
        Some(Templates::All(template)) => (0..files).map(|_| parse(template)).collect(),
        Some(Templates::Each(each)) if each.len() == files => each.iter().map(parse).collect(),
        Some(Templates::Each(each)) => {
            let found = each.len();
            let reason =
                format!("{found} templates for {files} files; give one for each, or one for all");
            Err(Error::Argument(reason))
        }
    }
}

/// The files that documents are read from, and how they are read.
struct DocumentSource<'a> {
    files: &'a [PathBuf],
    /// The template of each file.
    templates: Vec<Option<Template>>,
    /// The field of the labels.
    labels: Option<&'a str>,
    text: TextUnit,
    encoder: Encoder<'a>,
}

/// A document that is to become ids, and its place for an error.
struct Waiting {
    document: Document,
    labels: Vec<String>,
    file: usize,
    unit: &'static str,
    number: u64,
}

/// Writes the file of the documents.
struct DocumentWriter<'a, W> {
    place: &'a Path,
    to: &'a mut W,
    source: &'a DocumentSource<'a>,
    digest: Digest,
    ends: Vec<u64>,
    origins: OriginWriter,
    waiting: Vec<Waiting>,
    waiting_text: usize,
}

impl DocumentSource<'_> {
    fn reader<'a>(&'a self, template: &'a Option<Template>) -> DocumentReader<'a> {
        DocumentReader {
            template: template.as_ref(),
            labels: self.labels,
            text: self.text,
        }
    }

    /// Writes the file of the documents; errors name it `place`.
    fn write<W: Write + Seek>(
        &self,
        place: &Path,
        to: &mut W,
        key: &[u8; 32],
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let failed = |e| Error::io(place, e);
        to.write_all(&[0; HEADER]).map_err(failed)?;
        let mut written = DocumentWriter {
            place,
            to,
            source: self,
            digest: Digest::new(),
            ends: Vec::new(),
            origins: OriginWriter::default(),
            waiting: Vec::new(),
            waiting_text: 0,
        };
        let lens: Result<Vec<u64>> = self.files.iter().map(|path| len(path)).collect();
        let lens = lens?;
        let mut progress = Progress {
            bytes: 0,
            total_bytes: lens.iter().sum(),
            documents: 0,
            tokens: 0,
        };
        let mut before = 0;
        let files = self.files.iter().zip(&self.templates);
        for (file, ((path, template), len)) in files.zip(lens).enumerate() {
            self.reader(template).documents(path, &mut |found| {
                let read = found.read;
                written.push(found, file)?;
                if written.waiting.is_empty() {
                    progress.bytes = before + read;
                    progress.documents = written.ends.len() as u64;
                    progress.tokens = written.ends.last().copied().unwrap_or(0);
                    on_progress(progress);
                }
                Ok(())
            })?;
            before += len;
        }
        written.flush()?;
        written.finish(key).map_err(failed)
    }
}

fn len(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    Ok(metadata.len())
}

impl<W: Write + Seek> DocumentWriter<'_, W> {
    fn push(&mut self, found: Found, file: usize) -> Result<()> {
        self.waiting_text += found.document.len();
        self.waiting.push(Waiting {
            document: found.document,
            labels: found.labels,
            file,
            unit: found.unit,
            number: found.number,
        });
        if self.waiting_text >= PIECE_TEXT {
            self.flush()?;
        }
        Ok(())
    }

    /// Turns the waiting documents into ids.
    fn flush(&mut self) -> Result<()> {
        let source = self.source;
        let ids: Result<Vec<Vec<u32>>> = self
            .waiting
            .par_iter()
            .map(|waiting| {
                let ids = source.encoder.encode(&waiting.document);
                ids.map_err(|reason| {
                    let (unit, number) = (waiting.unit, waiting.number);
                    let path = &source.files[waiting.file];
                    Error::format(path, format!("{unit} {number}: {reason}"))
                })
            })
            .collect();
        self.waiting_text = 0;
        let waiting = std::mem::take(&mut self.waiting);
        for (ids, waiting) in ids?.into_iter().zip(waiting) {
            if ids.is_empty() {
                continue;
            }
            self.origins
                .push(waiting.file, waiting.number, &waiting.labels)?;
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            let place = self.place;
            self.put(&bytes).map_err(|e| Error::io(place, e))?;
            let end = self.ends.last().copied().unwrap_or(0) + ids.len() as u64;
            self.ends.push(end);
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.add(bytes);
        self.to.write_all(bytes)
    }

    /// Writes the ends of the documents, their origins, and then the header.
    fn finish(mut self, key: &[u8; 32]) -> io::Result<()> {
        let ends = std::mem::take(&mut self.ends);
        for piece in ends.chunks(1 << 14) {
            let bytes: Vec<u8> = piece.iter().flat_map(|end| end.to_le_bytes()).collect();
            self.put(&bytes)?;
        }
        let (origins, labels) = std::mem::take(&mut self.origins).finish();
        self.put(&origins)?;
        self.put(&labels)?;
        let ids = ends.last().copied().unwrap_or(0);
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(MAGIC)?;
        self.to.write_all(key)?;
        self.to.write_all(&(ends.len() as u64).to_le_bytes())?;
        self.to.write_all(&ids.to_le_bytes())?;
        self.to.write_all(&self.digest.finish())
    }
}
