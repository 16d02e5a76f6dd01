//! The files beside a tokenizer, against transformers: `tests/golden/make_companions.py` wrote the cases.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    /// By kind: the contents of `tokenizer.json`, those of `tokenizer.model` in base64, or several files.
    kinds: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    files: Map<String, Value>,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    bos: Option<u32>,
    eos: Option<u32>,
    special: Vec<u32>,
    ids: Vec<Vec<u32>>,
}

fn golden() -> Golden {
    let path = "../../tests/golden/tokens/companions.json";
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The tokenizer of a kind, with other files beside it.
fn open(kinds: &Map<String, Value>, kind: &str, files: &Map<String, Value>) -> Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    match kind {
        "two_files" => {
            for (name, text) in kinds[kind].as_object().unwrap() {
                write(name, text.as_str().unwrap());
            }
        }
        _ => match &kinds[kind] {
            Value::String(model) => {
                let model = BASE64_STANDARD.decode(model).unwrap();
                std::fs::write(folder.path().join("tokenizer.model"), model).unwrap();
            }
            json => write("tokenizer.json", &json.to_string()),
        },
    }
    for (name, value) in files {
        write(name, &value.to_string());
    }
    Tokenizer::from_folder(folder.path())
}

#[test]
fn files_beside_a_tokenizer_mean_the_same_as_in_transformers() {
    let Golden {
        texts,
        kinds,
        cases,
    } = golden();
    assert!(cases.len() > 600);
    let differences: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let found = read(&kinds, &texts, case);
            let files = json!(case.files);
            (found != case.expected).then(|| {
                format!(
                    "{} with {files}: {found:?}, not {:?}",
                    case.kind, case.expected
                )
            })
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {}: {differences:#?}",
        differences.len(),
        cases.len()
    );
}

/// The tokenizer's part of a case.
fn read(kinds: &Map<String, Value>, texts: &[String], case: &Case) -> Expected {
    let tokenizer = open(kinds, &case.kind, &case.files);
    let tokenizer = tokenizer.unwrap_or_else(|error| panic!("{:?}: {error}", case.files));
    let len = u32::try_from(tokenizer.d_vocab()).unwrap();
    Expected {
        bos: tokenizer.bos(),
        eos: tokenizer.eos_ids().first().copied(),
        special: (0..len).filter(|&id| tokenizer.is_special(id)).collect(),
        ids: texts
            .iter()
            .map(|text| tokenizer.encode(text, Bos::Auto).unwrap())
            .collect(),
    }
}

/// The message of the refusal of a byte-level tokenizer with a file beside it.
fn refusal(name: &str, value: Value) -> String {
    let files = Map::from_iter([(name.to_owned(), value)]);
    let error = open(&golden().kinds, "bytes", &files).err();
    error.expect(name).to_string()
}

#[test]
fn files_that_contradict_the_vocabulary_are_refused_by_name() {
    let token = json!({"content": "<x>", "special": true});
    let decoder = json!({"added_tokens_decoder": {"300": token}});
    let said = refusal("tokenizer_config.json", decoder);
    assert!(
        said.contains("tokenizer_config.json") && said.contains("`<x>` has the id 300"),
        "{said}"
    );
    let said = refusal("added_tokens.json", json!({"<x>": 5}));
    assert!(said.contains("`<x>` has the id 5 here, but 260"), "{said}");
}

#[test]
fn tokens_that_are_none_are_refused_by_name() {
    for (name, value, key) in [
        (
            "tokenizer_config.json",
            json!({"eos_token": {"text": "<x>"}}),
            "eos_token",
        ),
        (
            "tokenizer_config.json",
            json!({"pad_token": [1, 2]}),
            "pad_token",
        ),
        (
            "tokenizer_config.json",
            json!({"extra_special_tokens": "<x>"}),
            "extra_special_tokens",
        ),
        (
            "tokenizer_config.json",
            json!({"add_prefix_space": "yes"}),
            "add_prefix_space",
        ),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"x": {"content": "y"}}}),
            "added_tokens_decoder",
        ),
        (
            "special_tokens_map.json",
            json!({"additional_special_tokens": [3]}),
            "additional_special_tokens",
        ),
        ("added_tokens.json", json!({"<x>": -1}), "<x>"),
        (
            "generation_config.json",
            json!({"eos_token_id": {"id": 3}}),
            "eos_token_id",
        ),
    ] {
        let said = refusal(name, value);
        assert!(
            said.contains(name) && said.contains(&format!("`{key}`")),
            "{said}"
        );
    }
}

#[test]
fn every_end_of_text_of_the_model_ends_a_text() {
    let Golden { kinds, .. } = golden();
    let ends = |files: Value| {
        let tokenizer = open(&kinds, "bytes", files.as_object().unwrap()).unwrap();
        tokenizer.eos_ids().to_vec()
    };
    let own = json!({"eos_token": "<s>"});
    let generation = json!({"eos_token_id": [258, 65]});
    let model = json!({"eos_token_id": 66});
    let both = json!({"tokenizer_config.json": own, "generation_config.json": generation, "config.json": model});
    assert_eq!(ends(both), [259, 258, 65]);
    let older = json!({"tokenizer_config.json": own, "config.json": model});
    assert_eq!(ends(older), [259, 66]);
    // An end that only the model may know, such as the default of GPT-2's configuration.
    let outside = json!({"tokenizer_config.json": own, "config.json": {"eos_token_id": 50256}});
    assert_eq!(ends(outside), [259, 50256]);
    assert_eq!(
        ends(json!({"config.json": {"eos_token_id": 50256}})),
        [258, 50256]
    );
}

#[test]
fn words_of_a_word_piece_tokenizer_are_shown_with_their_spaces() {
    let tokenizer = open(&golden().kinds, "word_piece", &Map::new()).unwrap();
    let ids = tokenizer.encode("Hi hihi hs", Bos::Auto).unwrap();
    assert_eq!(ids, [2, 4, 4, 5, 6, 7, 3]);
    assert_eq!(tokenizer.decode(&ids), "hi hihi hs");
}

#[test]
fn files_that_are_no_tokenizer_of_sentence_piece_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.model");
    let mut cut = BASE64_STANDARD
        .decode(golden().kinds["spm_llama"].as_str().unwrap())
        .unwrap();
    cut.truncate(cut.len() - 3);
    // A file of tiktoken's, an empty one, kinds of words and characters, and a token that was cut.
    for bytes in [
        &b"IQ== 0\nIg== 1\n"[..],
        b"",
        b"\x0a\x03\x0a\x01a\x12\x02\x18\x03",
        b"\x0a\x03\x0a\x01a\x12\x02\x18\x04",
        &cut,
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Tokenizer::from_folder(folder.path())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("tokenizer.model: "), "{error}");
    }
}

#[test]
fn special_tokens_have_the_names_of_their_keys() {
    let config = json!({
        "bos_token": "<s>", "image_token": {"content": "<x>"}, "add_bos_token": true, "pad_token": null,
        "extra_special_tokens": {"audio_token": "<y>"},
    });
    let files = Map::from_iter([("tokenizer_config.json".to_owned(), config)]);
    let tokenizer = open(&golden().kinds, "bytes", &files).unwrap();
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let named = [
        pair("bos_token", "<s>"),
        pair("image_token", "<x>"),
        pair("audio_token", "<y>"),
    ];
    assert_eq!(tokenizer.special_tokens(), named);
}
