//! Training as its users meet it: a folder that is whole whatever happens, and goes on bit for bit.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{MODEL, command, isolate, json, root};

/// Fields of a line that say how long something took.
const CLOCKS: [&str; 7] = [
    "tokens_per_s",
    "seconds_batches",
    "seconds_train",
    "seconds_model",
    "seconds_buffer",
    "seconds_left",
    "memory_mb",
];

/// The keys of every line of metrics.
const METRICS: [&str; 23] = [
    "step",
    "tokens",
    "loss",
    "loss_reconstruction",
    "loss_sparsity",
    "loss_aux",
    "explained_variance",
    "l0",
    "dead",
    "dense",
    "density_histogram",
    "off_diag_mean",
    "off_diag_max",
    "off_diag_pairs",
    "off_diag_rows",
    "grad_norm",
    "lr",
    "tokens_per_s",
    "seconds_model",
    "seconds_buffer",
    "seconds_train",
    "memory_mb",
    "seconds_left",
];

/// A training that takes a second or two.
pub(crate) fn arguments<'a>(output: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let all = [
        "train",
        MODEL,
        "--site",
        "mlp_out.2",
        "--corpus",
        "tests/data/text/stories-en.txt",
        "--document",
        "line",
        "--context",
        "64",
        "--batch",
        "128",
        "--buffer",
        "2048",
        "--eval-tokens",
        "512",
        "-o",
        output.to_str().unwrap(),
    ];
    [&all[..], more].concat()
}

pub(crate) const SHORT: [&str; 8] = [
    "--expansion",
    "2",
    "--k",
    "4",
    "--steps",
    "12",
    "--log-every",
    "3",
];

/// Long enough to be killed, with a checkpoint every few steps.
const LONG: [&str; 10] = [
    "--expansion",
    "8",
    "--k",
    "8",
    "--steps",
    "120",
    "--log-every",
    "7",
    "--checkpoint-every",
    "10",
];

fn train(output: &Path, more: &[&str]) -> Output {
    command(&arguments(output, more)).output().unwrap()
}

fn trained(output: &Path, more: &[&str]) -> Output {
    let done = train(output, more);
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{stderr}");
    done
}

/// The message of a training that has to fail.
fn fails(output: &Path, more: &[&str], code: i32) -> String {
    let done = train(output, more);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(code), "{stderr}");
    stderr
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn value(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

/// The lines of metrics without what a clock says.
fn lines(run: &Path) -> Vec<Value> {
    let text = String::from_utf8(read(&run.join("metrics.jsonl"))).unwrap();
    let without_clocks = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut()
            .unwrap()
            .retain(|key, _| !CLOCKS.contains(&key.as_str()));
        line
    };
    text.lines().map(without_clocks).collect()
}

pub(crate) fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

/// Asserts that two runs ended with the same bytes.
fn same(a: &Path, b: &Path) {
    for file in ["sae/sae_weights.safetensors", "sae/cfg.json", "eval.json"] {
        assert!(read(&a.join(file)) == read(&b.join(file)), "{file} differs");
    }
    assert_eq!(checkpoints(a), checkpoints(b));
    for name in checkpoints(a) {
        let of = |run: &Path| read(&run.join("checkpoints").join(&name));
        assert!(of(a) == of(b), "{name} differs");
    }
    assert_eq!(lines(a), lines(b));
}

/// Starts a training, and hits it with `signal` once it has a checkpoint.
fn hit(output: &Path, more: &[&str], signal: &str) -> Output {
    let mut starting = command(&arguments(output, more));
    starting
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = starting.spawn().unwrap();
    let started = Instant::now();
    let there = || {
        let folder = output.join("checkpoints");
        folder.is_dir() && !checkpoints(output).is_empty()
    };
    while !there() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no checkpoint"
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before its checkpoint"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "it was at its end already");
    output
}

