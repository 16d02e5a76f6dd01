//! Vocabularies in GGUF files that these tests write.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::tokenizer::Bos;

/// A GGUF without tensors.
#[derive(Default)]
struct Gguf {
    count: u64,
    pairs: Vec<u8>,
}

impl Gguf {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Gguf {
        self.count += 1;
        Gguf::text(&mut self.pairs, &format!("tokenizer.{key}"));
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self
    }

    fn str(self, key: &str, value: &str) -> Gguf {
        let mut bytes = Vec::new();
        Gguf::text(&mut bytes, value);
        self.pair(key, 8, &bytes)
    }

    fn bool(self, key: &str, value: bool) -> Gguf {
        self.pair(key, 7, &[u8::from(value)])
    }

    fn u32(self, key: &str, value: u32) -> Gguf {
        self.pair(key, 4, &value.to_le_bytes())
    }

    fn array(self, key: &str, kind: u32, len: usize, items: &[u8]) -> Gguf {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((len as u64).to_le_bytes());
        bytes.extend(items);
        self.pair(key, 9, &bytes)
    }

    fn strs<S: AsRef<str>>(self, key: &str, values: &[S]) -> Gguf {
        let mut items = Vec::new();
        for value in values {
            Gguf::text(&mut items, value.as_ref());
        }
        self.array(key, 8, values.len(), &items)
    }

    fn i32s(self, key: &str, values: &[i32]) -> Gguf {
        let items: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &items)
    }

    fn f32s(self, key: &str, values: &[f32]) -> Gguf {
        let items: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.array(key, 6, values.len(), &items)
    }

    fn read(&self) -> Result<Tokenizer> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(self.count.to_le_bytes());
        file.extend(&self.pairs);
        let checkpoint = Checkpoint::from_bytes(Path::new("test.gguf"), file).unwrap();
        Tokenizer::from_gguf(checkpoint.gguf().unwrap())
    }
}

/// A SentencePiece vocabulary: special tokens, two bytes, words, and a user's own tokens.
fn sentence_piece(score_count: usize) -> Gguf {
    let tokens = [
        "<unk>",
        "<s>",
        "</s>",
        "<0xEA>",
        "<0x0A>",
        "▁",
        "a",
        "b",
        "▁a",
        "ab",
        "[USER]",
        "▁▁▁",
    ];
    let mut types = [1; 12];
    types[..5].copy_from_slice(&[UNKNOWN, CONTROL, CONTROL, BYTE, BYTE]);
    types[10..].copy_from_slice(&[USER_DEFINED; 2]);
    let scores: Vec<f32> = (0..score_count).map(|id| -(id as f32)).collect();
    Gguf::default()
        .str("ggml.model", "llama")
        .strs("ggml.tokens", &tokens)
        .i32s("ggml.token_type", &types)
        .f32s("ggml.scores", &scores)
}

fn ids(gguf: &Gguf, text: &str) -> Vec<u32> {
    gguf.read().unwrap().encode(text, Bos::Auto).unwrap()
}

#[test]
fn sentence_piece_has_the_defaults_of_llama_cpp() {
    let gguf = sentence_piece(12);
    let tokenizer = gguf.read().unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos_ids()),
        (Some(1), [2].as_slice())
    );
    assert!(tokenizer.adds_bos());
    assert_eq!(ids(&gguf, "ab a"), [1, 8, 7, 8]);
    assert_eq!(tokenizer.decode(&[1, 8, 7, 8]), "ab a");
    // A letter is unknown unless all of its bytes have tokens.
    assert_eq!(ids(&gguf, "\n한"), [1, 5, 4, 0]);
    // A space is put before each stretch of text, also between whole tokens.
    assert_eq!(ids(&gguf, "a[USER]a</s>"), [1, 8, 10, 8, 2]);
    assert_eq!(ids(&gguf, "a   b▁a"), [1, 8, 11, 5, 7, 8]);
}

#[test]
fn keys_of_the_file_override_the_defaults() {
    let gguf = sentence_piece(12)
        .bool("ggml.add_space_prefix", false)
        .bool("ggml.add_bos_token", false)
        .bool("ggml.add_eos_token", true)
        .u32("ggml.bos_token_id", 6)
        .u32("ggml.eos_token_id", 7)
        .u32("ggml.eot_token_id", 2)
        .str("chat_template", "template");
    assert_eq!(ids(&gguf, "ab"), [9, 7]);
    let tokenizer = gguf.read().unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos_ids()),
        (Some(6), [7, 2].as_slice())
    );
    assert_eq!(tokenizer.chat_template(), Some("template"));
}

#[test]
fn byte_level_gives_the_ids_of_the_tokenizer_json_it_was_made_from() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
    let read = |path: &str| -> Value {
        let bytes = std::fs::read(format!("{root}/{path}")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let json = read("data/tokenizers/smollm2/tokenizer.json");
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let mut types = vec![1; tokens.len()];
    types[..17].fill(CONTROL);
    let merges = json["model"]["merges"].as_array().unwrap();
    let merges: Vec<&str> = merges.iter().map(|line| line.as_str().unwrap()).collect();
    let gguf = Gguf::default()
        .str("ggml.model", "gpt2")
        .str("ggml.pre", "smollm")
        .strs("ggml.tokens", &tokens)
        .i32s("ggml.token_type", &types)
        .strs("ggml.merges", &merges)
        .u32("ggml.bos_token_id", 1)
        .u32("ggml.eos_token_id", 2);
    let tokenizer = gguf.read().unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos_ids()),
        (Some(1), [2, 0].as_slice())
    );
    let golden = read("golden/tokens/smollm2.json");
    for sample in golden["samples"].as_array().unwrap() {
        let text = sample["text"].as_str().unwrap();
        let found = tokenizer.encode(text, Bos::Auto).unwrap();
        assert_eq!(serde_json::json!(found), sample["ids"], "{text}");
    }
}

#[test]
fn broken_vocabularies_are_refused() {
    let bpe = || {
        Gguf::default()
            .str("ggml.model", "gpt2")
            .strs("ggml.tokens", &["a", "b", "ab"])
    };
    assert!(bpe().strs("ggml.merges", &["a b"]).read().is_ok());
    for broken in [
        Gguf::default(),
        Gguf::default().str("ggml.model", "gpt2"),
        Gguf::default()
            .str("ggml.model", "bert")
            .strs("ggml.tokens", &["a"]),
        bpe(),
        bpe().strs("ggml.merges", &["ab"]),
        bpe().strs("ggml.merges", &["a c"]),
        bpe()
            .strs("ggml.merges", &["a b"])
            .str("ggml.pre", "unheard-of"),
        bpe()
            .strs("ggml.merges", &["a b"])
            .i32s("ggml.token_type", &[1]),
        sentence_piece(11),
        sentence_piece(0),
    ] {
        let error = broken.read().err().unwrap();
        assert!(
            matches!(error, Error::Tokenizer(_) | Error::Format { .. }),
            "{error}"
        );
    }
    // Ids outside the vocabulary are ignored.
    let tokenizer = bpe()
        .strs("ggml.merges", &["a b"])
        .u32("ggml.bos_token_id", 3)
        .read();
    assert_eq!(tokenizer.unwrap().bos(), None);
}
