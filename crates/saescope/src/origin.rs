//! The origin of a result: everything that a call read and chose, to be kept with its output.

use saescope_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::edit::Edit;
use crate::site::Site;
use crate::tokenizer::Bos;

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
    /// The precision of the model's weights in memory.
    pub dtype: Precision,
    /// The rule for the beginning-of-sequence token.
    pub bos: Bos,
    /// The edits under which the model ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// The seed of random choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_bos_serialise_by_their_names() {
        for (dtype, bos) in Precision::ALL.into_iter().zip(Bos::ALL) {
            let origin = Origin {
                dtype,
                bos,
                ..Origin::default()
            };
            assert_eq!(
                serde_json::to_string(&origin).unwrap(),
                format!(
                    r#"{{"model":"","dtype":"{}","bos":"{}"}}"#,
                    dtype.name(),
                    bos.name()
                )
            );
        }
        assert_eq!(serde_json::to_string(&Bos::Never).unwrap(), "\"never\"");
    }
}
