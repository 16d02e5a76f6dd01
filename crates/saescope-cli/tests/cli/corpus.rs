//! Texts of many sorts, and the shards that `capture --shards` makes of them.

use std::path::Path;

use saescope::activations::Shards;

use crate::{MODEL, command, json, run};

fn capture<'a>(shards: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let shards = shards.to_str().unwrap();
    let site = [
        "capture",
        MODEL,
        "--site",
        "resid_post.2",
        "--shards",
        shards,
    ];
    [&site[..], more].concat()
}

const STORIES: [&str; 4] = [
    "--corpus",
    "tests/data/text/stories-en.txt",
    "--document",
    "line",
];

#[test]
fn a_store_holds_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards");
    let more = [
        "--tokens",
        "3000",
        "--out-site",
        "mlp_out.3",
        "--skip-first",
    ];
    let more = [&STORIES[..], &more, &["--shard-dtype", "f16", "--json"]].concat();
    let record = json(&capture(&path, &more));
    let shards = Shards::open(&path).unwrap();
    let manifest = shards.manifest();
    assert_eq!(
        (manifest.tokens, manifest.d_in, manifest.d_out),
        (3000, 64, Some(64))
    );
    assert_eq!(record["tokens"], 3000);
    assert_eq!(record["dtype"], "f16");
    assert_eq!(record["origin"]["site"], "resid_post.2");
    assert_eq!(record["origin"]["out_site"], "mlp_out.3");
    assert_eq!(record["shards"][0]["sha256"], manifest.shards[0].sha256);
    let batch = shards.batches(3000).unwrap().next().unwrap().unwrap();
    assert!(batch.x.data().iter().any(|x| *x != 0.0) && batch.target.is_some());

    let again = folder.path().join("again");
    let same = json(&capture(&again, &[&more[..], &["--threads", "1"]].concat()));
    assert_eq!(
        same["shards"], record["shards"],
        "one thread writes the same bytes"
    );
    let refused = run(&capture(&path, &more));
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("exists and is not empty"), "{stderr}");
}

#[test]
fn the_whole_corpus_is_kept_where_no_number_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards");
    let texts = [
        "--corpus",
        "tests/data/text/emotions-en.jsonl",
        "--layout",
        "rows",
        "--json",
    ];
    let record = json(&capture(&path, &texts));
    assert_eq!(
        (&record["documents"], &record["sequences"]),
        (&31.into(), &31.into())
    );
    assert_eq!(record["epochs"], 1.0);
    let other = folder.path().join("other");
    let template = ["--template", "{text}\\n{text}"];
    let twice = json(&capture(&other, &[&texts[..], &template].concat()));
    let tokens = |record: &serde_json::Value| record["tokens"].as_f64().unwrap();
    assert!(tokens(&twice) > 1.8 * tokens(&record) - 62.0);
    assert!(tokens(&twice) > tokens(&record) * 1.5);
}

#[test]
fn wrong_usage_and_wrong_texts_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards");
    for more in [
        &["-p", "a", "--corpus", "x"][..],
        &[],
        &["--corpus", "x", "-o", "a.safetensors"],
        &["--corpus", "x", "--logits"],
    ] {
        assert_eq!(
            run(&capture(&path, more)).status.code(),
            Some(2),
            "{more:?}"
        );
    }
}

