//! The origin of a result: everything that a call read and chose, to be kept with its output.

use serde::{Deserialize, Serialize};

use crate::edit::Edit;
use crate::site::Site;

/// The origin of a result. Parts that a call does not have are omitted from its JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Reference of the autoencoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sae: Option<String>,
    /// Reference of the model.
    pub model: String,
    /// The site that the autoencoder reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The number format of the model's weights in memory: `f32` or `bf16`.
    pub dtype: String,
    /// The rule for the beginning-of-sequence token: `auto`, `always` or `never`.
    pub bos: String,
    /// The edits under which the model ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// The seed of random choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}
