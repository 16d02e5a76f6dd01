//! Advice on a finding, as data: a sentence that names fields of the configuration, and the fields that
//! it would change. A front end adds what its users call these fields.

use std::fmt;

use serde::{Serialize, Serializer};

/// Advice on a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// More steps, a lower learning rate, or normalised tokens.
    StabiliseOrNormalise,
    /// A lower learning rate, or clipped gradients.
    Stabilise,
    /// A larger autoencoder, or more tokens.
    EnlargeOrTrainMore,
    /// The finding on explained variance has the cause.
    SeeExplainedVariance,
    /// A weaker sparsity penalty.
    WeakenPenalty,
    /// A stronger sparsity penalty.
    StrengthenPenalty,
    /// More steps for the threshold.
    LetThresholdSettle,
    /// Fewer than k features are above 0.
    SmallerK,
    /// More tokens, or a shorter window for dead features.
    TrainMoreOrShortenWindow,
    /// Something that keeps features from dying.
    KeepFeaturesAlive,
    /// A stronger penalty, or a smaller k.
    FewerDenseFeatures,
    /// More tokens, or fewer features.
    TrainMoreOrFewerFeatures,
    /// More steps.
    MoreSteps,
    /// Centred input.
    CentreInput,
    /// Activations that differ from token to token.
    TrainOnOtherData,
}

/// A field of the training configuration to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The path of the field, as `adam.lr`, or `recipe`.
    pub field: &'static str,
    /// The value that it should have, if there is one.
    pub value: Option<&'static str>,
}

impl Advice {
    /// The fields to change.
    pub fn changes(self) -> Vec<FieldChange> {
        let change = |field, value| FieldChange { field, value };
        match self {
            Advice::StabiliseOrNormalise => {
                vec![change("adam.lr", None), change("input", Some("layer_norm"))]
            }
            Advice::Stabilise => vec![change("adam.lr", None), change("grad_clip", None)],
            Advice::TrainMoreOrShortenWindow => vec![change("dead.window_tokens", None)],
            Advice::KeepFeaturesAlive => vec![change("recipe", Some("topk"))],
            Advice::CentreInput => vec![change("input", Some("centre_and_scale"))],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Advice::StabiliseOrNormalise => {
                "Train for more steps; if that does not help, lower `adam.lr`, or give every token the same \
                 length with `input` = `layer_norm`."
            }
            Advice::Stabilise => {
                "The training has failed; a lower `adam.lr` or a `grad_clip` may help."
            }
            Advice::EnlargeOrTrainMore => {
                "More features, more active features or more tokens explain more."
            }
            Advice::SeeExplainedVariance => {
                "The missing part matters to the model; see explained variance."
            }
            Advice::WeakenPenalty => {
                "A smaller coefficient of the penalty makes more features active."
            }
            Advice::StrengthenPenalty => {
                "A larger coefficient of the penalty makes fewer features active."
            }
            Advice::LetThresholdSettle => {
                "The threshold has not settled yet; it does with more steps."
            }
            Advice::SmallerK => {
                "Fewer than k features are above 0 on a token; lower `k`, or raise `d_sae`, so that k are active."
            }
            Advice::TrainMoreOrShortenWindow => {
                "Train on more tokens, or lower `dead.window_tokens`."
            }
            Advice::KeepFeaturesAlive => {
                "An auxiliary loss (`recipe` = `topk`), resampling, or fewer features keep them alive."
            }
            Advice::FewerDenseFeatures => {
                "They rarely have one meaning; a stronger penalty or a smaller k reduces them."
            }
            Advice::TrainMoreOrFewerFeatures => "Train on more tokens, or fewer features.",
            Advice::MoreSteps => "More steps would help.",
            Advice::CentreInput => {
                "Many features share a direction; centre the input with `input` = `centre_and_scale`."
            }
            Advice::TrainOnOtherData => "Train on texts, or at a site, where activations differ.",
        })
    }
}

impl Serialize for Advice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