#[test]
fn a_batch_of_one_token_trains_to_a_run_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut words = arguments(&run, &SHORT);
    let batch = words.iter().position(|word| *word == "128").unwrap();
    words[batch] = "1";
    assert!(command(&words).output().unwrap().status.success());
    assert!(value(&run.join("config.json"))["input"]["gamma"].is_null());
    words.push("--resume");
    assert!(command(&words).output().unwrap().status.success());
    assert!(run.join("report.html").is_file() && run.join("eval.json").is_file());
}

#[test]
fn a_run_leaves_what_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let done = trained(&run, &SHORT);
    let stdout = String::from_utf8(done.stdout).unwrap();
    assert!(stdout.contains("next:  saescope features"), "{stdout}");
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(
        stderr.contains("memory: about") && stderr.contains("disk: up to"),
        "{stderr}"
    );
    assert!(stderr.contains("step 12/12  loss"), "{stderr}");

    let config = value(&run.join("config.json"));
    assert_eq!(config["site"], "mlp_out.2");
    assert_eq!(config["model"]["reference"], MODEL);
    assert_eq!(
        config["model"]["files"][0]["sha256"]
            .as_str()
            .unwrap()
            .len(),
        64
    );
    assert_eq!(config["corpus_digest"].as_str().unwrap().len(), 64);
    assert_eq!(config["train"]["d_sae"], 128);
    assert_eq!(config["train"]["objective"]["top_k"]["k"], 4);
    assert!(config["input"]["gamma"].as_f64().unwrap() > 0.0);
    assert!(config["machine"]["instruction_set"].is_string());

    let text = String::from_utf8(read(&run.join("metrics.jsonl"))).unwrap();
    let steps: Vec<u64> = lines(&run)
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [1, 3, 6, 9, 12]);
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for key in METRICS {
        assert!(!line[key].is_null(), "{key}");
    }
    assert_eq!(line["tokens"], 128);
    let evaluation = value(&run.join("eval.json"));
    for key in [
        "explained_variance",
        "l0",
        "ce_without_sae",
        "ce_with_sae",
        "ce_recovered",
        "dead",
    ] {
        assert!(evaluation[key].is_number(), "{key}");
    }
    let report = String::from_utf8(read(&run.join("report.html"))).unwrap();
    assert!(report.contains("Verdict") && !report.contains("<script"));
}

#[test]
fn a_run_is_an_autoencoder_that_needs_no_more_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    trained(&run, &SHORT);
    for reference in [run.clone(), run.join("sae")] {
        let reference = reference.to_str().unwrap();
        let found = json(&["features", reference, "-p", "Once upon a time", "--json"]);
        assert_eq!(found[0]["features"].as_array().unwrap().len(), 4, "{found}");
        let info = json(&["info", reference, "--json"]);
        assert!(info.to_string().contains(MODEL), "{info}");
    }
}

#[test]
fn json_has_the_evaluation_and_the_verdict_and_nothing_else_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let done = trained(
        &folder.path().join("run"),
        &[&SHORT[..], &["--json"]].concat(),
    );
    let result: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(result["steps"], 12);
    assert_eq!(result["tokens"], 12 * 128);
    assert!(result["evaluation"]["l0"].is_number());
    assert!(result["verdict"]["findings"].is_array());
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(!stderr.contains("step"), "{stderr}");
}

#[test]
fn ctrl_c_ends_behind_a_step_and_the_run_goes_on_as_if_nothing_had_been() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    trained(&whole, &LONG);
    let stopped = hit(&parts, &LONG, "-INT");
    let stderr = String::from_utf8(stopped.stderr).unwrap();
    assert!(
        stderr.contains("stopped after step") && stderr.contains("--resume"),
        "{stderr}"
    );
    assert!(!parts.join("sae").exists());
    let early = command(&["features", parts.to_str().unwrap(), "-p", "a"]).output();
    let stderr = String::from_utf8(early.unwrap().stderr).unwrap();
    assert!(stderr.contains("has not finished"), "{stderr}");
    trained(&parts, &[&LONG[..], &["--resume"]].concat());
    same(&whole, &parts);
}

