//! The demo: what it shows is what its commands print.

use crate::examples::run_line;
use crate::{json, stdout};

/// The calls that an output shows, each with what follows it.
fn calls(text: &str) -> Vec<(&str, &str)> {
    let mut parts = text.split("\n$ saescope ");
    parts.next();
    parts.filter_map(|part| part.split_once('\n')).collect()
}

#[test]
fn the_demo_takes_seven_steps_and_every_call_of_it_does_the_same_when_it_is_typed() {
    let shown = stdout(&["demo"]);
    for step in 1..=7 {
        let heading = format!("{step}. ");
        assert!(
            shown.lines().any(|line| line.starts_with(&heading)),
            "{step}: {shown}"
        );
    }
    let calls = calls(&shown);
    assert_eq!(calls.len(), 11);
    for (call, expected) in calls {
        let output = run_line(&format!("saescope {call}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{call}: {stderr}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.is_empty(), "{call}");
        assert!(
            expected.starts_with(&printed),
            "{call}\n{printed}\n{expected}"
        );
    }
}

#[test]
fn a_step_can_be_taken_alone_and_as_json() {
    let steps = json(&["demo", "--step", "2", "--json"]);
    let [step] = steps.as_array().unwrap().as_slice() else {
        panic!("{steps}");
    };
    assert_eq!(step["step"], 2);
    let call = step["calls"][0]["command"].as_str().unwrap();
    let args: Vec<&str> = call.split(' ').skip(1).chain(["--json"]).collect();
    assert_eq!(json(&args), step["calls"][0]["output"]);
}

/// The files of the demo are named as in the repository.
#[test]
fn bundled_files_are_read_as_the_demos_own() {
    let here = ["demo/phrases/angry-sad.txt", "demo/phrases/glad.txt"];
    let there = here.map(|file| format!("assets/{file}"));
    let features = |files: [&str; 2]| {
        let found = json(&[
            "contrast",
            "--positive",
            files[0],
            "--negative",
            files[1],
            "--json",
        ]);
        found["features"].clone()
    };
    assert_eq!(features(here), features([&there[0], &there[1]]));
    let steered = |preset: &str| {
        let args = [
            "steer", "demo", "-p", "Lily", "-n", "4", "--edits", preset, "--json",
        ];
        json(&args)["steered"].clone()
    };
    assert_eq!(
        steered("demo/presets/angry.json"),
        steered("assets/demo/presets/angry.json")
    );
}

#[test]
fn what_is_bundled_is_told_of_as_autoencoder_and_as_model() {
    let told = stdout(&["info"]);
    for row in [
        "sae            demo",
        "model          demo",
        "in each layer",
    ] {
        assert!(told.contains(row), "{told}");
    }
}

#[test]
fn a_file_that_is_not_bundled_is_answered_with_those_that_are() {
    for (args, there) in [
        (
            &["feature", "3", "--texts", "demo/nope.txt"][..],
            "stories.txt",
        ),
        (
            &["run", "-p", "a", "--edits", "demo/presets/mad.json"],
            "angry.json",
        ),
    ] {
        let output = crate::run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(args[args.len() - 1]) && stderr.contains(there),
            "{stderr}"
        );
    }
}
