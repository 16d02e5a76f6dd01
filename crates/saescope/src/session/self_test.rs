//! The self-test of an autoencoder: does it reconstruct a few plain texts on its model?

use serde::Serialize;

use super::{LanguageModel, Warning};
use crate::error::Result;
use crate::features::{self, Fit};
use crate::origin::Origin;
use crate::sae::NamedSae;
use crate::tokenizer::Text;

/// The texts of the self-test: plain prose, each shorter than the context of any autoencoder.
const TEXTS: [&str; 4] = [
    "The old lighthouse stood at the edge of the harbour. Every evening its keeper climbed the stairs, \
     lit the lamp and watched the boats come home.",
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One \
     day, she saw a big, red ball under a tree.",
    "Water boils at a lower temperature on a mountain than at the sea, because there is less air above \
     it to press it down.",
    "\"I did not know that you were here,\" he said. She laughed, shut the door behind her and put the \
     letter on the table.",
];

/// The fit of an autoencoder on the texts of the self-test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelfTest {
    /// The model that it was measured on.
    #[serde(flatten)]
    pub origin: Origin,
    /// The fit.
    #[serde(flatten)]
    pub fit: Fit,
    /// Ways in which the texts differ from those that the autoencoder was trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl SelfTest {
    /// Measures how well `named` reconstructs the activations of `lm` on a few texts.
    ///
    /// # Errors
    /// When a text cannot be encoded, or the autoencoder does not fit the model.
    pub fn run(lm: &LanguageModel, named: &NamedSae) -> Result<SelfTest> {
        let texts = TEXTS.map(Text::from);
        let ids = lm.encode(&texts)?;
        let prompts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let fit = features::fit(&lm.model, &named.sae, &prompts)
            .map_err(|error| error.at(lm.reference.clone()))?;
        Ok(SelfTest {
            origin: lm.origin(),
            fit,
            warnings: named.check_texts(lm, &texts, &ids),
        })
    }
}
