//! Things that lie where an autoencoder should be: models, adapters, vectors. Tensors tell them apart.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::site::Site;
use crate::stand_in;

/// The last part but one of the names that families of models give their embedding.
const EMBEDDINGS: [&str; 7] = [
    "embed_tokens",
    "wte",
    "embed_in",
    "token_embd",
    "token_embedding_table",
    "tok_embeddings",
    "word_embeddings",
];

/// Refuses weights that are recognised as something else than an autoencoder.
pub(super) fn check(weights: &Checkpoint) -> Result<()> {
    let path = weights.path();
    let any = |is: fn(&str) -> bool| weights.names().any(is);
    if any(|name| name.contains(".lora_A.") || name.contains(".lora_B.")) {
        let reason = "it is an adapter (LoRA), which changes a model, and no autoencoder; name an autoencoder";
        return Err(Error::format(path, reason));
    }
    if any(is_embedding) {
        return Err(Error::ModelAsSae {
            path: path.to_path_buf(),
        });
    }
    let is_direction = |name: &str| {
        let layer = name.strip_prefix("direction.");
        layer.is_some_and(|layer| layer.parse::<u32>().is_ok()) || name.parse::<Site>().is_ok()
    };
    if any(is_direction) {
        let reason = "it holds directions or activations at sites of a model, as steering vectors do, and \
                      no autoencoder; name an autoencoder";
        return Err(Error::format(path, reason));
    }
    Ok(())
}

/// Refuses a folder that is recognised as something else than an autoencoder's.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    if let Some(adapter) = stand_in::folder::adapter_name(folder) {
        let reason = format!("the folder holds {adapter}, and no autoencoder; name an autoencoder");
        return Err(Error::format(folder, reason));
    }
    match Checkpoint::open(folder) {
        Ok(weights) if weights.names().any(is_embedding) => Err(Error::ModelAsSae {
            path: folder.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

fn is_embedding(name: &str) -> bool {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    EMBEDDINGS.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_told_from_tensors_of_autoencoders() {
        for name in [
            "model.embed_tokens.weight",
            "model.language_model.embed_tokens.weight",
            "transformer.wte.weight",
            "token_embd.weight",
            "token_embedding_table",
        ] {
            assert!(is_embedding(name), "{name}");
        }
        for name in ["W_enc", "encoder.weight", "wte.bias", "threshold"] {
            assert!(!is_embedding(name), "{name}");
        }
    }
}