#[test]
fn what_was_killed_goes_on_from_its_last_checkpoint_as_if_nothing_had_been() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    trained(&whole, &LONG);
    hit(&parts, &LONG, "-KILL");
    trained(&parts, &[&LONG[..], &["--resume"]].concat());
    same(&whole, &parts);
}

#[test]
fn one_thread_gives_the_bytes_of_two() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    trained(&one, &[&SHORT[..], &["--threads", "1"]].concat());
    trained(&two, &[&SHORT[..], &["--threads", "2"]].concat());
    same(&one, &two);
}

#[test]
fn an_autoencoder_of_a_sweep_is_what_it_would_be_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (sweep, alone) = (folder.path().join("sweep"), folder.path().join("alone"));
    let base = ["--steps", "12", "--log-every", "3"];
    let swept = [&base[..], &["--sweep", "expansion=1,2", "k=4,6", "--json"]].concat();
    let done = trained(&sweep, &swept);
    let results: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(results.as_array().unwrap().len(), 4);
    trained(
        &alone,
        &[&base[..], &["--expansion", "2", "--k", "4"]].concat(),
    );
    same(&sweep.join("expansion-2_k-4"), &alone);
    let compared = value(&sweep.join("comparison.json"));
    assert_eq!(compared[3]["name"], "expansion-2_k-6");
    assert_eq!(compared[3]["d_sae"], 128);
    let page = String::from_utf8(read(&sweep.join("comparison.html"))).unwrap();
    assert!(page.contains("expansion-1_k-6") && page.contains("<svg"));
}

#[test]
fn a_sweep_that_was_killed_goes_on_together() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = [
        "--expansion",
        "4",
        "--sweep",
        "k=4,8",
        "--steps",
        "60",
        "--checkpoint-every",
        "10",
    ];
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    trained(&whole, &sweep);
    let mut child = command(&arguments(&parts, &sweep)).spawn().unwrap();
    let started = Instant::now();
    while !parts.join("k-8/checkpoints/step-10.safetensors").exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no checkpoint"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    trained(&parts, &[&sweep[..], &["--resume"]].concat());
    for name in ["k-4", "k-8"] {
        same(&whole.join(name), &parts.join(name));
    }
}

#[test]
fn a_run_that_is_there_is_neither_overwritten_nor_continued_as_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let stderr = fails(&run, &[&SHORT[..], &["--resume"]].concat(), 1);
    assert!(stderr.contains("there is no run to resume"), "{stderr}");
    trained(&run, &SHORT);
    let before = read(&run.join("sae/sae_weights.safetensors"));
    let stderr = fails(&run, &SHORT, 1);
    assert!(
        stderr.contains("--resume") && stderr.contains("--force"),
        "{stderr}"
    );
    // Of a finished run nothing is left to do, whatever is asked; of another one the field is named.
    fs::remove_dir_all(run.join("sae")).unwrap();
    let stderr = fails(
        &run,
        &[&SHORT[..], &["--resume", "--lr", "0.5"]].concat(),
        2,
    );
    assert!(stderr.contains("`train.adam.lr`"), "{stderr}");
    let stderr = fails(
        &run,
        &[&SHORT[..], &["--resume", "--skip-first"]].concat(),
        2,
    );
    assert!(
        stderr.contains("`activations.skip_first` is false"),
        "{stderr}"
    );
    trained(&run, &[&SHORT[..], &["--resume"]].concat());
    assert!(read(&run.join("sae/sae_weights.safetensors")) == before);
    trained(&run, &[&SHORT[..], &["--force", "--seed", "9"]].concat());
    assert!(read(&run.join("sae/sae_weights.safetensors")) != before);
}

