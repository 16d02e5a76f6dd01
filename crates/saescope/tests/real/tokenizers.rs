//! The tokenizers inside the models' GGUF files, against transformers and SentencePiece.

use std::collections::BTreeMap;

use saescope::chat::{ChatTemplate, Message};
use saescope::checkpoint::Checkpoint;
use saescope::tokenizer::{Bos, StreamDecoder, Tokenizer};
use serde::Deserialize;

use crate::{model, repository};

/// The golden file of `tests/golden/make_tokens.py`.
#[derive(Deserialize)]
struct Golden {
    hashes: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    decoded: Option<String>,
}

fn tokenizer(file: &str) -> Tokenizer {
    let checkpoint = Checkpoint::open(&model(file)).unwrap();
    Tokenizer::from_gguf(checkpoint.gguf().unwrap()).unwrap()
}

fn fnv(ids: &[u32]) -> String {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:08x}")
}

fn compare(tokenizer: &Tokenizer, name: &str) {
    let golden = repository(&format!("golden/tokens/{name}.json"));
    let golden: Golden = serde_json::from_slice(&golden).unwrap();
    for sample in &golden.samples {
        let ids = tokenizer.encode(&sample.text, Bos::Auto).unwrap();
        assert_eq!(ids, sample.ids, "{name}: {:?}", sample.text);
        let decoded = sample.decoded.as_ref().unwrap_or(&sample.text);
        assert_eq!(&tokenizer.decode(&ids), decoded, "{name}");
    }
    assert!(golden.hashes.len() >= 3, "{:?}", golden.hashes.keys());
    for (text, hashes) in &golden.hashes {
        let lines = String::from_utf8(repository(&format!("data/text/{text}.txt"))).unwrap();
        for (line, hash) in lines.lines().zip(hashes.as_bytes().chunks(8)) {
            let ids = tokenizer.encode(line, Bos::Auto).unwrap();
            assert_eq!(fnv(&ids).as_bytes(), hash, "{name}: {text}: {line}");
            assert_eq!(tokenizer.decode_bytes(&ids), line.as_bytes());
            let mut stream = StreamDecoder::new(tokenizer);
            let streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            assert_eq!(streamed, line);
        }
    }
}

#[test]
fn smollm2_gives_the_known_ids() {
    let tokenizer = tokenizer("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(tokenizer.d_vocab(), 49152);
    assert_eq!(tokenizer.bos(), Some(1));
    assert_eq!(tokenizer.eos_ids(), [2, 0]);
    assert!(!tokenizer.adds_bos());
    compare(&tokenizer, "smollm2");

    let chat = ChatTemplate::of(&tokenizer).unwrap();
    let text = chat.render_prompt(&[Message::new("user", "Hi")]).unwrap();
    assert!(text.ends_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!(tokenizer.encode_raw(&text).unwrap()[0], 1);
}

#[test]
fn gemma3_gives_the_known_ids() {
    let tokenizer = tokenizer("gemma-3-270m-q4_k_m.gguf");
    assert_eq!(tokenizer.d_vocab(), 262_144);
    assert_eq!(tokenizer.bos(), Some(2));
    assert_eq!(tokenizer.eos_ids(), [1, 106]);
    assert!(tokenizer.adds_bos());
    assert!(ChatTemplate::of(&tokenizer).is_err());
    compare(&tokenizer, "gemma3_gguf");

    let ids = tokenizer.encode("뷁 ok", Bos::Auto).unwrap();
    let pieces = tokenizer.readable_pieces(&ids);
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["<bos>", "뷁", " ok"]);
}

#[test]
fn a_megabyte_of_text_is_encoded_and_comes_back() {
    let tokenizer = tokenizer("gemma-3-270m-q4_k_m.gguf");
    let text = String::from_utf8(repository("data/text/stories-en.txt")).unwrap();
    let text = text.repeat(1_000_000 / text.len() + 1);
    let ids = tokenizer.encode(&text, Bos::Never).unwrap();
    assert_eq!(tokenizer.decode(&ids), text);
}
