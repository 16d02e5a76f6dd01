//! The command as its users meet it: what it prints, where, and how it ends.
//!
//! Every case runs the binary from the root of the repository and compares what comes out with a
//! file under `snapshots/`; `SNAPSHOTS=overwrite` writes those anew.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only `#[test]` functions for tests"
)]

mod autoencoders;
mod chat;
mod contract;
mod corpus;
mod demo;
mod errors;
mod eval;
mod examples;
mod help;
mod ids;
mod mishaps;
mod published;
mod signals;
mod stand_ins;
mod steer;
mod store;
mod terminal;
mod text;
mod train;
mod train_shards;
mod vector;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use snapbox::{Assert, Data};

/// The model that stands in the repository.
const MODEL: &str = "tests/data/stories260K";

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// The command, started in the root of the repository with nothing of the tester's surroundings.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saescope"));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    isolate(&mut command);
    command
}

/// Takes away what a person may have set, and the network.
fn isolate(command: &mut Command) {
    for name in ["HF_TOKEN", "HF_ENDPOINT", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
        // Bundled files are unpacked there.
        .env("HF_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("HF_HUB_CACHE", "/dev/null/hub")
        .env("HF_HUB_OFFLINE", "1");
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Standard output of a run that has to succeed.
fn stdout(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard output as JSON.
fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// Compares exit code, stdout and stderr with `snapshots/NAME.txt`.
fn check(name: &str, args: &[&str]) {
    let output = run(args);
    let section = |name: &str, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "(no newline)\n"
        };
        format!("--- {name}\n{text}{end}")
    };
    let code = output
        .status
        .code()
        .map_or("none".to_owned(), |code| code.to_string());
    let seen = format!(
        "exit code {code}\n{}{}",
        section("stdout", &output.stdout),
        section("stderr", &output.stderr)
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots");
    let expected = Data::read_from(&folder.join(format!("{name}.txt")), None);
    // `\n` here is a line break written out, not a Windows path.
    let assert = Assert::new().action_env("SNAPSHOTS").normalize_paths(false);
    assert.eq(seen, expected);
}
