//! Ids against those of Hugging Face's libraries, which `tests/golden/make_tokens.py` wrote.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Golden {
    /// By text: a hash of the ids of every line, 8 hex digits each.
    hashes: std::collections::BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    /// The decoded text where it differs from `text`.
    decoded: Option<String>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

fn data(name: &str) -> PathBuf {
    tests().join("data/tokenizers").join(name)
}

fn fnv(ids: &[u32]) -> String {
    let hash = ids
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("{hash:08x}")
}

/// Compares with every golden id. `normalizes` is true if decoding need not give the text back.
fn compare(tokenizer: &Tokenizer, name: &str, normalizes: bool) {
    let read = |path: &str| std::fs::read(tests().join(path)).unwrap();
    let golden: Golden =
        serde_json::from_slice(&read(&format!("golden/tokens/{name}.json"))).unwrap();
    for sample in &golden.samples {
        let ids = tokenizer.encode(&sample.text, Bos::Auto).unwrap();
        assert_eq!(ids, sample.ids, "{name}: {:?}", sample.text);
        let decoded = sample.decoded.as_ref().unwrap_or(&sample.text);
        assert_eq!(&tokenizer.decode(&ids), decoded, "{name}");
        let pieces = tokenizer.readable_pieces(&ids);
        let covered = pieces.iter().flat_map(|piece| piece.tokens.clone());
        assert!(covered.eq(0..ids.len()), "{name}: {:?}", sample.text);
    }
    assert_eq!(golden.hashes.len(), 4);
    for (text, hashes) in &golden.hashes {
        let lines = String::from_utf8(read(&format!("data/text/{text}.txt"))).unwrap();
        assert_eq!(lines.lines().count() * 8, hashes.len());
        for (line, hash) in lines.lines().zip(hashes.as_bytes().chunks(8)) {
            let ids = tokenizer.encode(line, Bos::Auto).unwrap();
            assert_eq!(fnv(&ids).as_bytes(), hash, "{name}: {text}: {line}");
            let decoded = tokenizer.decode_bytes(&ids);
            assert!(normalizes || decoded == line.as_bytes(), "{name}: {line}");
            let mut stream = StreamDecoder::new(tokenizer);
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            assert_eq!(streamed.as_bytes(), decoded, "{name}: {line}");
        }
    }
}

#[test]
fn gpt2_from_vocab_and_merges_gives_the_known_ids() {
    let tokenizer = Tokenizer::from_folder(&data("gpt2")).unwrap();
    assert_eq!(tokenizer.d_vocab(), 50257);
    assert_eq!(tokenizer.bos(), Some(50256));
    assert_eq!(tokenizer.eos_ids(), [50256]);
    assert!(!tokenizer.adds_bos());
    assert_eq!(tokenizer.encode("Hi", Bos::Always).unwrap(), [50256, 17250]);
    compare(&tokenizer, "gpt2", false);
}

/// GPT-2's tokenizer as `tokenizer.json`, which holds the same vocabulary and merges.
fn gpt2_json() -> serde_json::Value {
    let vocab = std::fs::read(data("gpt2/vocab.json")).unwrap();
    let merges = std::fs::read_to_string(data("gpt2/merges.txt")).unwrap();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 50256, "content": "<|endoftext|>", "special": true, "normalized": true,
            "single_word": false, "lstrip": false, "rstrip": false,
        }],
        "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": serde_json::from_slice::<serde_json::Value>(&vocab).unwrap(),
            "merges": merges.lines().skip(1).collect::<Vec<_>>(),
        },
    })
}

#[test]
fn gpt2_from_tokenizer_json_gives_the_known_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, gpt2_json().to_string()).unwrap();
    compare(
        &Tokenizer::from_folder(folder.path()).unwrap(),
        "gpt2",
        false,
    );
}

#[test]
fn smollm2_gives_the_known_ids() {
    let tokenizer = Tokenizer::from_folder(&data("smollm2")).unwrap();
    assert_eq!(tokenizer.d_vocab(), 49152);
    assert!(tokenizer.chat_template().unwrap().contains("<|im_start|>"));
    compare(&tokenizer, "smollm2", false);
}

#[test]
fn pythia_gives_the_known_ids_and_its_bos_is_zero() {
    let tokenizer = Tokenizer::from_folder(&data("pythia")).unwrap();
    assert_eq!(tokenizer.bos(), Some(0));
    assert_eq!(tokenizer.encode("", Bos::Always).unwrap(), [0]);
    assert!(!tokenizer.adds_bos());
    // This tokenizer composes characters first.
    compare(&tokenizer, "pythia", true);
}

#[test]
fn llama2c_gives_the_ids_of_its_own_loop() {
    let path = tests().join("data/stories260K/tok512.bin");
    let tokenizer = Tokenizer::from_llama2c(&path, 512).unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos_ids()),
        (Some(1), [2].as_slice())
    );
    assert!(tokenizer.adds_bos());
    compare(&tokenizer, "llama2c", false);
    assert!(Tokenizer::from_llama2c(&path, 511).is_err());
}

