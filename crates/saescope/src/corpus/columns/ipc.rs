//! Arrow's files and streams, decoded a message at a time. A file is a stream between two marks, followed by a
//! directory, which is not needed.

use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{Message, RecordBatch, root_as_message};
use bytes::Bytes;

use super::{RowReader, decode};

/// Bytes that the buffers of a message may have when they are expanded, beyond [`MAX_GROWTH`].
const SMALL: u64 = 256 << 20;
/// Most bytes that a byte of a compressed message may expand to, beyond [`SMALL`].
const MAX_GROWTH: u64 = 64;
/// The mark before the length of a message, and the end of a stream.
const MARK: [u8; 4] = [0xff; 4];
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Hands the batches of a file or a stream to `reader`.
pub(super) fn batches(bytes: Bytes, file: bool, reader: &mut RowReader) -> Result<(), String> {
    let buffer = Buffer::from(bytes);
    let mut decoder = StreamDecoder::new();
    let mut resolved = false;
    let mut at = if file { 8 } else { 0 };
    let mut dictionaries = 0;
    loop {
        let message = next(&buffer, at, &mut dictionaries)?;
        // The end makes the decoder finish what it has.
        let mut part = match message {
            Some(len) => buffer.slice_with_length(at, len),
            None => Buffer::from(&END),
        };
        at += message.unwrap_or(0);
        while !part.is_empty() {
            let batch = decode(|| decoder.decode(&mut part))?.map_err(|error| reason(&error))?;
            if let (false, Some(schema)) = (resolved, decoder.schema()) {
                reader.resolve(&schema)?;
                resolved = true;
            }
            if let Some(batch) = batch {
                reader.take(&batch, at as f64 / buffer.len() as f64)?;
            }
        }
        if message.is_none() {
            return Ok(());
        }
    }
}

fn reason(error: &arrow_schema::ArrowError) -> String {
    format!("it cannot be decoded: {error}")
}

/// Length of the message at `at` with its mark and body, checked; none at the end.
fn next(buffer: &[u8], at: usize, dictionaries: &mut u64) -> Result<Option<usize>, String> {
    let cut = || "it is cut off within a message".to_owned();
    let rest = buffer.get(at..).ok_or_else(cut)?;
    if rest.is_empty() {
        return Ok(None); // A stream may end without saying so.
    }
    let mark = if rest.starts_with(&MARK) { 4 } else { 0 };
    let len = rest.get(mark..mark + 4).ok_or_else(cut)?;
    let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
    if len == 0 {
        return Ok(None);
    }
    let head = rest
        .get(mark + 4..)
        .and_then(|rest| rest.get(..len))
        .ok_or_else(cut)?;
    let message = root_as_message(head);
    let message = message.map_err(|_| format!("the message at byte {at} is broken"))?;
    let body = &rest[mark + 4 + len..];
    let body_len = usize::try_from(message.bodyLength()).ok();
    let body = body_len.and_then(|len| body.get(..len)).ok_or_else(cut)?;
    check(&message, body, dictionaries)?;
    Ok(Some(mark + 4 + len + body.len()))
}

/// Checks the lengths that compressed buffers claim. Dictionaries stay in memory, so all of them count.
fn check(message: &Message, body: &[u8], dictionaries: &mut u64) -> Result<(), String> {
    let dictionary = message
        .header_as_dictionary_batch()
        .and_then(|batch| batch.data());
    let held = dictionary.is_some();
    let Some(batch) = message.header_as_record_batch().or(dictionary) else {
        return Ok(());
    };
    let mut claimed = claimed(&batch, body)?;
    if held {
        *dictionaries = dictionaries.saturating_add(claimed);
        claimed = *dictionaries;
    }
    if claimed > SMALL + MAX_GROWTH * body.len() as u64 {
        return Err("decompressed, a part of it is more than 64 times as long".to_owned());
    }
    Ok(())
}

/// Bytes that the buffers of a batch claim to expand to; each has to lie within the body.
fn claimed(batch: &RecordBatch, body: &[u8]) -> Result<u64, String> {
    let mut claimed = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let range = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok());
        let bytes = range.and_then(|(start, len)| body.get(start..)?.get(..len));
        let bytes = bytes.ok_or("a buffer lies outside its message")?;
        if batch.compression().is_none() || bytes.is_empty() {
            continue;
        }
        let len = bytes
            .first_chunk()
            .ok_or("a buffer lies outside its message")?;
        // -1 stands before bytes that are not compressed.
        claimed = claimed.saturating_add(i64::from_le_bytes(*len).max(0) as u64);
    }
    Ok(claimed)
}
