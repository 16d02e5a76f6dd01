//! Every example runs as it is typed.

use std::process::{Command, Output};

use crate::{isolate, root, stdout};

pub(crate) const COMMANDS: [&str; 32] = [
    "demo",
    "run",
    "tokens",
    "capture",
    "lens",
    "features",
    "contrast",
    "feature",
    "convert",
    "harvest",
    "store show",
    "store features",
    "store label",
    "store list",
    "store export",
    "store merge",
    "store copy",
    "search",
    "eval",
    "steer",
    "vector caa",
    "vector difference",
    "vector pca",
    "vector evaluate",
    "vector edits",
    "vector info",
    "info",
    "train",
    "bench lm",
    "bench sae",
    "bench train",
    "completions",
];

/// Lines of a text that call the command, without the prompt before them.
fn calls(text: &str) -> Vec<String> {
    // A line may go on behind a backslash.
    let text = text.replace("\\\n", " ");
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("$ "));
    lines
        .filter(|line| line.starts_with("saescope "))
        .map(str::to_owned)
        .collect()
}

/// Runs a line in a shell, in a folder that has the repository's `tests` and takes the output.
pub(crate) fn run_line(line: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("tests"), folder.path().join("tests")).unwrap();
    crate::store::provide(line, folder.path());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_saescope"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder.path());
    command.env(
        "PATH",
        format!("{}:{path}", binary.parent().unwrap().display()),
    );
    isolate(&mut command);
    command.output().unwrap()
}

fn succeeds(line: &str) {
    let output = run_line(line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{stderr}");
    assert!(!output.stdout.is_empty(), "{line}: prints nothing");
}

#[test]
fn every_help_has_an_example_that_runs() {
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let examples = calls(&stdout(&args));
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            // The tests of the demo take all of its steps, twice.
            if example == "saescope demo" {
                continue;
            }
            assert!(
                example.starts_with(&format!("saescope {command}")),
                "{example}"
            );
            // With the real shapes a debug build would take minutes.
            let tiny = if command.starts_with("bench") {
                " --tiny"
            } else {
                ""
            };
            succeeds(&format!("{example}{tiny}"));
        }
    }
}

/// A block of the README or the docs that shows a call and what it prints.
#[test]
fn the_documentation_shows_what_is_printed() {
    let mut files = vec![root().join("README.md")];
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    files.extend(docs.map(|entry| entry.unwrap().path()));
    let mut shown = 0;
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        for block in text.split("```").skip(1).step_by(2) {
            let Some((call, expected)) = block.split_once("$ saescope ") else {
                continue;
            };
            assert_eq!(
                call,
                "console\n",
                "{}: one call opens a block",
                file.display()
            );
            let (call, expected) = expected.split_once('\n').unwrap_or((expected, ""));
            let output = run_line(&format!("saescope {call}"));
            assert!(output.status.success(), "{}: {call}", file.display());
            let printed = String::from_utf8(output.stdout).unwrap();
            if !expected.trim().is_empty() {
                assert_eq!(printed, expected, "{}: {call}", file.display());
                shown += 1;
            }
        }
    }
    assert!(shown > 0, "no output is shown anywhere");
}

/// Each command of the list works on what those before it left, which no single example shows.
#[test]
fn the_quick_start_for_ones_own_model_runs_in_order() {
    let text = std::fs::read_to_string(root().join("docs/quick-start.md")).unwrap();
    let (_, section) = text.split_once("## Your own model and texts").unwrap();
    let list = section.split("```").nth(1).unwrap();
    let list = list.strip_prefix("sh\n").expect("a list of commands");
    let feature = list.split("saescope feature my-sae ").nth(1).unwrap();
    let feature = feature.split(' ').next().unwrap();
    let contrast = section.split("```text\nfeature ").nth(1).unwrap();
    let first = contrast.lines().nth(1).unwrap().split_whitespace().next();
    assert_eq!(first, Some(feature), "the contrast leads to the feature");
    // All of the steps would take a debug build too long.
    assert!(list.contains("--steps 300"), "{list}");
    succeeds(&format!(
        "set -e\n{}",
        list.replace("--steps 300", "--steps 30")
    ));
}
