//! Errors name the thing, the place and the next step; wrong usage ends with 2, the rest with 1.

use std::process::{Output, Stdio};

use crate::{MODEL, check, command, run};

#[test]
fn no_subcommand_is_wrong_usage() {
    check("error-no-subcommand", &[]);
}

#[test]
fn an_unknown_subcommand_is_wrong_usage() {
    check("error-unknown-subcommand", &["steal"]);
}

#[test]
fn an_unknown_site_is_wrong_usage() {
    check(
        "error-unknown-site",
        &["capture", MODEL, "-p", "a", "--site", "resid.3", "-o", "x"],
    );
    check(
        "error-unknown-site-pattern",
        &["capture", MODEL, "-p", "a", "--site", "blocks.*", "-o", "x"],
    );
}

#[test]
fn a_negative_temperature_is_wrong_usage() {
    check(
        "error-temperature",
        &["run", MODEL, "-p", "a", "--temperature=-1"],
    );
}

#[test]
fn a_missing_model_says_what_a_reference_can_be() {
    check(
        "error-missing-model",
        &["run", "tests/data/stories15M", "-p", "a"],
    );
}

#[test]
fn a_model_that_is_not_in_the_cache_cannot_be_had_offline() {
    check("error-offline", &["info", "openai-community/gpt2"]);
}

#[test]
fn a_layer_that_the_model_lacks_is_refused() {
    check(
        "error-missing-layer",
        &[
            "capture",
            MODEL,
            "-p",
            "a",
            "--site",
            "mlp_out.5",
            "-o",
            "x",
        ],
    );
}

#[test]
fn what_the_library_finds_wrong_with_the_arguments_is_wrong_usage() {
    for args in [
        &["feature", "9999999"][..],
        &["features", "-p", "a", "--position", "7"],
        &[
            "capture",
            MODEL,
            "-p",
            "a",
            "--site",
            "mlp_out.*",
            "--site",
            "embed.*",
        ],
    ] {
        let output = run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    }
}

#[test]
fn a_chat_needs_a_template() {
    check("error-no-template", &["run", MODEL, "-p", "a", "--chat"]);
}

#[test]
fn more_tokens_than_the_context_holds_are_refused() {
    check(
        "error-context",
        &["run", MODEL, "-p", "a", "-n", "600", "--temperature", "0"],
    );
}

#[test]
fn an_unwritable_file_is_named() {
    check(
        "error-unwritable",
        &[
            "capture",
            MODEL,
            "-p",
            "a",
            "--site",
            "embed",
            "-o",
            "/nonexistent/a.safetensors",
        ],
    );
}

#[test]
fn edits_that_cannot_be_read_say_where_and_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edits.json");
    std::fs::write(&path, r#"[{"site": "mlp_out.1", "operation": "ablate"}]"#).unwrap();
    let output = command(&["run", MODEL, "-p", "a", "--edits", path.to_str().unwrap()]).output();
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for part in ["edits.json", "operation", "line 1"] {
        assert!(stderr.contains(part), "{stderr}");
    }
}

/// No machine has all of them: NEON and AVX are of different processors.
#[test]
fn an_instruction_set_that_the_machine_lacks_is_refused_with_those_it_has() {
    let lacking = if cfg!(target_arch = "aarch64") {
        "avx2"
    } else {
        "neon"
    };
    let output = command(&["info", MODEL, "--isa", lacking])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let expected = format!("this machine has no {lacking}; it has portable");
    assert!(stderr.contains(&expected), "{stderr}");

    let output = command(&["--isa", "sse9", "info", MODEL]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("portable, neon, avx2"), "{stderr}");
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let args = [
        "run",
        MODEL,
        "-p",
        "Once",
        "-n",
        "200",
        "--temperature",
        "0",
    ];
    let mut child = command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Runs a command without a reference, and with `demo` in its place.
fn without_and_with_demo(before: &[&str], after: &[&str]) {
    let without = run(&[before, after].concat());
    let with = run(&[before, &["demo"], after].concat());
    let seen = |output: &Output| (output.status, output.stdout.clone(), output.stderr.clone());
    assert_eq!(seen(&without), seen(&with), "{before:?} {after:?}");
    let stderr = String::from_utf8_lossy(&without.stderr);
    // Wrong usage would be the same twice, too.
    assert_ne!(without.status.code(), Some(2), "{before:?}: {stderr}");
}

#[test]
fn what_is_not_named_is_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let safetensors = file("a.safetensors");
    let questions = ["--questions", "tests/data/caa/refusal.json"];
    let text = ["-p", "Once", "--json"];
    for (command, more) in [
        ("run", vec!["-n", "2", "--temperature", "0", "-p", "Once"]),
        ("tokens", text.to_vec()),
        ("lens", text.to_vec()),
        (
            "capture",
            vec!["-p", "a", "--site", "embed", "-o", &safetensors],
        ),
        ("info", Vec::new()),
        ("features", text.to_vec()),
        ("feature", vec!["3", "--top", "2"]),
        (
            "contrast",
            vec![
                "--positive",
                "tests/data/happy.txt",
                "--negative",
                "tests/data/sad.txt",
            ],
        ),
        (
            "steer",
            vec!["-p", "Once", "-f", "3", "--scale", "2", "-n", "2"],
        ),
    ] {
        without_and_with_demo(&[command], &more);
    }
    let caa = [&questions[..], &["--limit", "2", "-o", &safetensors]].concat();
    without_and_with_demo(&["vector", "caa"], &caa);
    let evaluate = [&["tests/data/caa/refusal.safetensors"], &questions[..]].concat();
    without_and_with_demo(&["vector", "evaluate"], &evaluate);
}

