//! Requests to end: Ctrl-C, the SIGTERM of another program, the SIGHUP of a terminal that closes.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::train::{SHORT, arguments, checkpoints};
use crate::{MODEL, command};

/// A training that would take minutes and writes no checkpoint by itself.
const ENDLESS: [&str; 10] = [
    "--expansion",
    "2",
    "--k",
    "4",
    "--steps",
    "100000",
    "--checkpoint-every",
    "100000",
    "--log-every",
    "1",
];

/// Starts a command, and waits until `there` holds.
fn started(mut command: Command, there: impl Fn() -> bool) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    while !there() {
        assert!(begin.elapsed() < Duration::from_secs(120), "it hangs");
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// A training, started, that has written a line of metrics to `run`.
fn training(run: &Path, command: Command) -> Child {
    let metrics = run.join("metrics.jsonl");
    let written = || std::fs::metadata(&metrics).is_ok_and(|file| file.len() > 0);
    started(command, written)
}

/// Sends a signal to a process, several times without a pause.
fn send(signal: &str, times: usize, child: &Child) {
    let ids = vec![child.id().to_string(); times];
    let kill = Command::new("kill").arg(signal).args(ids).status();
    assert!(kill.unwrap().success());
}

/// The exit code and standard error of a process at its end.
fn end(child: Child) -> (ExitStatus, String) {
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn signals_that_programs_send_twice_at_once_end_a_training_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    // `timeout` sends SIGTERM to the process and to its group, and others pass Ctrl-C on so.
    for signal in ["-TERM", "-INT"] {
        let run = folder.path().join(signal);
        let child = training(&run, command(&arguments(&run, &ENDLESS)));
        send(signal, 2, &child);
        let (status, stderr) = end(child);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("stopped after step"), "{stderr}");
        assert_eq!(checkpoints(&run).len(), 1, "{signal}");
    }
}

#[test]
fn ctrl_c_again_ends_at_once_and_sigterm_again_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut words = arguments(&run, &SHORT);
    let buffer = words.iter().position(|word| *word == "2048").unwrap();
    // Requests are seen after a step, and the first one waits for seconds until the buffer is full.
    words[buffer] = "524288";
    let child = started(command(&words), || run.join("config.json").exists());
    send("-TERM", 1, &child);
    std::thread::sleep(Duration::from_millis(1300));
    send("-TERM", 1, &child);
    send("-INT", 1, &child);
    let (status, _) = end(child);
    // The exit code of a process that Ctrl-C ended.
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_terminal_that_closes_ends_a_training_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = training(&run, hanging_up(&arguments(&run, &ENDLESS)));
    // Nothing can be written to such a terminal either.
    drop((child.stderr.take(), child.stdout.take()));
    send("-HUP", 1, &child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(checkpoints(&run).len(), 1);
}

#[test]
fn what_nohup_starts_outlives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let words = arguments(&run, &SHORT);
    let plain = command(&words);
    let mut nohup = Command::new("nohup");
    nohup.arg(plain.get_program()).args(words);
    let child = training(&run, like(nohup, &plain));
    send("-HUP", 1, &child);
    let (status, stderr) = end(child);
    assert!(status.success(), "{stderr}");
    assert!(run.join("report.html").exists());
}

#[test]
fn a_capture_that_is_asked_to_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-HUP"] {
        let shards = folder.path().join("shards");
        let call = [
            "capture",
            MODEL,
            "--site",
            "resid_post.2",
            "--corpus",
            "tests/data/text/stories-en.txt",
            "--tokens",
            "2000000",
            "--shards",
            shards.to_str().unwrap(),
        ];
        let partial = folder.path().join(".shards.partial");
        let child = started(hanging_up(&call), || partial.exists());
        send(signal, 2, &child);
        let (status, stderr) = end(child);
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("none are kept"), "{stderr}");
        assert!(!partial.exists() && !shards.exists());
    }
}

/// The command, where SIGHUP counts also if the tests were started with `nohup`.
fn hanging_up(args: &[&str]) -> Command {
    let plain = command(args);
    let mut env = Command::new("env");
    let resets = Command::new("env")
        .args(["--default-signal=HUP", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if resets {
        env.arg("--default-signal=HUP");
    }
    env.arg(plain.get_program()).args(args);
    like(env, &plain)
}

/// A command in the folder and the surroundings of another.
fn like(mut command: Command, other: &Command) -> Command {
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = other.get_current_dir() {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null());
    command
}
