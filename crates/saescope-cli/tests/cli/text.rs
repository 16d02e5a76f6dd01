//! Text that the model in the repository writes and reads.

use std::io::Write as _;
use std::process::Stdio;

use crate::{MODEL, check, command, json, root, stdout};

/// The text that this model writes at temperature 0, from llama2.c's documentation.
#[test]
fn greedy_text_equals_the_published_sample() {
    let published = std::fs::read_to_string(root().join(MODEL).join("greedy.txt")).unwrap();
    let text = stdout(&["run", MODEL, "-p", "", "-n", "256", "--temperature", "0"]);
    assert_eq!(text.trim(), published.trim());
}

#[test]
fn the_prompt_and_its_continuation_are_one_text() {
    check(
        "run",
        &[
            "run",
            MODEL,
            "-p",
            "Once upon a time",
            "-n",
            "40",
            "--temperature",
            "0",
        ],
    );
}

#[test]
fn several_prompts_are_labelled_and_do_not_disturb_each_other() {
    let args = [
        "run",
        MODEL,
        "-p",
        "Lily",
        "-p",
        "One day, Tim",
        "-n",
        "16",
        "--temperature",
        "0",
    ];
    check("run-several", &args);
    let alone = json(&[
        "run",
        MODEL,
        "-p",
        "Lily",
        "-n",
        "16",
        "--temperature",
        "0",
        "--json",
    ]);
    let text = alone["text"].as_str().unwrap();
    assert!(stdout(&args).contains(&format!("\nLily{text}\n")));
}

#[test]
fn a_prompt_can_be_piped_in() {
    for args in [
        &["run", MODEL, "-n", "8", "--temperature", "0"][..],
        &["tokens", MODEL, "-p", "-"],
    ] {
        let mut child = command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"Once upon\n")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Once"), "{text}");
    }
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let args = [
        "run",
        MODEL,
        "-p",
        "Once",
        "-n",
        "99",
        "--temperature",
        "0",
        "--json",
    ];
    let whole = json(&args)["text"].as_str().unwrap().to_owned();
    let stopped = json(&[&args[..], &["--stop", "girl named"]].concat());
    let text = stopped["text"].as_str().unwrap();
    assert_eq!(Some(text), whole.split("girl named").next());
    assert_eq!(stopped["stopped_by"], "stop_string");
    assert_eq!(stopped["stop_string"], "girl named");
}

#[test]
fn samples_take_successive_seeds_and_a_seed_gives_its_text_again() {
    let args = [
        "run",
        MODEL,
        "-p",
        "One day",
        "-n",
        "24",
        "--temperature",
        "1.2",
        "--json",
    ];
    let samples = json(&[&args[..], &["--seed", "5", "--samples", "2"]].concat());
    let again = json(&[&args[..], &["--seed", "6"]].concat());
    assert_eq!(samples[1]["seed"], 6);
    assert_eq!(samples[1]["text"], again["text"]);
    assert_ne!(samples[0]["text"], again["text"]);
}

#[test]
fn edits_change_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edits.json");
    let direction: Vec<f32> = (0..64)
        .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let edit = |scale: f32| {
        let op = serde_json::json!({"add": {"direction": direction, "scale": scale}});
        serde_json::json!([{"site": "resid_post.2", "op": op}]).to_string()
    };
    let args = ["run", MODEL, "-p", "Once", "-n", "20", "--temperature", "0"];
    let plain = stdout(&args);
    for (scale, same) in [(0.0, true), (5.0, false)] {
        std::fs::write(&path, edit(scale)).unwrap();
        let steered = stdout(&[&args[..], &["--edits", path.to_str().unwrap()]].concat());
        assert_eq!(steered == plain, same, "scale {scale}: {steered}");
    }
}

#[test]
fn tokens_lens_and_info_are_tables() {
    check("tokens", &["tokens", MODEL, "-p", "Once upon a time"]);
    check("lens", &["lens", MODEL, "-p", "Once upon a"]);
    check("info", &["info", MODEL]);
}

#[test]
fn characters_of_several_tokens_are_shown_once() {
    check("tokens-korean", &["tokens", MODEL, "-p", "안녕"]);
}

#[test]
fn tables_have_no_colours_when_nobody_watches() {
    assert!(!stdout(&["lens", MODEL, "-p", "Once upon a"]).contains('\u{1b}'));
}
