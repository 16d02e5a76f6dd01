//! The attention half of a block.

use rayon::prelude::*;
use saescope_kernels::{
    Attention, Epilogue, Matrix, Sequence, attend, attend_with_pattern, pattern, rms_norm_heads,
};

use super::block::Block;
use super::config::{Config, NormKind};
use super::pass::{Halt, Pass};
use crate::site::Site;

/// `x` plus what attention adds to it.
pub(crate) fn forward(
    block: &Block,
    layer: usize,
    pass: &mut Pass,
    x: Matrix,
) -> Result<Matrix, Halt> {
    let (site, weights) = (Site::AttnNorm(layer), (&block.attn_norm, &block.qkv));
    let mut qkv = pass.linear_of_norm(site, weights, &x, Epilogue::Keep)?; // [rows, (n_heads + 2 n_kv_heads) d_head]
    turn(block, layer, pass, &mut qkv);
    remember(layer, pass, &qkv);

    let form = form(pass.config, layer);
    let mut z = pass.take(form.n_heads * form.d_head);
    if pass.wants(Site::AttnPattern(layer)) {
        let seen = pattern(&form, &qkv, &sequences(layer, pass)); // [rows, n_heads n_keys]
        let seen = pass.at(Site::AttnPattern(layer), seen)?;
        attend_with_pattern(&form, &seen, &sequences(layer, pass), &mut z);
    } else {
        attend(&form, &qkv, &sequences(layer, pass), &mut z);
    }
    pass.give(qkv);
    let z = pass.at(Site::AttnZ(layer), z)?; // [rows, n_heads d_head]
    let out = (&block.attn_out, block.attn_post_norm.as_ref());
    let x = pass.write(Site::AttnOut(layer), out, (&z).into(), x)?;
    pass.give(z);
    Ok(x)
}

/// Norms the query and key heads where the family does, and turns them to their positions.
fn turn(block: &Block, layer: usize, pass: &Pass, qkv: &mut Matrix) {
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

/// Adds the keys and values of the batch to the cache.
fn remember(layer: usize, pass: &mut Pass, qkv: &Matrix) {
    let keys_at = pass.config.n_heads * pass.config.d_head;
    let lens: Vec<usize> = pass.rows().spans().iter().map(|span| span.len).collect();
    let slots = pass.slots;
    let caches = pass.cache.layer_mut(layer);
    // Where the rows of a sequence begin, and how many they are.
    let mut rows: Vec<Option<(usize, usize)>> = vec![None; caches.len()];
    let mut first = 0;
    for (&slot, len) in slots.iter().zip(lens) {
        rows[slot] = Some((first, len));
        first += len;
    }
    // A few tokens are too little to share out.
    let min_len = if first > 16 { 1 } else { caches.len() };
    let caches = caches.par_iter_mut().with_min_len(min_len).zip(rows);
    caches.for_each(|(cache, rows)| {
        if let Some((first, len)) = rows {
            cache.append(qkv, first, len, keys_at);
        }
    });
}

/// The sequences of the batch with what a layer remembers of them.
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

fn form(config: &Config, layer: usize) -> Attention {
    Attention {
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        d_head: config.d_head,
        scale: config.attn_scale,
        softcap: config.attn_softcap,
        window: config.layers[layer].window,
    }
}
