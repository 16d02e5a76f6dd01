//! Slips that a person makes on the first day: each is named, with the next step.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::{MODEL, command, json, run, stdout};

const SAE: &str = "tests/data/sae";
const VECTOR: &str = "tests/data/caa/refusal.safetensors";
const STORIES: &str = "tests/data/text/stories-en.txt";

/// The message of a command that has to fail with this exit code.
fn refusal(code: i32, args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

/// Asserts that a text has each of some parts.
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// A file of a folder, written.
fn file(folder: &Path, name: &str, text: &str) -> String {
    std::fs::write(folder.join(name), text).unwrap();
    path(folder, name)
}

/// The output of a command with a text on standard input.
fn fed(args: &[&str], text: &str) -> Output {
    let mut command = command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(args: &[&str]) -> String {
    String::from_utf8(run(args).stderr).unwrap()
}

#[test]
fn bos_always_counts_for_ids_and_is_advised_only_where_it_helps() {
    let ids = |more: &[&str]| {
        json(&[&["tokens", MODEL, "--json", "--ids"][..], more].concat())["tokens"].clone()
    };
    assert_eq!(ids(&["403,407"]), serde_json::json!([403, 407]));
    let with = serde_json::json!([1, 403, 407]);
    assert_eq!(ids(&["403,407", "--bos", "always"]), with);
    // What was copied from the tokens of a text has it already.
    assert_eq!(ids(&["1,403,407", "--bos", "always"]), with);
    let never = refusal(2, &["tokens", MODEL, "--ids", "1,403", "--bos", "never"]);
    holds(&never, &["beginning-of-sequence token 1", "`bos` is never"]);

    let features = ["features", SAE, "--top", "1"];
    let of = |more: &[&str]| stderr(&[&features[..], more].concat());
    holds(&of(&["--ids", "403,407"]), &["--bos always adds it"]);
    assert_eq!(of(&["--ids", "403,407", "--bos", "always"]), "");
    holds(
        &of(&["-p", "Once", "--bos", "never"]),
        &["--bos always adds it"],
    );
    // An autoencoder whose texts began without it.
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    std::fs::create_dir(&sae).unwrap();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        std::fs::copy(Path::new("../..").join(SAE).join(name), sae.join(name)).unwrap();
    }
    let config = std::fs::read_to_string(sae.join("cfg.json")).unwrap();
    let without = config.replace("\"prepend_bos\": true", "\"prepend_bos\": false");
    assert_ne!(config, without);
    std::fs::write(sae.join("cfg.json"), without).unwrap();
    let sae = sae.to_str().unwrap();
    let said = stderr(&["features", sae, "-p", "Once"]);
    holds(&said, &["do not begin", "--bos never omits it"]);
    let said = stderr(&["features", sae, "--ids", "1,403"]);
    assert!(
        said.contains("do not begin") && !said.contains("--bos"),
        "{said}"
    );
}

#[test]
fn ids_with_a_gap_are_refused() {
    for ids in ["1,,2", "1,2,", ",1", "[1, ,2]"] {
        holds(
            &refusal(2, &["lens", MODEL, "--ids", ids]),
            &["beside a comma"],
        );
    }
    holds(
        &refusal(2, &["lens", MODEL, "--ids", "[1,2"]),
        &["`[1` is not"],
    );
}

#[test]
fn a_corpus_too_short_to_split_says_how_long_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = "Once upon a time there was a little girl named Lily. She had a dog.\n".repeat(12);
    let numbered: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(n, l)| format!("{n} {l}"))
        .collect();
    let corpus = file(folder.path(), "short.txt", &numbered.join("\n"));
    let output = path(folder.path(), "run");
    let call = [
        "train",
        MODEL,
        "--site",
        "mlp_out.2",
        "--document",
        "line",
        "-o",
        &output,
    ];
    let said = refusal(2, &[&call[..], &["--corpus", &corpus]].concat());
    let all = json(&[
        "tokens",
        MODEL,
        "--bos",
        "never",
        "--json",
        "-p",
        &numbered.concat(),
    ]);
    let all = all["tokens"].as_array().unwrap().len();
    let number = |before: &str| -> usize {
        let (_, rest) = said.split_once(before).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    let (whole, part) = (number("documents of "), number("the part to hold out has "));
    // A line begins with a token of its own.
    assert!(
        whole.abs_diff(all) <= numbered.len() && part < whole / 5,
        "{said}"
    );
    holds(&said, &["12 documents", "too few for one sequence of 128"]);
}

