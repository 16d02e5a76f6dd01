//! SentencePiece's Unigram, against transformers and SentencePiece: `tests/golden/make_unigram.py` wrote the
//! cases.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;

#[derive(Deserialize)]
struct Golden {
    /// By kind: the contents of the file in base64.
    models: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    file: String,
    config: Value,
    size: usize,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn golden() -> Golden {
    let path = "../../tests/golden/tokens/unigram.json";
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The tokenizer of a model in base64 under a name, with a configuration beside it.
fn open(model: &Value, name: &str, config: &Value) -> Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let model = BASE64_STANDARD.decode(model.as_str().unwrap()).unwrap();
    std::fs::write(folder.path().join(name), model).unwrap();
    let config = config.to_string();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    Tokenizer::from_folder(folder.path())
}

#[test]
fn unigram_gives_the_ids_of_its_owners() {
    let Golden { models, cases } = golden();
    assert!(cases.len() > 20);
    let mut differences = Vec::new();
    for case in &cases {
        let tokenizer = open(&models[&case.kind], &case.file, &case.config).unwrap();
        assert!(tokenizer.kind().contains("Unigram"));
        assert_eq!(
            tokenizer.d_vocab(),
            case.size,
            "{} {}",
            case.kind,
            case.config
        );
        for (text, expected) in case.texts.iter().zip(&case.ids) {
            let ids = tokenizer.encode(text, Bos::Auto).unwrap();
            if ids != *expected {
                let place = format!("{} {} {text:?}", case.kind, case.config);
                differences.push(format!("{place}: {ids:?}, not {expected:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn unigram_decodes_to_the_text() {
    let models = golden().models;
    let tokenizer = open(&models["bytes"], "tokenizer.model", &json!({})).unwrap();
    for text in ["Hi hello the world", "the old 한 man"] {
        let ids = tokenizer.encode_raw(text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn classes_with_ids_of_their_own_are_refused_by_name() {
    let models = golden().models;
    for class in ["XLMRobertaTokenizer", "GPT2TokenizerFast", "GemmaTokenizer"] {
        let config = json!({"tokenizer_class": class});
        let error = open(&models["plain"], "tokenizer.model", &config).err();
        let error = error.expect(class).to_string();
        let named = error.contains(class.trim_end_matches("Fast"));
        assert!(named && error.contains("tokenizer.json"), "{error}");
    }
    let sentinels = json!({"tokenizer_class": "T5Tokenizer", "extra_ids": 1_000_000_000});
    let error = open(&models["t5"], "spiece.model", &sentinels).err();
    assert!(error.unwrap().to_string().contains("extra_ids"));
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_vocabulary_makes_it_panic(
        edits in proptest::collection::vec((0usize..4000, proptest::num::u8::ANY), 1..4),
        cut in proptest::option::of(0usize..4000),
    ) {
        let models = golden().models;
        let mut model = BASE64_STANDARD.decode(models["bytes"].as_str().unwrap()).unwrap();
        for (at, byte) in edits {
            let len = model.len();
            model[at % len] = byte;
        }
        model.truncate(cut.map_or(model.len(), |cut| cut % model.len()));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.model"), model).unwrap();
        if let Ok(tokenizer) = Tokenizer::from_folder(folder.path())
            && let Ok(ids) = tokenizer.encode("Hi 한 the\u{0}world", Bos::Auto)
        {
            tokenizer.readable_pieces(&ids);
        }
    }
}
