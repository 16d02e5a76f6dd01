//! Texts and shards of activations. The first byte names the kind: `p` Parquet or Arrow, `l` lists in them,
//! `j` JSON, `c` a table and `t` plain text, each also compressed; `s` the `shards.json` of a folder with one valid shard.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use saescope::activations::Shards;
use saescope::corpus::{Chats, Corpus, CorpusConfig, Layout, Templates, TextUnit};
use saescope::tokenizer::{Bos, Tokenizer};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| TempDir::new().expect("a temporary folder can be made"));

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/stories260K/tok512.bin");
    Tokenizer::from_llama2c(Path::new(path), 512).expect("a tokenizer of the tests")
});

/// Eight rows of two numbers.
static SHARD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let header = br#"{"x":{"dtype":"F32","shape":[8,2],"data_offsets":[0,64]}}       "#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 64]].concat()
});

fn read_texts(name: &str, template: Option<&str>, bytes: &[u8]) {
    let path = FOLDER.path().join(name);
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    let config = CorpusConfig {
        labels: None,
        files: vec![path],
        template: template.map(|template| Templates::All(template.to_owned())),
        text: TextUnit::Paragraph,
        chats: Chats::Plain,
        layout: Layout::Packed,
        context: 16,
        bos: Bos::Auto,
        seed: 0,
    };
    if let Ok(corpus) = Corpus::open(&config, &TOKENIZER, None, &mut |_| {}) {
        for sequence in 0..corpus.sequences() {
            assert_eq!(corpus.sequence(sequence).len(), 16);
        }
    }
}

fn read_shards(json: &[u8]) {
    let folder = FOLDER.path().join("shards");
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).expect("a temporary file can be written");
    };
    write("shards.json", json);
    write("shard-00000.safetensors", &SHARD);
    if let Ok(shards) = Shards::open(&folder) {
        let mut batches = shards.batches(3).expect("a batch has tokens");
        if let Some(Ok(batch)) = batches.next() {
            assert_eq!(batch.x.rows(), 3);
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match bytes {
    [b'p', rows @ ..] => read_texts("a", Some("{text}{instruction}{meta.note}{label}"), rows),
    [b'l', rows @ ..] => {
        read_texts("a", Some("messages"), rows);
        read_texts("a", Some("input_ids"), rows);
    }
    [b'j', json @ ..] => {
        read_texts("a.json", Some("{a}\n{b.c}"), json);
        read_texts("a.json", Some("a"), json);
    }
    [b'c', table @ ..] => read_texts("a.csv", Some("a"), table),
    [b't', text @ ..] => read_texts("a.txt", None, text),
    [b's', json @ ..] => read_shards(json),
    _ => {}
});