#[test]
fn what_is_no_autoencoder_is_named_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let lora = folder.path().join("lora");
    std::fs::create_dir(&lora).unwrap();
    file(
        &lora,
        "adapter_config.json",
        r#"{"peft_type": "LORA", "base_model_name_or_path": "gpt2"}"#,
    );
    file(&lora, "adapter_model.safetensors", "");
    let features = |sae: &str| stderr(&["features", sae, "-p", "a"]);
    holds(
        &features(lora.to_str().unwrap()),
        &["an adapter (LORA of `gpt2`)", "no autoencoder"],
    );
    for model in [
        MODEL,
        "tests/data/stories260K/stories260K.bin",
        "tests/golden/models/gpt2",
        "tests/golden/models/gpt2/model.safetensors",
    ] {
        holds(
            &features(model),
            &["this is a model", "--model takes a model"],
        );
    }
    holds(&features(VECTOR), &["steering vectors", "no autoencoder"]);
    holds(
        &features("tests/golden/vectors/control.gguf"),
        &["steering vectors"],
    );
    let call = [
        "steer", MODEL, "--vector", VECTOR, "--scale", "2", "-p", "a",
    ];
    holds(&refusal(2, &call), &["this is a model", "--model"]);
}

#[test]
fn an_autoencoder_that_only_names_the_model_of_a_vector_is_not_warned_of() {
    let vector = ["--vector", VECTOR, "--scale", "9", "-n", "2", "-p", "Once"];
    let at = ["steer", SAE, "--site", "resid_post.1", "--bos", "never"];
    let said = stderr(&[&at[..], &vector].concat());
    assert!(!said.contains("was trained"), "{said}");
    let turned = stderr(&[&at[..], &vector, &["-f", "1"]].concat());
    holds(&turned, &["was trained at", "was trained on texts"]);
}

#[test]
fn edits_are_read_from_standard_input() {
    let edits = stdout(&[
        "vector",
        "edits",
        VECTOR,
        "--site",
        "resid_post.3",
        "--scale",
        "4",
    ]);
    let write = [
        "run",
        MODEL,
        "-n",
        "4",
        "--temperature",
        "0",
        "--json",
        "--edits",
        "-",
    ];
    let output = fed(&[&write[..], &["-p", "Once"]].concat(), &edits);
    assert!(output.status.success());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["edits"][0]["site"], "resid_post.3");

    let output = fed(
        &[
            "steer", "--model", MODEL, "-n", "2", "-p", "a", "--edits", "-",
        ],
        &edits,
    );
    assert!(output.status.success());
    for more in [&["-p", "-"][..], &[]] {
        let output = fed(&[&write[..], more].concat(), &edits);
        assert_eq!(output.status.code(), Some(2));
        holds(
            &String::from_utf8(output.stderr).unwrap(),
            &["standard input holds one thing", "--edits"],
        );
    }
    let output = fed(&[&write[..], &["-p", "a"]].concat(), "{");
    holds(
        &String::from_utf8(output.stderr).unwrap(),
        &["standard input: EOF"],
    );
}

#[test]
fn edits_that_were_not_downloaded_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n";
    let pointer = file(folder.path(), "edits.json", pointer);
    holds(
        &stderr(&["run", MODEL, "-p", "a", "--edits", &pointer]),
        &["edits.json", "Git LFS"],
    );
}

