//! The attention half of a block.

use saescope_kernels::{
    Attention, Matrix, Sequence, Then, attend, attend_by, pattern, rms_norm_heads,
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
    let normed = pass.norm(&block.attn_norm, &x);
    let normed = pass.at(Site::AttnNorm(layer), normed)?;
    let mut qkv = pass.linear(&block.qkv, &normed, Then::Keep); // [rows, (n_heads + 2 n_kv_heads) d_head]
    pass.give(normed);
    turn(block, layer, pass, &mut qkv);
    remember(layer, pass, &qkv);

    let form = form(pass.config, layer);
    let mut z = pass.take(form.n_heads * form.d_head);
    if pass.wants(Site::AttnPattern(layer)) {
        let seen = pattern(&form, &qkv, &sequences(layer, pass)); // [rows, n_heads n_keys]
        let seen = pass.at(Site::AttnPattern(layer), seen)?;
        attend_by(&form, &seen, &sequences(layer, pass), &mut z);
    } else {
        attend(&form, &qkv, &sequences(layer, pass), &mut z);
    }
    pass.give(qkv);
    let z = pass.at(Site::AttnZ(layer), z)?; // [rows, n_heads d_head]
    pass.write(
        Site::AttnOut(layer),
        (&block.attn_out, block.attn_post_norm.as_ref()),
        z,
        x,
    )
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
    let mut first = 0;
    for (&slot, len) in slots.iter().zip(lens) {
        caches[slot].append(qkv, first, len, keys_at);
        first += len;
    }
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