/// Texts that cannot be read, with the exit code and a part of the message.
const REFUSED: [(i32, &[&str], &str); 9] = [
    (
        1,
        &[
            "--corpus",
            "tests/data/text/emotions-en.jsonl",
            "--template",
            "body",
        ],
        "emotions-en.jsonl: line 1: there is no field `body`; there are text, emotions",
    ),
    (1, &["--corpus", "./none.txt"], "none.txt"),
    (
        1,
        &["--corpus", "none.txt"],
        "data sets on the Hub are written `org/name`",
    ),
    (
        1,
        &["--corpus", "org/name"],
        "downloads are turned off; unset HF_HUB_OFFLINE",
    ),
    (
        2,
        &["--corpus", "tests/data/happy.txt", "--context", "1"],
        "`context` is 1",
    ),
    (
        2,
        &["--corpus", "tests/data/happy.txt", "--context", "1024"],
        "longer than the model's context of 512; a smaller --context",
    ),
    (
        1,
        &["--corpus", "tests/data/happy.txt", "--template", "text"],
        "happy.txt: the template cannot apply: the file is plain text",
    ),
    (
        1,
        &[
            "--corpus",
            "tests/golden/corpora/chats.parquet",
            "--template",
            "messages",
            "--chats",
            "template",
        ],
        "chats.parquet: row 1: it is a chat; chat template: the model has none",
    ),
    (
        2,
        &["--corpus", "tests/data/happy.txt", "--tokens", "0"],
        "at least one token",
    ),
];

#[test]
fn texts_that_cannot_be_read_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shards");
    for (code, texts, reason) in REFUSED {
        let output = run(&capture(&path, texts));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        assert!(!path.exists());
    }
}

#[test]
fn texts_are_kept_as_tokens_for_the_next_time() {
    let home = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = home.path().join(name);
        let mut command = command(&capture(
            &path,
            &[&STORIES[..], &["--tokens", "200"]].concat(),
        ));
        let output = command.env("HF_HOME", home.path()).output().unwrap();
        assert!(output.status.success());
        std::fs::read(path.join("shard-00000.safetensors")).unwrap()
    };
    let first = make("first");
    let kept = || {
        let entries = std::fs::read_dir(home.path().join("saescope/corpora")).unwrap();
        let times = entries.map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap());
        times.collect::<Vec<_>>()
    };
    let before = kept();
    assert_eq!(before.len(), 1);
    assert!(make("second") == first);
    assert_eq!(kept(), before);
}

#[test]
fn records_of_every_format_are_read_by_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, more: &[&str]| {
        let texts = ["--layout", "rows", "--tokens", "50", "--json"];
        let shards = folder.path().join(name);
        json(&capture(&shards, &[more, &texts].concat()))["documents"].clone()
    };
    let golden = |name: &str| format!("tests/golden/corpora/{name}");
    let chats = golden("chats.arrow");
    assert_eq!(
        read(
            "plain",
            &[
                "--corpus",
                &chats,
                "--template",
                "messages",
                "--chats",
                "plain"
            ]
        ),
        5
    );
    assert_eq!(
        read("ids", &["--corpus", &chats, "--template", "input_ids"]),
        5
    );
    let both = [
        "--corpus",
        &golden("brotli.parquet"),
        "tests/data/happy.txt",
        "--template",
        "{instruction}\\n{text}",
        "--template",
        "-",
    ];
    assert!(read("both", &both).as_u64().unwrap() > 120);
}

#[test]
fn one_text_many_times_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("same.txt");
    std::fs::write(&texts, ["a a a a a a a a a a"; 200].join("\n\n")).unwrap();
    let (texts, output) = (texts.to_str().unwrap(), folder.path().join("run"));
    let site = ["train", MODEL, "--site", "resid_post.2", "--corpus", texts];
    let size = [
        "--d-sae", "8", "--k", "2", "--steps", "2", "--batch", "64", "-o",
    ];
    let output = run(&[&site[..], &size, &[output.to_str().unwrap()]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("all have the same text; --eval-tokens 0 trains on all"),
        "{stderr}"
    );
}

#[test]
fn flags_of_a_corpus_are_refused_beside_a_prompt() {
    let prompt = [
        "capture",
        MODEL,
        "--site",
        "resid_post.1",
        "-p",
        "a",
        "-o",
        "x",
    ];
    for flag in [
        &["--corpus", "tests/data/text/stories-en.txt"][..],
        &["--template", "text"],
        &["--document", "line"],
        &["--layout", "rows"],
        &["--chats", "plain"],
        &["--context", "32"],
    ] {
        let refused = run(&[&prompt[..], flag].concat());
        assert_eq!(refused.status.code(), Some(2));
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert!(stderr.contains(flag[0]), "{stderr}");
    }
}
