//! The files of tokenizers. The first byte names the kind: `j` a `tokenizer.json`; `b` the number of tokens
//! in two bytes and llama2.c's `tokenizer.bin`; `v` a `vocab.json`, a zero byte and its `merges.txt`; `s`
//! SentencePiece's `tokenizer.model`; `c` a `tokenizer_config.json`, a zero byte and a `special_tokens_map.json`
//! beside a small `tokenizer.json`.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use saescope::Result;
use saescope::tokenizer::{Bos, Tokenizer};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| TempDir::new().expect("a temporary folder can be made"));

/// Writes the files that `bytes` hold and reads them; `None` for an unknown kind.
fn read(folder: &Path, bytes: &[u8]) -> Option<Result<Tokenizer>> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("a temporary file can be written");
        path
    };
    match bytes {
        [b'j', json @ ..] => Some(Tokenizer::from_file(&write("t.json", json))),
        [b'b', low, high, file @ ..] => {
            let d_vocab = usize::from(u16::from_le_bytes([*low, *high]));
            Some(Tokenizer::from_llama2c(&write("t.bin", file), d_vocab))
        }
        [b'v', both @ ..] => {
            let cut = both.iter().position(|byte| *byte == 0)?;
            write("vocab.json", &both[..cut]);
            write("merges.txt", &both[cut + 1..]);
            Some(Tokenizer::from_folder(folder))
        }
        [b's', model @ ..] => {
            let folder = subfolder(folder, "sentencepiece");
            std::fs::write(folder.join("tokenizer.model"), model).expect("a temporary file can be written");
            Some(Tokenizer::from_folder(&folder))
        }
        [b'c', both @ ..] => {
            let cut = both.iter().position(|byte| *byte == 0)?;
            let folder = subfolder(folder, "companions");
            let files = [
                ("tokenizer.json", TOKENIZER.as_bytes()),
                ("tokenizer_config.json", &both[..cut]),
                ("special_tokens_map.json", &both[cut + 1..]),
            ];
            for (name, bytes) in files {
                std::fs::write(folder.join(name), bytes).expect("a temporary file can be written");
            }
            Some(Tokenizer::from_folder(&folder))
        }
        _ => None,
    }
}

/// A tokenizer of three letters.
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "ByteLevel",
    "add_prefix_space": false, "trim_offsets": true, "use_regex": true}, "decoder": {"type": "ByteLevel",
    "add_prefix_space": false, "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE",
    "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}"#;

fn subfolder(folder: &Path, name: &str) -> std::path::PathBuf {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let folder = FOLDER.path();
    match read(folder, bytes) {
        None => {}
        Some(Err(error)) => {
            let place = folder.to_string_lossy();
            assert!(error.to_string().contains(&*place), "{error}");
        }
        Some(Ok(tokenizer)) => {
            for id in 0..tokenizer.d_vocab().min(1000) as u32 {
                tokenizer.piece(id);
            }
            for text in [
                "",
                "Once upon a time",
                " \u{301}\u{d55c}\u{ad6d}\u{1f600}\n\0",
            ] {
                if let Ok(ids) = tokenizer.encode(text, Bos::Auto) {
                    tokenizer.decode(&ids);
                }
            }
        }
    }
});
