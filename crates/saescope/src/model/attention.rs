//! The attention half of a block.

use rayon::prelude::*;
use saescope_kernels::{
    Attention, Epilogue, Matrix, Sequence, attend, attend_with_pattern, pattern, rms_norm_heads,
};

use super::block::Block;
use super::config::{Config, NormKind};
use super::pass::{Halt, Pass};
use crate::site::Site;

/// `x` plus the output of attention: `[rows, d_model]`.
pub(crate) fn forward(
    block: &Block,
    layer: usize,
    pass: &mut Pass,
    x: Matrix,
) -> Result<Matrix, Halt> {
    let site = Site::AttnNorm(layer);
    // [rows, (n_heads + 2 n_kv_heads) d_head]
    let mut qkv = pass.linear_of_norm(site, &block.attn_norm, &block.qkv, &x, Epilogue::Keep)?;
    rotate(block, layer, pass, &mut qkv);
    append_to_cache(layer, pass, &qkv);

    let form = form(pass.config, layer);
    let mut z = pass.take(form.n_heads * form.d_head);
    if pass.wants(Site::AttnPattern(layer)) {
        let weights = pattern(&form, &qkv, &sequences(layer, pass)); // [rows, n_heads n_keys]
        let weights = pass.at(Site::AttnPattern(layer), weights)?;
        attend_with_pattern(&form, &weights, &sequences(layer, pass), &mut z);
    } else {
        attend(&form, &qkv, &sequences(layer, pass), &mut z);
    }
    pass.give(qkv);
    let z = pass.at(Site::AttnZ(layer), z)?; // [rows, n_heads d_head]
    let site = Site::AttnOut(layer);
    let post_norm = block.attn_post_norm.as_ref();
    let x = pass.write(site, &block.attn_out, post_norm, (&z).into(), x)?;
    pass.give(z);
    Ok(x)
}

/// Norms the query and key heads if the family does, and rotates them to their positions.
fn rotate(block: &Block, layer: usize, pass: &Pass, qkv: &mut Matrix) {
    let Config {
        n_heads,
        n_kv_heads,
        d_head,
        norm,
        ..
    } = *pass.config;
    let (NormKind::Layer { eps } | NormKind::Rms { eps }) = norm;
    if let Some(norm) = &block.q_norm {
        rms_norm_heads(qkv, 0, n_heads, &norm.weight, eps);
    }
    if let Some(norm) = &block.k_norm {
        rms_norm_heads(qkv, n_heads * d_head, n_kv_heads, &norm.weight, eps);
    }
    if let Some(rotation) = pass.rotation(layer) {
        rotation.apply(qkv, n_heads + n_kv_heads, d_head);
    }
}

/// Appends the keys and values of the batch to the cache.
fn append_to_cache(layer: usize, pass: &mut Pass, qkv: &Matrix) {
    let keys_at = pass.config.n_heads * pass.config.d_head;
    let lens: Vec<usize> = pass.rows().spans().iter().map(|span| span.len).collect();
    let slots = pass.slots;
    let caches = pass.cache.layer_mut(layer);
    // The first row of each sequence of the cache, and the number of its rows.
    let mut rows: Vec<Option<(usize, usize)>> = vec![None; caches.len()];
    let mut first = 0;
    for (&slot, len) in slots.iter().zip(lens) {
        rows[slot] = Some((first, len));
        first += len;
    }
    // A few tokens are too little work for several threads.
    let min_len = if first > 16 { 1 } else { caches.len() };
    let caches = caches.par_iter_mut().with_min_len(min_len).zip(rows);
    caches.for_each(|(cache, rows)| {
        if let Some((first, len)) = rows {
            cache.append(qkv, first, len, keys_at);
        }
    });
}

/// The sequences of the batch, each with its keys and values in a layer.
fn sequences<'a>(layer: usize, pass: &'a Pass) -> Vec<Sequence<'a>> {
    let caches = pass.cache.layer(layer);
    let spans = pass.rows().spans().iter().zip(pass.slots);
    spans
        .map(|(span, &slot)| Sequence {
            cache: &caches[slot],
            rows: span.len,
        })
        .collect()
}

/// The shape of attention in a layer.
fn form(config: &Config, layer: usize) -> Attention {
    Attention {
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        d_head: config.d_head,
        scale: config.attn_scale_at(layer),
        softcap: config.attn_softcap,
        window: config.layers[layer].window,
    }
}
