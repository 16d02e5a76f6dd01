//! What a feature is, by its weights alone.

use saescope_kernels::{Matrix, dot};

use super::{check, strongest};
use crate::direction::{cosine, cosines};
use crate::error::Result;
use crate::model::Model;
use crate::sae::Sae;
use crate::site::Site;

/// What a feature is, by its weights alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Which.
    pub feature: u32,
    /// Norm of its row of the encoder.
    pub encoder_norm: f32,
    /// Norm of its direction.
    pub decoder_norm: f32,
    /// Its bias in the encoder.
    pub encoder_bias: f32,
    /// Cosine between the two rows; none where they are not of one width.
    pub cosine: Option<f32>,
    /// The tokens whose logits its direction raises most, and by how much; the most raised first.
    pub promotes: Vec<(u32, f32)>,
    /// The same of those that it lowers most.
    pub suppresses: Vec<(u32, f32)>,
    /// Other features by the cosine of their direction with its own, the nearest first.
    pub nearest: Vec<(u32, f32)>,
}

/// What `feature` is by its weights, with `top` entries in each list.
///
/// Logit effects are those of [`Model::logit_effect`] of the direction as it stands in the decoder:
/// of one unit of activation, or under a layer norm of one times the token's standard deviation
/// ([`Sae::written_scale`]), in a residual stream that the final norm divides by 1. Where what is
/// written is no part of the residual stream, there are none, and the lists stay empty.
///
/// # Errors
/// When there is no such feature, or the model does not fit the autoencoder.
pub fn role(model: &Model, sae: &Sae, feature: u32, top: usize) -> Result<Role> {
    let direction = sae.direction(feature)?;
    check(model, sae)?;
    let (w_enc, b_enc) = sae.encoder();
    let row = w_enc.row(feature as usize);
    let (promotes, suppresses) = match writes_to_residual(sae.out_site()?) {
        true => logit_effects(model, direction, top),
        false => (Vec::new(), Vec::new()),
    };
    Ok(Role {
        feature,
        encoder_norm: norm(row),
        decoder_norm: norm(direction),
        encoder_bias: b_enc[feature as usize],
        cosine: (row.len() == direction.len()).then(|| cosine(row, direction)),
        promotes,
        suppresses,
        nearest: nearest(sae, feature, top),
    })
}

/// Whether what is written at `site` is added to, or is, the residual stream.
fn writes_to_residual(site: Site) -> bool {
    matches!(
        site,
        Site::Embed
            | Site::ResidPre(_)
            | Site::ResidMid(_)
            | Site::ResidPost(_)
            | Site::AttnOut(_)
            | Site::MlpOut(_)
    )
}

type Tokens = Vec<(u32, f32)>;

fn logit_effects(model: &Model, direction: &[f32], top: usize) -> (Tokens, Tokens) {
    let direction = Matrix::from_vec(1, direction.len(), direction.to_vec());
    let effect = model.logit_effect(&direction); // [1, d_vocab]
    let all: Tokens = (0..).zip(effect.row(0).iter().copied()).collect();
    let promotes = strongest(all.clone(), top, |&(token, effect)| (effect, token));
    let suppresses = strongest(all, top, |&(token, effect)| (-effect, token));
    (promotes, suppresses)
}

fn nearest(sae: &Sae, feature: u32, top: usize) -> Vec<(u32, f32)> {
    let (w_dec, _) = sae.decoder();
    let cosines = cosines(w_dec, w_dec.row(feature as usize));
    let others = (0..).zip(cosines).filter(|&(other, _)| other != feature);
    strongest(others.collect(), top, |&(other, cosine)| (cosine, other))
}

fn norm(a: &[f32]) -> f32 {
    dot(a, a).sqrt() as f32
}