/// The exit code and the message of a call that has to fail.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = run(args);
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_bundled_autoencoder_is_converted_but_never_over_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("sae").to_str().unwrap().to_owned();
    assert!(run(&["convert", &saved]).status.success());
    // With the folder forgotten, the autoencoder is taken for it.
    let (code, stderr) = refused(&["convert", &saved, "--force"]);
    assert!(code == Some(2) && stderr.contains("name both"), "{stderr}");
    let (code, stderr) = refused(&["convert", "demo"]);
    assert!(code == Some(2) && stderr.contains("./demo"), "{stderr}");
}

#[test]
fn counting_the_first_position_is_refused_where_it_changes_nothing() {
    let sets = [
        "--positive",
        "tests/data/happy.txt",
        "--negative",
        "tests/data/sad.txt",
    ];
    for call in [
        [&["contrast", "--first"], &sets[..]].concat(),
        vec!["features", "-p", "a", "--position", "2", "--first"],
    ] {
        let (code, stderr) = refused(&call);
        assert!(code == Some(2) && stderr.contains("--first"), "{stderr}");
    }
}

#[test]
fn more_threads_than_a_machine_has_are_wrong_usage() {
    for threads in ["0", "20000"] {
        let (code, stderr) = refused(&["features", "-p", "a", "--threads", threads]);
        assert!(code == Some(2) && stderr.contains("1..=1024"), "{stderr}");
    }
}

#[test]
fn texts_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long.txt");
    std::fs::write(&long, "Lily was happy. ".repeat(200)).unwrap();
    let long = long.to_str().unwrap();
    let sets = ["--positive", long, "--negative", "tests/data/sad.txt"];
    let (_, stderr) = refused(&[&["contrast"][..], &sets].concat());
    assert!(
        stderr.contains("`Lily was happy.") && stderr.contains("context is 512"),
        "{stderr}"
    );
    let (_, stderr) = refused(&["eval", "--corpus", long, "--context", "2"]);
    assert!(stderr.contains("the least is 3"), "{stderr}");
    let (_, stderr) = refused(&["feature", "3", "--inject", "2"]);
    assert!(stderr.contains("--inject"), "{stderr}");
}

#[test]
fn a_reference_alone_where_something_has_to_follow_is_wrong_usage() {
    check("error-feature-alone", &["feature", "tests/data/sae"]);
    for args in [
        &["feature"][..],
        &["convert"],
        &["vector", "evaluate", "--questions", "q"],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn features_without_an_autoencoder_cannot_be_turned_up() {
    check(
        "error-steer-no-sae",
        &[
            "steer", "--model", MODEL, "-p", "a", "-f", "3", "--scale", "1",
        ],
    );
}

#[test]
fn an_autoencoder_in_the_place_of_a_model_is_named_as_one() {
    check("error-sae-as-model", &["run", "tests/data/sae", "-p", "a"]);
}

/// The message of a command that fails with `code`.
fn refusal(args: &[&str], code: i32) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    stderr
}

#[test]
fn a_number_below_zero_is_refused_as_a_value() {
    for args in [
        &["features", "-p", "a", "--feature", "-3"][..],
        &["features", "-p", "a", "--position", "-1"],
        &["run", "-p", "a", "-n", "-5"],
        &["run", "-p", "a", "--temperature", "-1"],
        &["feature", "demo", "-5"],
    ] {
        let says = refusal(args, 2);
        assert!(says.contains("invalid value '-"), "{args:?}: {says}");
    }
}

#[test]
fn what_would_turn_nothing_is_wrong_usage() {
    let edits = ["steer", "-p", "a", "--edits", "demo/presets/angry.json"];
    for more in [
        &["--scale", "3"][..],
        &["--sweep", "1,2"],
        &["--unit", "norm"],
        &["--span", "prompt"],
    ] {
        let says = refusal(&[&edits[..], more].concat(), 2);
        assert!(says.contains("--feature <N[=W]>|--vector <FILE>"), "{says}");
    }
}

#[test]
fn another_site_than_that_of_the_training_is_warned_of() {
    let output = run(&["features", "-p", "a", "--site", "mlp_out.2", "--top", "1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("resid_post.2") && stderr.contains("mlp_out.2"),
        "{stderr}"
    );
}

#[test]
fn a_name_of_transformer_lens_is_answered_with_ours() {
    let says = refusal(
        &["features", "-p", "a", "--site", "blocks.2.hook_resid_post"],
        2,
    );
    assert!(says.contains("`resid_post.2`"), "{says}");
}
