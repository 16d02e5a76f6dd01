//! On what a training is evaluated at its end: held-out text, other text, rows of a folder of shards.

use std::path::Path;

use serde_json::Value;

use crate::{MODEL, json, run};

const STORIES: [&str; 4] = [
    "--corpus",
    "tests/data/text/stories-en.txt",
    "--document",
    "line",
];

/// A buffer that is soon full, for training on texts.
const SMALL: [&str; 2] = ["--buffer", "4096"];

const OTHERS: [&str; 2] = ["--eval-corpus", "tests/data/text/emotions-en.jsonl"];

/// A folder of shards of 3,000 activations of texts of 64 tokens.
fn shards(folder: &Path) -> String {
    let path = folder.join("shards").to_str().unwrap().to_owned();
    let call = [
        "capture",
        MODEL,
        "--site",
        "resid_post.2",
        "--shards",
        &path,
    ];
    let more = ["--context", "64", "--tokens", "3000", "--json"];
    json(&[&call[..], &STORIES, &more].concat());
    path
}

/// A training of a second; returns what it says on standard output, or its failure.
fn train(output: &Path, more: &[&str]) -> Result<String, String> {
    let output = output.to_str().unwrap();
    let call = ["train", MODEL, "--site", "resid_post.2", "-o", output];
    let short = "--expansion 2 --k 4 --steps 12 --batch 128";
    let short: Vec<&str> = short.split(' ').collect();
    let done = run(&[&call[..], &short, more].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match done.status.success() {
        true => Ok(text(done.stdout)),
        false => Err(text(done.stderr)),
    }
}

fn value(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn without_texts_reconstructions_are_measured_on_rows_that_were_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    let said = train(&run, &["--shards", &shards]).unwrap();
    assert!(said.contains("needs other texts"), "{said}");
    let next = format!("saescope eval {} --corpus FILE", run.display());
    assert!(said.contains(&next), "{said}");
    let found = value(&run.join("eval.json"));
    assert_eq!((&found["tokens"], &found["l0"]), (&300.into(), &4.0.into()));
    assert!(found["explained_variance"].is_number() && found["decoder"]["mean"].is_number());
    assert!(found.get("ce_with_sae").is_none());
    let config = value(&run.join("config.json"));
    assert_eq!(config["activations"]["held_out_tokens"], 300);
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("On held-out activations"));
    assert!(report.contains("was not measured; <code>saescope eval"));
}

#[test]
fn a_store_is_evaluated_on_other_texts_of_its_own_length() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    let said = train(&run, &[&["--shards", &shards][..], &OTHERS].concat()).unwrap();
    assert!(!said.contains("Not measured"), "{said}");
    let found = value(&run.join("eval.json"));
    assert!(found["ce_recovered"].is_number() && found["without_first"]["l0"].is_number());
    assert_eq!(found["corpus"][0], OTHERS[1]);
    let tokens = found["tokens"].as_u64().unwrap();
    assert_eq!(tokens, 64 * found["sequences"].as_u64().unwrap());
    let config = value(&run.join("config.json"));
    assert!(config["activations"]["held_out_tokens"].is_null());
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("On held-out texts"));
}

#[test]
fn texts_may_have_an_evaluation_on_others_and_none_is_held_out_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let more = ["--template", "-", "--template", "{text} {text}"];
    train(&run, &[&STORIES[..], &SMALL, &OTHERS, &more].concat()).unwrap();
    let config = value(&run.join("config.json"));
    assert!(config["corpus"]["held_out_tokens"].is_null());
    let twice = value(&run.join("eval.json"))["tokens"].as_u64().unwrap();
    let once = folder.path().join("once");
    train(&once, &[&STORIES[..], &SMALL, &OTHERS].concat()).unwrap();
    let once = value(&once.join("eval.json"))["tokens"].as_u64().unwrap();
    assert!(twice > once, "{twice} {once}");
}

#[test]
fn an_evaluation_that_was_not_wanted_can_be_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    let said = train(&run, &["--shards", &shards, "--eval-tokens", "0"]).unwrap();
    assert!(said.contains("those of the last batch"), "{said}");
    assert!(!run.join("eval.json").exists());
    let again = ["--shards", &shards, "--resume"];
    train(&run, &[&again[..], &OTHERS].concat()).unwrap();
    assert!(value(&run.join("eval.json"))["ce_with_sae"].is_number());
}

#[test]
fn what_was_trained_on_is_refused_as_an_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    let same = ["--eval-corpus", STORIES[1], "--document", "line"];
    for more in [
        &["--shards", &shards][..],
        &[STORIES[0], STORIES[1], "--context", "64"],
    ] {
        let said = train(&run, &[more, &same].concat()).unwrap_err();
        assert!(
            said.contains("the very texts that are trained on"),
            "{said}"
        );
    }
    let said = train(&run, &["--shards", &shards, "--eval-tokens", "3000"]).unwrap_err();
    assert!(
        said.contains("3000 of 3000 rows cannot be held out"),
        "{said}"
    );
    let three = ["--template", "a", "--template", "b", "--template", "c"];
    let said = train(&run, &[&STORIES[..], &OTHERS, &three].concat()).unwrap_err();
    assert!(
        said.contains("--template is given 3 times for 2 FILEs"),
        "{said}"
    );
}

#[test]
fn what_a_store_has_settled_is_neither_asked_for_again_nor_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    for (more, part) in [
        (&["--skip-first"][..], "--skip-first"),
        (&["--buffer", "4096"], "--buffer"),
        (&["--context", "32"], "--context"),
        (&["--bos", "never"], "--bos"),
        (&["--site", "resid_post.1"], "--site"),
    ] {
        let said = train(&run, &[&["--shards", &shards], more].concat()).unwrap_err();
        assert!(said.contains(part), "{more:?}: {said}");
    }
    // Of another model, by its width and by its name.
    let manifest = Path::new(&shards).join("shards.json");
    let known = std::fs::read_to_string(&manifest).unwrap();
    assert!(known.contains("\"prepend_bos\": true"), "{known}");
    std::fs::write(&manifest, known.replace("stories260K", "other")).unwrap();
    let output = run.to_str().unwrap();
    let call = [
        "train",
        MODEL,
        "--site",
        "resid_post.2",
        "--shards",
        &shards,
        "-o",
        output,
    ];
    let done = crate::run(&[&call[..], &["--steps", "1", "--batch", "128"]].concat());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.success() && said.contains("are those of"),
        "{said}"
    );
}

#[test]
fn flags_that_would_be_ignored_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, run) = (shards(folder.path()), folder.path().join("run"));
    for flag in [
        &["--template", "text"][..],
        &["--document", "line"],
        &["--layout", "rows"],
        &["--chats", "plain"],
        &["--context", "32"],
        &["--bos", "never"],
    ] {
        let said = train(&run, &[&["--shards", &shards][..], flag].concat()).unwrap_err();
        assert!(said.contains(flag[0]), "{said}");
        assert!(said.contains("when they were captured"), "{said}");
    }
    let none = ["--eval-tokens", "0"];
    let said = train(&run, &[&STORIES[..], &OTHERS, &none].concat()).unwrap_err();
    assert!(said.contains("`eval_tokens` is 0"), "{said}");
    assert!(!run.exists());
}

#[test]
fn an_error_names_the_flag_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let missing = ["--eval-corpus", "no/such@1:set"];
    let said = train(
        &folder.path().join("run"),
        &[&STORIES[..], &missing].concat(),
    )
    .unwrap_err();
    assert!(said.contains("--eval-corpus no/such@1:set"), "{said}");
    assert!(!said.contains("--corpus no"), "{said}");
}
