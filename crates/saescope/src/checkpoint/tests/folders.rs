use std::fs;

use super::*;
use crate::checkpoint::Dtype;

#[test]
fn shards_listed_by_an_index_are_one_checkpoint() {
    let checkpoint = open("models/llama_sharded");
    assert_eq!(checkpoint.files().count(), 3);
    assert_eq!(checkpoint.path(), golden("models/llama_sharded"));
    let total: u64 = checkpoint
        .tensors()
        .map(|t| t.bytes().unwrap().len() as u64)
        .sum();
    assert_eq!(checkpoint.stored_bytes(), total);
    for tensor in checkpoint.tensors() {
        tensor.check_finite(&tensor.to_vec().unwrap(), 0).unwrap();
    }
    assert_eq!(
        open("models/llama_bf16").tensors().next().unwrap().dtype(),
        Dtype::Bf16
    );
}

#[test]
fn an_index_that_leads_elsewhere_or_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let shard = super::safetensors::file(
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
    );
    fs::write(folder.path().join("out.safetensors"), &shard).unwrap();
    fs::write(inner.join("in.safetensors"), &shard).unwrap();
    let index = inner.join("model.safetensors.index.json");
    let opened = |tensor: &str, file: &str| {
        let map = serde_json::json!({ "weight_map": { tensor: file } });
        fs::write(&index, map.to_string()).unwrap();
        Checkpoint::open(&inner)
    };
    assert!(opened("a", "in.safetensors").is_ok());
    for outside in [
        "../out.safetensors",
        "/etc/passwd",
        "",
        "x/../../out.safetensors",
        ".",
    ] {
        assert!(
            matches!(opened("a", outside), Err(Error::Format { .. })),
            "{outside}"
        );
    }
    assert!(matches!(
        opened("b", "in.safetensors"),
        Err(Error::MissingTensor { .. })
    ));
    assert!(matches!(
        opened("a", "none.safetensors"),
        Err(Error::Format { .. })
    ));
    fs::write(&index, "[1, 2").unwrap();
    assert!(matches!(
        Checkpoint::open(&inner),
        Err(Error::Format { .. })
    ));
}

#[test]
fn a_folder_without_a_checkpoint_or_with_several_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || matches!(Checkpoint::open(folder.path()), Err(Error::Format { .. }));
    assert!(refused());
    let gguf = super::gguf::file((0, &[]), &[("a", &[1], 0, 0)], 4);
    fs::write(folder.path().join("a.gguf"), &gguf).unwrap();
    assert!(Checkpoint::open(folder.path()).unwrap().gguf().is_some());
    fs::write(folder.path().join("b.gguf"), &gguf).unwrap();
    assert!(refused());
    let missing = folder.path().join("none");
    assert!(matches!(Checkpoint::open(&missing), Err(Error::Io { .. })));
}

#[test]
fn files_of_no_known_format_are_refused() {
    for name in [
        "x",
        "x.gguf",
        "x.safetensors",
        "x.bin",
        "x.pt",
        "pytorch_model.bin",
    ] {
        for bytes in [
            &b""[..],
            b"\0",
            b"hello, world; nothing here is a checkpoint at all",
        ] {
            refusal(name, bytes);
        }
    }
}
