//! Things that lie where a file or a model should: each is named, with the next step.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{MODEL, json, root, run};

/// The message of a command that has to fail.
fn refusal(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?}");
    stderr
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n";

/// A copy of a golden model, of which the file `name` has other content.
fn model_with(name: &str, content: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // The tokenizer is another model's; it is read first and has to be there.
    for source in ["tests/golden/models/gpt2", "tests/data/tokenizers/gpt2"] {
        for entry in fs::read_dir(root().join(source)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::write(folder.path().join(name), content).unwrap();
    folder
}

#[test]
fn files_that_were_not_downloaded_are_named_by_every_command() {
    let page = "<!DOCTYPE html><html><title>Log in</title>";
    let cases = [
        (
            "model.safetensors",
            POINTER,
            ["model.safetensors", "Git LFS", "git lfs pull"],
        ),
        (
            "model.safetensors",
            page,
            ["model.safetensors", "HTML", "Log in"],
        ),
        (
            "model.safetensors",
            "Entry not found",
            ["model.safetensors", "Entry not found", "token"],
        ),
    ];
    for (name, content, parts) in cases {
        let model = model_with(name, content);
        holds(&refusal(&["info", text(model.path())]), &parts);
    }
    let tokenizer = tempfile::tempdir().unwrap();
    for (content, part) in [(POINTER, "Git LFS"), (page, "HTML")] {
        fs::write(tokenizer.path().join("tokenizer.json"), content).unwrap();
        let message = refusal(&["tokens", text(tokenizer.path()), "-p", "a"]);
        holds(&message, &["tokenizer.json", part]);
    }
}

#[test]
fn corpora_questions_and_vectors_that_were_not_downloaded_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let out = folder.path().join("out");
    let page = "<html><body>429 Too Many Requests</body></html>";
    for (name, content, part) in [
        ("a.jsonl", POINTER, "Git LFS"),
        ("a.txt", POINTER, "Git LFS"),
        ("a.parquet", page, "HTML"),
        ("b.jsonl", page, "HTML"),
    ] {
        let corpus = file(name, content);
        let args = [
            "capture",
            MODEL,
            "--site",
            "resid_post.0",
            "--corpus",
            text(&corpus),
        ];
        holds(
            &refusal(&[&args[..], &["--shards", text(&out)]].concat()),
            &[name, part],
        );
    }
    let questions = file("q.json", POINTER);
    let caa = [
        "vector",
        "caa",
        MODEL,
        "--questions",
        text(&questions),
        "-o",
        text(&out),
    ];
    holds(&refusal(&caa), &["q.json", "Git LFS"]);
    let vector = file("v.pt", POINTER);
    let steer = [
        "steer",
        "--model",
        MODEL,
        "-p",
        "a",
        "--vector",
        text(&vector),
    ];
    let message = refusal(&[&steer[..], &["--site", "resid_post.1", "--scale", "1"]].concat());
    holds(&message, &["v.pt", "Git LFS"]);
}

#[test]
fn folders_of_adapters_and_parts_say_what_to_do() {
    let adapter = tempfile::tempdir().unwrap();
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#;
    fs::write(adapter.path().join("adapter_config.json"), config).unwrap();
    for command in ["info", "run"] {
        let prompt: &[&str] = if command == "run" { &["-p", "a"] } else { &[] };
        let message = refusal(&[&[command, text(adapter.path())], prompt].concat());
        holds(&message, &["adapter", "org/base", "merge"]);
    }
    let parts = tempfile::tempdir().unwrap();
    for name in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"] {
        fs::write(parts.path().join(name), "GGUF").unwrap();
    }
    let message = refusal(&["info", text(parts.path())]);
    holds(
        &message,
        &["m-00002-of-00002.gguf", "llama-gguf-split --merge"],
    );
}

#[test]
fn a_root_of_several_autoencoders_names_them() {
    let root = tempfile::tempdir().unwrap();
    for layer in ["layers.1", "layers.2"] {
        let folder = root.path().join("run").join(layer);
        let saved = run(&["convert", "tests/data/sae", text(&folder)]);
        assert!(saved.status.success(), "{saved:?}");
    }
    let folder = root.path().join("run");
    for args in [
        &["info", text(&folder)][..],
        &["features", text(&folder), "-p", "a"],
        &["steer", text(&folder), "-p", "a", "-f", "1", "--scale", "1"],
    ] {
        holds(&refusal(args), &["layers.1", "layers.2", "name one"]);
    }
}

/// An array of 64 numbers as numpy saves it.
fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), data].concat()
}

#[test]
fn directions_of_numpy_steer_as_those_of_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<f32> = (0..64_u8).map(|i| f32::from(i % 5)).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let big: Vec<u8> = numbers
        .iter()
        .flat_map(|x| f64::from(*x).to_be_bytes())
        .collect();
    // Rows of five layers, of which that of layer 1 is the direction.
    let mut rows = vec![0; 5 * 256];
    rows[256..512].copy_from_slice(&bytes);
    let same = folder.path().join("same.safetensors");
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![64], &bytes);
    safetensors::serialize_to_file([("vector", view.unwrap())], None, &same).unwrap();
    let steered = |file: &Path| {
        let args = [
            "steer", "--model", MODEL, "-p", "Lily", "-n", "4", "--scale", "1", "--json",
        ];
        let vector = ["--vector", text(file), "--site", "resid_post.1"];
        json(&[&args[..], &vector].concat())["steered"][0]["edits"][0]["op"].clone()
    };
    let expected = steered(&same);
    for (name, array) in [
        ("one.npy", npy("<f4", "(64,)", &bytes)),
        ("big.npy", npy(">f8", "(1, 64)", &big)),
        ("rows.npy", npy("<f4", "(5, 64)", &rows)),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, array).unwrap();
        assert_eq!(steered(&file), expected, "{name}");
    }
    let states = folder.path().join("states.npy");
    fs::write(&states, npy("<f4", "(6, 64)", &vec![0; 6 * 256])).unwrap();
    let args = ["steer", "--model", MODEL, "-p", "Lily", "--scale", "1"];
    let vector = ["--vector", text(&states), "--site", "resid_post.1"];
    holds(
        &refusal(&[&args[..], &vector].concat()),
        &["`hidden_states`", "save the row"],
    );
}