#[test]
fn the_files_beside_a_tokenizer_name_its_special_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: serde_json::Value| {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    let mut tokenizer = gpt2_json();
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    for (id, content) in [(50257, "<s>"), (50258, "</s>"), (50259, "<turn>")] {
        added.push(json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }));
    }
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [50257], "tokens": ["<s>"]}},
    });
    tokenizer["truncation"] = json!({
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
    });
    write("tokenizer.json", tokenizer.clone());
    write(
        "tokenizer_config.json",
        json!({
            "bos_token": {"content": "<s>"}, "eos_token": "</s>",
            "chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}],
        }),
    );
    write(
        "generation_config.json",
        json!({"eos_token_id": [50259, 50258]}),
    );
    let found = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(found.bos(), Some(50257));
    assert_eq!(found.eos_ids(), [50258, 50259]);
    assert!(found.adds_bos());
    assert_eq!(found.chat_template(), Some("yes"));
    let ids = found.encode("a b c d e<turn>", Bos::Auto).unwrap();
    assert_eq!((ids.len(), ids[0], ids[6]), (7, 50257, 50259));
    assert_eq!(found.encode_raw("a").unwrap().len(), 1);
    assert_eq!(found.decode(&ids), "a b c d e");

    tokenizer["post_processor"] = json!(null);
    write("tokenizer.json", tokenizer);
    write(
        "tokenizer_config.json",
        json!({"bos_token": null, "eos_token": "</s>"}),
    );
    let found = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(found.bos(), None);
    assert!(matches!(
        found.encode("a", Bos::Always),
        Err(Error::Tokenizer(_))
    ));
    write(
        "tokenizer_config.json",
        json!({"bos_token": "<s>", "add_bos_token": true}),
    );
    // The template in tokenizer.json decides, and there is none.
    assert!(!Tokenizer::from_folder(folder.path()).unwrap().adds_bos());
}

#[test]
fn korean_letters_of_several_tokens_are_shown_whole() {
    let tokenizer = Tokenizer::from_folder(&data("gpt2")).unwrap();
    let ids = tokenizer.encode("뷁 ok 😀", Bos::Always).unwrap();
    let pieces = tokenizer.readable_pieces(&ids);
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["<|endoftext|>", "뷁", " ok", " 😀"]);
    assert!(pieces[1].tokens.len() > 1);
    // A control token within a letter breaks it.
    let broken = [ids[1], 50256];
    let texts: Vec<String> = tokenizer
        .readable_pieces(&broken)
        .into_iter()
        .map(|piece| piece.text)
        .collect();
    assert_eq!(texts, ["\u{fffd}", "<|endoftext|>"]);
    assert_eq!(tokenizer.decode(&ids[1..2]), "\u{fffd}");
    assert_eq!(tokenizer.decode_bytes(&ids[1..2]), tokenizer.piece(ids[1]));
}

proptest::proptest! {
    #[test]
    fn no_edit_of_a_file_makes_it_panic(
        edits in proptest::collection::vec((0usize..2000, proptest::num::u8::ANY), 0..4),
        text in "\\PC{0,8}",
    ) {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
        let cut = json!({"type": "Split", "pattern": {"Regex": " ?\\p{L}+"}, "behavior": "Isolated", "invert": false});
        let file = json!({
            "added_tokens": [{
                "id": 3, "content": "<s>", "special": true, "normalized": false,
                "single_word": false, "lstrip": true, "rstrip": false,
            }],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, byte_level]},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
            },
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "unk_token": "a"},
        });
        let mut file = file.to_string().into_bytes();
        for (at, byte) in edits {
            let len = file.len();
            file[at % len] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), file).unwrap();
        if let Ok(tokenizer) = Tokenizer::from_folder(folder.path())
            && let Ok(ids) = tokenizer.encode(&text, Bos::Auto)
        {
            tokenizer.readable_pieces(&ids);
        }
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let open = || Tokenizer::from_folder(folder.path());
    assert!(matches!(open(), Err(Error::Format { path, .. }) if path == folder.path()));
    let mut other = gpt2_json();
    other["decoder"] = json!({"type": "CTC", "pad_token": "<pad>", "cleanup": true});
    let mut id = gpt2_json();
    id["model"]["vocab"]["zzzz"] = json!(4_000_000_000_u32);
    for broken in [
        "",
        "{}",
        "[]",
        "{\"decoder\": {\"type\": \"ByteLevel\"}}",
        &other.to_string(),
        &id.to_string(),
    ] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(open(), Err(Error::Format { path: named, .. }) if named == path));
    }
    std::fs::remove_file(&path).unwrap();
    for (name, text) in [
        ("vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2}"),
        ("merges.txt", "a b\na c d\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert!(matches!(open(), Err(Error::Format { path, .. }) if path.ends_with("merges.txt")));
    std::fs::write(folder.path().join("merges.txt"), "a b\n").unwrap();
    assert_eq!(open().unwrap().encode_raw("abba").unwrap(), [2, 1, 0]);
    let config = r#"{"tokenizer_class": "Qwen2Tokenizer"}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    assert!(matches!(open(), Err(Error::Unsupported { .. })));
}
