//! Writes small tensors to a GGUF file, version 3, completely or not at all.

use std::io::Write as _;
use std::path::Path;

use super::gguf::MAGIC;
use super::write::{Elements, NewTensor, save_whole};
use crate::error::{Error, Result};

/// ggml's default alignment of tensor data.
const ALIGNMENT: usize = 32;

/// A value of the metadata to be written.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// A text.
    Str(&'a str),
    /// A whole number of 32 bits.
    U32(u32),
}

/// Writes `metadata` and f32 `tensors` to `path`, in their order. An existing file is replaced by a
/// complete one or stays as it is.
///
/// # Errors
/// When a tensor is not f32, a shape does not fit its elements, or the system refuses.
pub fn save_gguf(path: &Path, metadata: &[(&str, NewValue)], tensors: &[NewTensor]) -> Result<()> {
    let mut header = MAGIC.to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut header, key);
        match value {
            NewValue::U32(number) => {
                header.extend(4_u32.to_le_bytes());
                header.extend(number.to_le_bytes());
            }
            NewValue::Str(text) => {
                header.extend(8_u32.to_le_bytes());
                put_text(&mut header, text);
            }
        }
    }
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        let Elements::F32(elements) = tensor.elements else {
            return Err(Error::tensor(
                path,
                tensor.name,
                "only tensors of type f32 can be written",
            ));
        };
        if tensor.shape.iter().product::<usize>() != elements.len() {
            let (shape, len) = (tensor.shape, elements.len());
            let reason = format!("shape {shape:?} does not hold {len} elements");
            return Err(Error::tensor(path, tensor.name, reason));
        }
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        put_text(&mut header, tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        // The innermost dimension comes first.
        for dim in tensor.shape.iter().rev() {
            header.extend((*dim as u64).to_le_bytes());
        }
        header.extend(0_u32.to_le_bytes()); // F32
        header.extend((data.len() as u64).to_le_bytes());
        data.extend(elements.iter().flat_map(|x| x.to_le_bytes()));
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
    save_whole(path, |file| {
        file.write_all(&header)?;
        file.write_all(&data)
    })
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}
