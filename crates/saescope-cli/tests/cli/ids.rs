//! Token ids in place of texts, with a tokenizer and without one that can be read.

use std::path::Path;

use crate::{MODEL, json, root, run, stdout};

const TEXT: [&str; 2] = ["-p", "Once upon a time"];

/// The ids of the text, as a flag takes them.
fn ids() -> String {
    let found = json(&[&["tokens", MODEL, "--json"], &TEXT[..]].concat());
    let ids: Vec<String> = found["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    ids.join(",")
}

#[test]
fn ids_are_read_as_the_text_that_they_are() {
    let ids = ids();
    let ids = ["--ids", &ids];
    for call in [
        &["tokens", MODEL, "--json"][..],
        &["features", "tests/data/sae", "--json"],
        &["feature", "tests/data/sae", "1", "--json"],
        &["lens", MODEL, "--json"],
        &[
            "steer",
            "tests/data/sae",
            "--feature",
            "1",
            "--scale",
            "2",
            "-n",
            "8",
            "--json",
        ],
    ] {
        let by_text = stdout(&[call, &TEXT].concat());
        assert_eq!(by_text, stdout(&[call, &ids].concat()), "{call:?}");
    }
    let write = ["run", MODEL, "-n", "8", "--temperature", "0"];
    assert_eq!(
        stdout(&[&write[..], &TEXT].concat()),
        stdout(&[&write[..], &ids].concat())
    );
    let folder = tempfile::tempdir().unwrap();
    let capture = |name: &str, text: &[&str]| {
        let path = folder.path().join(name);
        let call = ["capture", MODEL, "--site", "resid_post.2", "-o"];
        stdout(&[&call[..], &[path.to_str().unwrap()], text].concat());
        std::fs::read(path).unwrap()
    };
    assert_eq!(capture("text", &TEXT), capture("ids", &ids));
}

/// What a call that is refused says.
fn refusal(args: &[&str]) -> String {
    let output = run(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn ids_that_are_none_are_refused() {
    for (ids, said) in [
        ("", "there is none"),
        ("1,two", "`two` is not a token id"),
        ("-3", "`-3` is not a token id"),
        ("99999", "token id 99999"),
    ] {
        let ids = format!("--ids={ids}");
        let found = refusal(&["lens", MODEL, &ids]);
        assert!(found.contains(said), "{found}");
    }
    let both = refusal(&["lens", MODEL, "-p", "a", "--ids", "3"]);
    assert!(both.contains("cannot be used with"), "{both}");
    let neither = refusal(&["lens", MODEL]);
    assert!(neither.contains("--ids <IDS>"), "{neither}");
}

/// A model whose tokenizer has a decoder that is not read.
fn without_tokenizer(folder: &Path) -> String {
    let from = root().join("tests/golden/models/gpt2");
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let tokenizer = r#"{"decoder": {"type": "CTC"}, "model": {"vocab": {}}}"#;
    std::fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn nothing_but_text_needs_a_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let model = without_tokenizer(folder.path());
    let written = json(&[
        "run",
        &model,
        "--ids",
        "[5, 7]",
        "-n",
        "3",
        "--temperature",
        "0",
        "--json",
    ]);
    assert_eq!(written["prompt"], "<5><7>");
    assert_eq!(written["tokens"].as_array().unwrap().len(), 3);
    let text = written["text"].as_str().unwrap();
    assert!(text.starts_with('<') && text.ends_with('>'), "{text}");
    let lens = stdout(&["lens", &model, "--ids", "5 7", "--top", "1"]);
    assert!(lens.contains("<5>"), "{lens}");

    let corpus = folder.path().join("ids.jsonl");
    let row = r#"{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]}"#;
    std::fs::write(&corpus, format!("{row}\n").repeat(8)).unwrap();
    let shards = folder.path().join("shards");
    let call = [
        "capture",
        &model,
        "--site",
        "resid_post.0",
        "--context",
        "8",
        "--tokens",
        "64",
        "--json",
    ];
    let paths = [
        "--shards",
        shards.to_str().unwrap(),
        "--corpus",
        corpus.to_str().unwrap(),
        "--template",
        "input_ids",
    ];
    assert_eq!(json(&[&call[..], &paths].concat())["tokens"], 64);

    let info = stdout(&["info", &model]);
    assert!(info.contains("none that can be read: "), "{info}");
    let said = refusal(&["run", &model, "-p", "Hi"]);
    assert!(said.contains("--ids takes token ids"), "{said}");
    let said = refusal(&["tokens", MODEL, "--ids", "99999"]);
    assert!(said.contains("token id 99999"), "{said}");
    for call in [
        &["run", &model, "-p", "Hi"][..],
        &["lens", &model, "-p", "Hi"],
        &["tokens", &model, "-p", "Hi"],
    ] {
        let said = refusal(call);
        assert!(
            said.contains("the decoder `CTC` is not supported"),
            "{said}"
        );
    }
}
