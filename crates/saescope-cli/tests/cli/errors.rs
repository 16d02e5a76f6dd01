//! Errors name the thing, the place and the next step; wrong usage ends with 2, the rest with 1.

use std::process::Stdio;

use crate::{MODEL, check, command};

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