#[test]
fn folders_that_no_run_wrote_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &str); 4] = [
        ("config.json", "{\"model_type\": \"gpt2\"}", "config.json"),
        ("config.json", "\u{0}\u{1}", "config.json"),
        ("sae/mine", "x", "sae"),
        ("sae_weights.safetensors", "x", "autoencoder"),
    ];
    for (number, (name, text, part)) in cases.into_iter().enumerate() {
        let run = folder.path().join(number.to_string());
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        for flag in ["--force", "--json"] {
            let stderr = fails(&run, &[&SHORT[..], &[flag]].concat(), 1);
            assert!(stderr.contains(part), "{stderr}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn broken_checkpoints_and_metrics_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    trained(&run, &SHORT);
    fs::remove_dir_all(run.join("sae")).unwrap();
    let again = [&SHORT[..], &["--resume"]].concat();
    let last = run.join("checkpoints/step-12.safetensors");
    let whole = read(&last);
    for bytes in [&whole[..whole.len() / 2], b"", b"{}"] {
        fs::write(&last, bytes).unwrap();
        let stderr = fails(&run, &again, 1);
        assert!(stderr.contains("step-12.safetensors"), "{stderr}");
    }
    fs::write(&last, &whole).unwrap();
    let metrics = run.join("metrics.jsonl");
    fs::write(&metrics, "[]\n").unwrap();
    let stderr = fails(&run, &again, 1);
    assert!(
        stderr.contains("metrics.jsonl") && stderr.contains("line 1"),
        "{stderr}"
    );
}

#[test]
fn a_loss_that_overflows_ends_the_run_and_keeps_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let wild = [
        "--lr",
        "1e25",
        "--checkpoint-every",
        "1",
        "--set",
        "lr_warmup_steps=0",
    ];
    let stderr = fails(&run, &[&SHORT[..], &wild].concat(), 1);
    assert!(
        stderr.contains("training ended; the last checkpoint is kept") && stderr.contains("step"),
        "{stderr}"
    );
    assert!(run.join("config.json").exists() && !run.join("sae").exists());
}

/// A limit on the size of files stands for a disk that is full.
#[test]
fn a_full_disk_ends_the_run_with_the_reason_and_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // The corpus as tokens is kept from here on, so that it is the run which meets the limit.
    trained(&folder.path().join("before"), &SHORT);
    let binary = env!("CARGO_BIN_EXE_saescope");
    let words = arguments(&run, &LONG);
    // 64 KiB are room for the configuration and metrics, not for a checkpoint.
    let script = format!(
        "trap '' XFSZ; ulimit -f 128; exec {binary} {}",
        words.join(" ")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(root());
    isolate(&mut shell);
    let done = shell.output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("step-10.safetensors") && stderr.contains("large"),
        "{stderr}"
    );
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
    trained(&run, &[&LONG[..], &["--resume"]].concat());
}

#[test]
fn wrong_usage_is_said_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let wrong: [(&[&str], i32, &str); 13] = [
        (&["--recipe", "best"], 2, "matryoshka"),
        (&["--steps", "3", "--tokens", "9"], 2, "--tokens"),
        (&["--skip"], 2, "--out-site"),
        (&["--resume", "--force"], 2, "--force"),
        (
            &["--recipe", "l1", "--k", "3"],
            2,
            "its coefficient decides it",
        ),
        (&["--set", "adam.beta3=1"], 2, "beta1"),
        (&["--sweep", "steps=1,2"], 2, "one stream"),
        (&["--out-site", "mlp_out.1"], 2, "reads first"),
        (&["--set", "batch_tokens=4096"], 2, "--batch"),
        (&["--set", "steps=3"], 2, "--steps"),
        (&["--set", "adam.beta1=x"], 2, "adam.beta1"),
        (&["--k", "0"], 2, "`k`"),
        (&["--sweep", "recipe=best"], 2, "best"),
    ];
    for (args, code, part) in wrong {
        let stderr = fails(&run, args, code);
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(!run.exists(), "{args:?}");
    }
    let mut small_buffer = arguments(&run, &[]);
    let buffer = small_buffer.iter_mut().find(|arg| **arg == "2048").unwrap();
    *buffer = "64";
    let done = command(&small_buffer).output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.code() == Some(2) && stderr.contains("`buffer_tokens` is 64"),
        "{stderr}"
    );
}
