//! Finds the tokenizer of a model.

use std::path::Path;

use super::Tokenizer;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// The tokenizer of the model at `path`, a file or a folder.
pub(super) fn of_model(path: &Path) -> Result<Tokenizer> {
    let folder = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    let folder = folder.unwrap_or(Path::new(""));
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        // A folder that holds only a tokenizer can still encode a text. A folder without one is
        // refused as a model.
        Err(error) if path.is_dir() => {
            return match Tokenizer::from_folder(folder) {
                Err(Error::Format { path, .. }) if path == folder => Err(error),
                read => read,
            };
        }
        Err(error) => return Err(error),
    };
    if let Some(metadata) = checkpoint.gguf() {
        Tokenizer::from_gguf(metadata)
    } else if let Some(header) = checkpoint.llama2c() {
        beside_llama2c(folder, header.vocab_size)
    } else {
        Tokenizer::from_folder(folder)
    }
}

/// llama2.c names the tokenizer of its large models `tokenizer.bin`, and those of others by size.
fn beside_llama2c(folder: &Path, d_vocab: usize) -> Result<Tokenizer> {
    let names = [format!("tok{d_vocab}.bin"), "tokenizer.bin".to_owned()];
    let paths = names.each_ref().map(|name| folder.join(name));
    let Some(path) = paths.iter().find(|path| path.is_file()) else {
        let reason = format!(
            "there is no tokenizer here: neither {} nor {}",
            names[0], names[1]
        );
        return Err(Error::format(folder, reason));
    };
    Tokenizer::from_llama2c(path, d_vocab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_the_file_in_it_have_the_same_tokenizer() {
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
        let folder = Path::new(tests).join("data/stories260K");
        for path in [folder.clone(), folder.join("stories260K.bin")] {
            assert_eq!(of_model(&path).unwrap().d_vocab(), 512);
        }
        let only_tokenizer = Path::new(tests).join("data/tokenizers/gpt2");
        assert_eq!(of_model(&only_tokenizer).unwrap().d_vocab(), 50257);
    }

    #[test]
    fn a_folder_without_a_model_is_refused_as_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let error = of_model(folder.path()).err().unwrap().to_string();
        assert!(error.contains("holds no checkpoint"), "{error}");
    }

    #[test]
    fn a_missing_tokenizer_is_refused_with_the_names_that_were_tried() {
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.bin");
        std::fs::copy(format!("{tests}/data/stories260K/stories260K.bin"), &model).unwrap();
        let error = of_model(&model).err().unwrap().to_string();
        assert!(error.contains("tok512.bin"), "{error}");
    }
}
