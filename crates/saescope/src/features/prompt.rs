//! Features of prompts with the texts that they belong to, as they are shown to users.

use serde::Serialize;

use super::{FeatureActivation, Position, TopFeatures};

/// The strongest features of one row of a prompt, with its text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptFeatures<'a> {
    /// The text of the prompt.
    pub prompt: &'a str,
    /// The position of the token, or the pooling of several.
    pub position: Position,
    /// The text of the token; none if several were pooled.
    pub token: Option<&'a str>,
    /// The features, the strongest first.
    pub features: Vec<FeatureActivation>,
}

impl<'a> PromptFeatures<'a> {
    /// The row `found`, which was read at `asked`, of a prompt whose tokens have the texts `tokens`.
    pub fn new(
        found: TopFeatures,
        asked: Position,
        prompt: &'a str,
        tokens: &'a [String],
    ) -> PromptFeatures<'a> {
        PromptFeatures {
            prompt,
            position: found.position.map_or(asked, Position::At),
            token: found.position.map(|at| tokens[at].as_str()),
            features: found.features,
        }
    }
}

/// One feature on every token of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureTrace<'a> {
    /// The text of the prompt.
    pub prompt: &'a str,
    /// Id of the feature.
    pub feature: u32,
    /// The tokens in their order.
    pub tokens: Vec<TokenActivation<'a>>,
}

/// The activation of a feature on one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenActivation<'a> {
    /// Position of the token.
    pub position: usize,
    /// Its text.
    pub token: &'a str,
    /// The activation; 0 if the feature is not active.
    pub activation: f32,
}

impl<'a> FeatureTrace<'a> {
    /// The `activations` of `feature` on a prompt whose tokens have the texts `tokens`.
    pub fn new(
        prompt: &'a str,
        feature: u32,
        tokens: &'a [String],
        activations: &[f32],
    ) -> FeatureTrace<'a> {
        let tokens = tokens.iter().zip(activations).enumerate();
        FeatureTrace {
            prompt,
            feature,
            tokens: tokens
                .map(|(position, (token, &activation))| TokenActivation {
                    position,
                    token,
                    activation,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pooling::Pooling;

    #[test]
    fn a_row_serialises_with_a_number_or_the_name_of_its_pooling() {
        let tokens = ["a".to_owned(), " b".to_owned()];
        let row = |position, asked| {
            let found = TopFeatures {
                prompt: 0,
                position,
                features: vec![FeatureActivation {
                    feature: 3,
                    activation: 0.5,
                }],
            };
            serde_json::to_string(&PromptFeatures::new(found, asked, "a b", &tokens)).unwrap()
        };
        assert_eq!(
            row(Some(1), Position::All),
            r#"{"prompt":"a b","position":1,"token":" b","features":[{"feature":3,"activation":0.5}]}"#
        );
        assert_eq!(
            row(None, Position::Pooled(Pooling::Max)),
            r#"{"prompt":"a b","position":"max","token":null,"features":[{"feature":3,"activation":0.5}]}"#
        );
    }
}
