use std::fs;
use std::path::Path;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::error::Error;

/// The message of refusing `bytes` as weights and as a text.
fn messages(bytes: &[u8]) -> [String; 2] {
    let path = Path::new("a/file");
    [check(path, bytes), check_text(path, bytes)].map(|found| found.unwrap_err().to_string())
}

fn opened(folder: &Path) -> String {
    match Checkpoint::open(folder) {
        Err(error @ Error::Format { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{} was opened", folder.display()),
    }
}

/// A folder of empty files with these names, in folders of their own where a name has one.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    folder
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

const POINTER: &[u8] =
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n";

#[test]
fn what_lies_in_place_of_a_file_is_named_with_the_next_step() {
    let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
    let page = b"\xef\xbb\xbf\n<!DOCTYPE HTML>\n<head><title>Sign\n in</title>";
    let denied = b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>";
    let cases: [(&[u8], &[&str]); 19] = [
        (POINTER, &["Git LFS", "548105171 bytes", "git lfs pull"]),
        (b"version https://hawser.github.com/spec/v1\n", &["Git LFS"]),
        (b"# xet version 0\nfilesize = 12\n", &["Xet"]),
        (b"/annex/objects/SHA256E-s12--00.bin\n", &["git annex get"]),
        (b"outs:\n- md5: 00\n  size: 12\n  path: a\n", &["dvc pull"]),
        (page, &["HTML", "\"Sign in\""]),
        (b"<html>", &["HTML", "download"]),
        (denied, &["AccessDenied", "download"]),
        (b"<Error><Message>no</Message></Error>", &["XML"]),
        (b"", &["an empty file", "download"]),
        (b"Entry not found", &["Entry not found", "token"]),
        (b"404: Not Found", &["404: Not Found"]),
        (b"Invalid username or password.", &["Invalid username"]),
        (
            b"{\"error\":\"Repository not found\"}",
            &["Repository not found"],
        ),
        (b"\x1f\x8b\x08", &["gzip", "gunzip"]),
        (b"\x89HDF\r\n", &["HDF5", "safetensors"]),
        (b"tjgg\x03\0\0\0", &["ggjt", "GGUF"]),
        (&tar, &["tar archive", "unpack"]),
        (&[0; 5000], &["zeros", "not finished"]),
    ];
    for (bytes, parts) in cases {
        for message in messages(bytes) {
            holds(&message, parts);
            assert!(message.starts_with("a/file: it is "), "{message}");
        }
    }
    let part = check(Path::new("model.safetensors.incomplete"), b"\x08").unwrap_err();
    holds(&part.to_string(), &["not finished", ".incomplete"]);
    let zip = check_text(Path::new("tokenizer.json"), b"PK\x03\x04").unwrap_err();
    holds(&zip.to_string(), &["zip archive", "unpack"]);
}

#[test]
fn real_files_are_not_taken_for_something_else() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    for name in [
        "torch/state.pt",
        "torch/state_old.pt",
        "torch/expected.safetensors",
    ] {
        let bytes = fs::read(golden.join(name)).unwrap();
        check(&golden.join(name), &bytes).unwrap();
    }
    for text in [
        &b"{\"model_type\": \"gpt2\"}"[..],
        b"{\"message\": \"x\", \"model_type\": \"gpt2\"}",
        b"{}",
        b"[]",
        b"#version: 0.2\n",
    ] {
        check_text(Path::new("config.json"), text).unwrap();
    }
}

#[test]
fn a_pointer_is_named_under_the_name_of_every_format() {
    let inside = tempfile::tempdir().unwrap();
    for name in [
        "model.safetensors",
        "pytorch_model.bin",
        "m.gguf",
        "stories.bin",
        "params.npz",
        "v.npy",
        "v.pt",
        "model.safetensors.index.json",
    ] {
        let path = inside.path().join(name);
        fs::write(&path, POINTER).unwrap();
        holds(&opened(&path), &[name, "Git LFS", "git lfs pull"]);
    }
}

#[test]
fn the_folder_of_an_adapter_names_its_model() {
    let adapter = folder(&["adapter_model.safetensors"]);
    let config = adapter.path().join("adapter_config.json");
    let lora = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#;
    fs::write(&config, lora).unwrap();
    holds(&opened(adapter.path()), &["LORA", "`org/base`", "merge"]);
    // Beside a whole model the adapter would change it.
    fs::write(adapter.path().join("model.safetensors"), "x").unwrap();
    holds(
        &opened(adapter.path()),
        &["org/base", "or name model.safetensors"],
    );
    fs::remove_file(adapter.path().join("model.safetensors")).unwrap();
    fs::write(&config, r#"{"peft_type": "PROMPT_TUNING"}"#).unwrap();
    holds(&opened(adapter.path()), &["PROMPT_TUNING", "does not name"]);
    fs::write(&config, "not JSON").unwrap();
    holds(&opened(adapter.path()), &["adapter", "merge"]);
}

#[test]
fn parts_of_a_split_gguf_are_named_and_those_that_are_missing() {
    let split = folder(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
    let merge = "llama-gguf-split --merge m-00001-of-00002.gguf m.gguf";
    holds(&opened(split.path()), &["m-00002-of-00002.gguf", merge]);
    let lacking = folder(&["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"]);
    holds(
        &opened(lacking.path()),
        &["of 3 parts these are missing: 2"],
    );
    let one = folder(&["m-00001-of-00002.gguf"]);
    holds(&opened(one.path()), &["these are missing: 2"]);
    let beside = folder(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "q8.gguf"]);
    holds(&opened(beside.path()), &["or name a whole file: q8.gguf"]);
    let pieces = folder(&["m.gguf-split-a", "m.gguf-split-b"]);
    holds(
        &opened(pieces.path()),
        &["m.gguf-split-b", "cat PIECES > m.gguf"],
    );
}

#[test]
fn shards_without_an_index_and_an_index_without_shards_name_the_files() {
    let shards = folder(&[
        "model-00001-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ]);
    let parts = ["missing: 2", "model.safetensors.index.json"];
    holds(&opened(shards.path()), &parts);
    let index = shards.path().join("model.safetensors.index.json");
    let map = r#"{"weight_map": {"a": "model-00001-of-00003.safetensors",
        "b": "model-00002-of-00003.safetensors", "c": "model-00003-of-00003.safetensors"}}"#;
    fs::write(index, map).unwrap();
    let lost = [
        "1 of the 3 shards",
        "model-00002-of-00003.safetensors",
        "download",
    ];
    holds(&opened(shards.path()), &lost);
    let bin = folder(&["pytorch_model-00001-of-00002.bin"]);
    holds(
        &opened(bin.path()),
        &["pytorch_model.bin.index.json", "missing: 2"],
    );
}

#[test]
fn folders_of_other_programs_are_named() {
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["onnx/model.onnx", "config.json"],
            &["ONNX", "safetensors"],
        ),
        (&["model.onnx"], &["ONNX"]),
        (&["tf_model.h5"], &["TensorFlow"]),
        (
            &["flax_model.msgpack", "config.json"],
            &["Flax", "flax_model.msgpack"],
        ),
        (
            &["consolidated.00.pth", "params.json"],
            &["makers", "Hugging Face"],
        ),
        (
            &["zero_to_fp32.py", "latest"],
            &["DeepSpeed", "zero_to_fp32.py"],
        ),
        (
            &["__0_0.distcp", ".metadata"],
            &["torch.distributed.checkpoint"],
        ),
        (&["model.safetensors.incomplete"], &["not finished"]),
        (&["whole.pt", "config.json"], &["FOLDER/whole.pt"]),
        (
            &["snapshots/0a/config.json", "snapshots/0a/model.safetensors"],
            &["a model within", "FOLDER/snapshots/0a"],
        ),
    ];
    for (names, parts) in cases {
        holds(&opened(folder(names).path()), parts);
    }
}

#[test]
fn a_whole_module_in_a_pickle_is_told_from_other_objects() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/torch");
    holds(
        &Checkpoint::open(&golden.join("module.pt"))
            .err()
            .unwrap()
            .to_string(),
        &["whole module", "state_dict"],
    );
    let hostile = Checkpoint::open(&golden.join("hostile.pt"))
        .err()
        .unwrap()
        .to_string();
    holds(&hostile, &["posix.system", "nothing was run"]);
    assert!(!hostile.contains("whole module"), "{hostile}");
    let numpy = b"\x80\x02cnumpy._core.multiarray\nscalar\n.";
    let path = Path::new("a.pt");
    let error = Checkpoint::from_bytes(path, numpy.to_vec()).err().unwrap();
    holds(&error.to_string(), &["numpy.save"]);
}