#[test]
fn names_that_promise_another_format_are_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let texts = "--positive tests/data/sad.txt --negative tests/data/happy.txt";
    let site = format!("--site resid_post.1 --corpus {STORIES}");
    let cases = [
        (
            format!("vector difference NONE {texts} -o v.npy"),
            "safetensors or",
        ),
        (
            "capture NONE -p a --site all -o v.npy".to_owned(),
            "as safetensors",
        ),
        (format!("capture NONE --shards v.npy {site}"), "a folder"),
        (
            "features NONE -p a --feature 1 --plot y.PNG".to_owned(),
            "as SVG",
        ),
        (
            format!("eval NONE --corpus {STORIES} --plot y.png"),
            "as SVG",
        ),
        (
            "steer NONE -p a -f 1 --scale 1 --save e.pt".to_owned(),
            "as JSON",
        ),
        (format!("vector edits {VECTOR} -o v.npy"), "as JSON"),
        (format!("train NONE {site} -o r.gguf"), "a folder"),
        ("convert NONE r.gguf".to_owned(), "a folder"),
    ];
    let names = ["v.npy", "y.PNG", "y.png", "e.pt", "r.gguf"];
    for (call, part) in cases {
        let word = |word: &str| match word {
            "NONE" => "tests/no-such-model".to_owned(),
            name if names.contains(&name) => path(folder.path(), name),
            other => other.to_owned(),
        };
        let words: Vec<String> = call.split(' ').map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        holds(&refusal(2, &words), &[part]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn pictures_and_edits_say_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (svg, edits) = (path(folder.path(), "y.svg"), path(folder.path(), "e.json"));
    let features = [
        "features",
        SAE,
        "-p",
        "Lily",
        "--feature",
        "3",
        "--plot",
        &svg,
    ];
    holds(&stderr(&features), &[&format!("written to {svg}")]);
    assert_eq!(stderr(&[&features[..], &["--json"]].concat()), "");
    let steer = [
        "steer", SAE, "-p", "Lily", "-f", "3", "--scale", "9", "-n", "2", "--save", &edits,
    ];
    holds(&stderr(&steer), &[&format!("written to {edits}")]);
}

#[test]
fn one_pair_has_no_variation() {
    let call = [
        "vector",
        "pca",
        MODEL,
        "--limit",
        "1",
        "--method",
        "pca_diff",
        "-o",
        "tests/none.gguf",
        "--positive",
        "tests/data/sad.txt",
        "--negative",
        "tests/data/happy.txt",
    ];
    holds(&refusal(2, &call), &["there is one pair", "`pca_center`"]);
}

#[test]
fn a_question_without_a_key_names_those_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let questions = file(
        folder.path(),
        "q.json",
        r#"[{"question": "a", "answer_matching_behavior": "(A)"}]"#,
    );
    let said = stderr(&[
        "vector",
        "caa",
        MODEL,
        "--questions",
        &questions,
        "-o",
        "tests/none.gguf",
    ]);
    holds(
        &said,
        &[
            "there is no `answer_not_matching_behavior`",
            "the record has `question`, `answer_matching_behavior`, and",
        ],
    );
}

#[test]
fn a_vector_of_another_width_is_named() {
    let narrow = "tests/golden/models/gpt2";
    let steer = [
        "steer", "--model", narrow, "--vector", VECTOR, "--scale", "1",
    ];
    let said = stderr(&[&steer[..], &["--ids", "3,4"]].concat());
    holds(&said, &[VECTOR, "expected 16"]);
    let questions = ["--questions", "tests/data/caa/refusal.json"];
    let evaluate = ["vector", "evaluate", narrow, VECTOR];
    holds(&stderr(&[&evaluate[..], &questions].concat()), &[VECTOR]);
}

#[test]
fn a_file_that_is_not_there_is_named_once() {
    let call = [
        "train",
        MODEL,
        "--site",
        "mlp_out.2",
        "--corpus",
        "nosuch.txt",
    ];
    let said = stderr(&call);
    assert!(
        said.starts_with("error: --corpus nosuch.txt: there is no such file"),
        "{said}"
    );
}

#[test]
fn a_tokenizer_of_more_tokens_than_the_model_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    for source in ["tests/golden/models/gpt2", "tests/data/tokenizers/gpt2"] {
        for entry in std::fs::read_dir(Path::new("../..").join(source)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    let said = stderr(&["info", folder.path().to_str().unwrap()]);
    holds(
        &said,
        &["warning: the tokenizer has", "may be that of another model"],
    );
}
