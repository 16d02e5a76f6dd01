//! The roles of all features, by their weights alone.

use rayon::prelude::*;
use saescope_kernels::{Matrix, norm};

use crate::direction::{Nearest, cosine, nearest};
use crate::error::Result;
use crate::features::writes_to_residual;
use crate::model::Model;
use crate::sae::Sae;

/// Features whose effects on logits are held at once.
const CHUNK: usize = 64;

/// The role of a feature, by its weights alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureRole {
    /// Norm of its encoder row.
    pub encoder_norm: f32,
    /// Norm of its direction.
    pub decoder_norm: f32,
    /// Its bias in the encoder.
    pub encoder_bias: f32,
    /// Cosine between encoder row and direction; NaN if their widths differ.
    pub cosine: f32,
    /// The tokens whose logits its direction raises most, and by how much.
    pub promoted: Vec<(u32, f32)>,
    /// The tokens whose logits its direction lowers most, and by how much, below 0.
    pub suppressed: Vec<(u32, f32)>,
    /// Other features by the cosine of their directions with its own, the nearest first.
    pub nearest: Vec<Nearest>,
}

/// The roles of all features in the order of their ids, with `tokens` tokens and `neighbours` neighbours each.
/// `on_progress` sees the number of features done.
///
/// Effects on logits are those of [`Model::logit_effect`]; tokens are empty if the autoencoder does not write
/// to the residual stream.
///
/// # Errors
/// When it is not known where the autoencoder writes.
pub fn roles(
    model: &Model,
    sae: &Sae,
    tokens: usize,
    neighbours: usize,
    on_progress: &mut dyn FnMut(usize),
) -> Result<Vec<FeatureRole>> {
    let (w_enc, b_enc) = sae.encoder();
    let (w_dec, _) = sae.decoder();
    let features = 0..w_dec.rows();
    let mut roles: Vec<FeatureRole> = features
        .into_par_iter()
        .zip(nearest(w_dec, neighbours))
        .map(|(feature, nearest)| {
            let (reads, writes) = (w_enc.row(feature), w_dec.row(feature));
            FeatureRole {
                encoder_norm: norm(reads) as f32,
                decoder_norm: norm(writes) as f32,
                encoder_bias: b_enc[feature],
                cosine: if reads.len() == writes.len() {
                    cosine(reads, writes)
                } else {
                    f32::NAN
                },
                nearest,
                ..FeatureRole::default()
            }
        })
        .collect();
    if !writes_to_residual(sae.out_site()?) {
        return Ok(roles);
    }
    for (number, chunk) in roles.chunks_mut(CHUNK).enumerate() {
        let rows: Vec<usize> = (0..chunk.len()).map(|row| CHUNK * number + row).collect();
        let effects: Matrix = model.logit_effect(&w_dec.select_rows(&rows)); // [chunk, d_vocab]
        chunk.par_iter_mut().enumerate().for_each(|(row, role)| {
            let effects = effects.row(row);
            role.promoted = extremes(effects, tokens, 1.0);
            role.suppressed = extremes(effects, tokens, -1.0);
        });
        on_progress(CHUNK * number + chunk.len());
    }
    Ok(roles)
}

/// The `top` elements of a row with the largest `sign` times value; of equal ones the lower index.
fn extremes(row: &[f32], top: usize, sign: f32) -> Vec<(u32, f32)> {
    let mut found: Vec<(u32, f32)> = Vec::with_capacity(2 * top + 1);
    let mut floor = f32::NEG_INFINITY;
    let cut = |found: &mut Vec<(u32, f32)>| {
        found.sort_by(|a, b| (sign * b.1).total_cmp(&(sign * a.1)).then(a.0.cmp(&b.0)));
        found.truncate(top);
    };
    for (token, &effect) in (0..).zip(row) {
        if sign * effect > floor {
            found.push((token, effect));
            if found.len() > 2 * top {
                cut(&mut found);
                floor = found.last().map_or(f32::INFINITY, |last| sign * last.1);
            }
        }
    }
    cut(&mut found);
    found
}
