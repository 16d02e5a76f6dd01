//! The role of a feature, by its weights alone.

use saescope_kernels::{Matrix, norm};
use serde::Serialize;

use super::{check, strongest};
use crate::direction::{cosine, cosines};
use crate::error::Result;
use crate::model::Model;
use crate::sae::Sae;
use crate::site::Site;
use crate::tokenizer::Tokenizer;

/// The role of a feature, by its weights alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Role {
    /// Id of the feature.
    pub feature: u32,
    /// Norm of its encoder row.
    pub encoder_norm: f32,
    /// Norm of its direction.
    pub decoder_norm: f32,
    /// Its bias in the encoder.
    pub encoder_bias: f32,
    /// Cosine between encoder row and direction; none if their widths differ.
    pub cosine: Option<f32>,
    /// The tokens whose logits its direction raises most, the most raised first.
    pub promotes: Vec<LogitEffect>,
    /// The tokens whose logits its direction lowers most, the most lowered first.
    pub suppresses: Vec<LogitEffect>,
    /// Other features by the cosine of their directions with its own, the nearest first.
    pub nearest: Vec<Neighbour>,
}

/// The effect of a direction on the logit of one token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogitEffect {
    /// Id of the token.
    pub token: u32,
    /// Text of the token.
    pub piece: String,
    /// The change of its logit.
    pub effect: f32,
}

/// A feature with a similar direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// Id of the feature.
    pub feature: u32,
    /// Cosine of the two directions.
    pub cosine: f32,
}

/// The role of `feature`, with `top` entries in each list.
///
/// Logit effects are those of [`Model::logit_effect`] of the direction as it stands in the decoder: of
/// one unit of activation, or under a layer norm of one times the token's standard deviation
/// ([`Sae::written_scale`]), in a residual stream that the final norm divides by 1. The lists of tokens
/// are empty if the autoencoder does not write to the residual stream.
///
/// # Errors
/// When there is no such feature, or the model does not fit the autoencoder.
pub fn role(
    model: &Model,
    tokenizer: &Tokenizer,
    sae: &Sae,
    feature: u32,
    top: usize,
) -> Result<Role> {
    let direction = sae.direction(feature)?;
    check(model, sae)?;
    let (w_enc, b_enc) = sae.encoder();
    let row = w_enc.row(feature as usize);
    let mut role = Role {
        feature,
        encoder_norm: norm(row) as f32,
        decoder_norm: norm(direction) as f32,
        encoder_bias: b_enc[feature as usize],
        cosine: (row.len() == direction.len()).then(|| cosine(row, direction)),
        promotes: Vec::new(),
        suppresses: Vec::new(),
        nearest: nearest(sae, feature, top),
    };
    if writes_to_residual(sae.out_site()?) {
        let direction = Matrix::from_vec(1, direction.len(), direction.to_vec());
        let effects = model.logit_effect(&direction); // [1, d_vocab]
        let list = |sign: f32| {
            let all: Vec<(u32, f32)> = (0..).zip(effects.row(0).iter().copied()).collect();
            strongest(all, top, |&(token, effect)| (sign * effect, token))
                .into_iter()
                .map(|(token, effect)| LogitEffect {
                    token,
                    piece: tokenizer.token_text(token),
                    effect,
                })
                .collect()
        };
        (role.promotes, role.suppresses) = (list(1.0), list(-1.0));
    }
    Ok(role)
}

/// True if the activation at `site` is the residual stream, or is added to it.
pub(crate) fn writes_to_residual(site: Site) -> bool {
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

fn nearest(sae: &Sae, feature: u32, top: usize) -> Vec<Neighbour> {
    let (w_dec, _) = sae.decoder();
    let cosines = cosines(w_dec, w_dec.row(feature as usize));
    let others = (0..)
        .zip(cosines)
        .filter(|&(other, _)| other != feature)
        .map(|(feature, cosine)| Neighbour { feature, cosine })
        .collect();
    strongest(others, top, |other| (other.cosine, other.feature))
}
