//! llama2.c's first `.bin` format: seven numbers, then every f32 weight in a fixed order.
//!
//! The format has no magic number: a file is recognised by its size, which follows from the seven
//! numbers. Tensors have the names of llama2.c, in layer `L` as `wq.L`.

use std::path::Path;

use super::cursor::Cursor;
use super::dtype::Dtype;
use super::tensor::Entry;
use super::{FileContent, Metadata};
use crate::error::{Error, Result};

/// The sizes of a llama2.c model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the MLP.
    pub hidden_dim: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Longest context.
    pub seq_len: usize,
    /// True if the unembedding is the embedding; if not, there is a tensor `wcls`.
    pub shared_classifier: bool,
}

/// Marks the later versions of the format ("ak42").
const LATER_MAGIC: u32 = 0x616b_3432;
/// More layers than any model has; a larger number is not a count of layers.
const MAX_LAYERS: usize = 4096;

/// Finds every tensor of the file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<FileContent> {
    let mut cursor = Cursor::new(path, bytes);
    if bytes.first_chunk().map(|n| u32::from_le_bytes(*n)) == Some(LATER_MAGIC) {
        return Err(Error::format(
            path,
            "a llama2.c file of version 1 or 2; export it as version 0 or for Hugging Face",
        ));
    }
    let header = header(&mut cursor)?;
    let mut tensors = Vec::new();
    let mut at = cursor.at();
    for (name, per_layer, shape) in order(&header) {
        let layers = if per_layer { header.n_layers } else { 1 };
        for layer in 0..layers {
            let name = if per_layer {
                format!("{name}.{layer}")
            } else {
                name.to_owned()
            };
            let entry = Entry::row_major(Dtype::F32, shape.clone(), at, bytes.len())
                .map_err(|reason| Error::tensor(path, &name, reason))?;
            at += entry.span;
            // Tables of rotations that llama2.c no longer reads.
            if !name.starts_with("freq_cis") {
                tensors.push((name, entry));
            }
        }
    }
    if at != bytes.len() {
        return Err(Error::format(
            path,
            format!(
                "a llama2.c file of these sizes has {at} bytes, not {}",
                bytes.len()
            ),
        ));
    }
    Ok(FileContent {
        tensors,
        metadata: Metadata::Llama2c(header),
    })
}

fn header(cursor: &mut Cursor) -> Result<Header> {
    let mut sizes = [0; 7];
    for size in &mut sizes {
        *size = cursor.i32()?;
    }
    let [
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab,
        seq_len,
    ] = sizes.map(|size| usize::try_from(size.unsigned_abs()).unwrap_or(usize::MAX));
    let negative = sizes.iter().enumerate().any(|(i, &s)| s < 0 && i != 5);
    let sound = !negative
        && !sizes.contains(&0)
        && dim.is_multiple_of(n_heads)
        && n_heads.is_multiple_of(n_kv_heads)
        && (dim / n_heads).is_multiple_of(2)
        && n_layers <= MAX_LAYERS;
    if !sound {
        return Err(cursor.error(format!(
            "not a checkpoint of a known format; read as sizes of llama2.c, {sizes:?} do not make a model"
        )));
    }
    Ok(Header {
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab_size: vocab,
        seq_len,
        shared_classifier: sizes[5] > 0,
    })
}

/// Name, true if there is one per layer, and shape of each tensor, in the order of the file.
fn order(h: &Header) -> Vec<(&'static str, bool, Vec<usize>)> {
    let head_size = h.dim / h.n_heads;
    let kv_dim = head_size * h.n_kv_heads;
    let rotations = vec![h.seq_len, head_size / 2];
    let mut order = vec![
        ("token_embedding_table", false, vec![h.vocab_size, h.dim]),
        ("rms_att_weight", true, vec![h.dim]),
        ("wq", true, vec![h.dim, h.dim]),
        ("wk", true, vec![kv_dim, h.dim]),
        ("wv", true, vec![kv_dim, h.dim]),
        ("wo", true, vec![h.dim, h.dim]),
        ("rms_ffn_weight", true, vec![h.dim]),
        ("w1", true, vec![h.hidden_dim, h.dim]),
        ("w2", true, vec![h.dim, h.hidden_dim]),
        ("w3", true, vec![h.hidden_dim, h.dim]),
        ("rms_final_weight", false, vec![h.dim]),
        ("freq_cis_real", false, rotations.clone()),
        ("freq_cis_imag", false, rotations),
    ];
    if !h.shared_classifier {
        order.push(("wcls", false, vec![h.vocab_size, h.dim]));
    }
    order
}
