//! Features of published autoencoders on the bundled model, against what `transformers` makes of the model and
//! the owners' code of the autoencoders: `tests/golden/make_features.py`.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{MODEL, json as printed, root, run};

const WIDTH: usize = 16;

fn golden() -> PathBuf {
    root().join("tests/golden/features")
}

/// A tensor of the expected ones, four bytes a number.
fn numbers(name: &str) -> Vec<f32> {
    let bytes = fs::read(golden().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data().to_vec();
    let chunks = data.as_chunks().0.iter();
    chunks.map(|b| f32::from_le_bytes(*b)).collect()
}

fn ids() -> String {
    let bytes = fs::read(golden().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor("ids").unwrap().data().to_vec();
    let ids = data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

/// Checks every activation on every token against those expected of `case`.
fn same(case: &str, sae: &Path, more: &[&str]) {
    let ids = ids();
    let width = WIDTH.to_string();
    let args = [
        "features",
        sae.to_str().unwrap(),
        "--ids",
        &ids,
        "--position",
        "all",
        "--top",
        &width,
        "--json",
    ];
    let rows = printed(&[&args[..], more].concat());
    let expected = numbers(case);
    let mut found = vec![0.0; expected.len()];
    for (token, row) in rows.as_array().unwrap().iter().enumerate() {
        for feature in row["features"].as_array().unwrap() {
            let at = feature["feature"].as_u64().unwrap() as usize;
            found[token * WIDTH + at] = feature["activation"].as_f64().unwrap() as f32;
        }
    }
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let (token, feature) = (at / WIDTH, at % WIDTH);
        assert!(
            (found - expected).abs() <= 1e-4,
            "{case}: token {token}, feature {feature}: {found} for {expected}"
        );
    }
}

#[test]
fn features_of_published_collections_are_those_of_their_owners_code() {
    for (case, name, site) in [
        ("qwen_scope", "qwen_scope/layer2.sae.pt", "resid_post.2"),
        (
            "goodfire",
            "Llama-3.1-8B-Instruct-SAE-l19.pth",
            "resid_post.2",
        ),
        ("attention_out", "gpt2-small_L2_Hcat_z_v9.pt", "attn_z.2"),
        (
            "circuit_tracer",
            "circuit_tracer/layer_2.safetensors",
            "mlp_norm.2",
        ),
    ] {
        same(
            case,
            &golden().join(name),
            &["--model", MODEL, "--site", site],
        );
    }
    // The layer stands in the names of three, and the place in their configurations.
    for (case, name) in [
        ("qwen_scope", "qwen_scope/layer2.sae.pt"),
        ("attention_out", "gpt2-small_L2_Hcat_z_v9.pt"),
        ("circuit_tracer", "circuit_tracer/layer_2.safetensors"),
    ] {
        same(case, &golden().join(name), &["--model", MODEL]);
    }
}

#[test]
fn what_is_wrapped_around_an_autoencoder_is_taken_off() {
    for name in ["plain", "compiled", "parallel", "checkpoint", "dtype"] {
        same("wrapped", &golden().join(name), &[]);
        same("wrapped", &golden().join(name).join("ae.pt"), &[]);
    }
}

/// SAELens' weights under a name, beside a changed configuration.
fn saelens(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let text = fs::read_to_string(golden().join("cfg.json")).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
    let file = folder.join(name);
    fs::copy(golden().join("sae_weights.safetensors"), &file).unwrap();
    file
}

#[test]
fn hooks_of_hugging_face_and_of_the_bridge_are_the_sites_that_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for hook in [
        "model.layers.2",
        "model.layers.2.mlp",
        "blocks.2.hook_out",
        "blocks.2.hook_in",
        "blocks.2.mlp.hook_out",
        "blocks.2.attn.hook_out",
        "blocks.2.hook_mlp_in",
    ] {
        let at = folder.path().join(hook);
        saelens(&at, "sae_weights.safetensors", |config| {
            config["metadata"]["hook_name"] = hook.into();
        });
        same(hook, &at, &[]);
    }
}

#[test]
fn weights_of_saelens_are_opened_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let flat = |config: &mut Value| {
        *config = json!({
            "architecture": "standard", "d_in": 64, "d_sae": WIDTH,
            "hook_name": "blocks.2.hook_resid_post", "model_name": MODEL,
        });
    };
    for name in [
        "model.safetensors",
        "sae.safetensors",
        "layer-2.safetensors",
    ] {
        let file = saelens(&folder.path().join(name), name, flat);
        same("blocks.2.hook_out", &file, &[]);
    }
}

#[test]
fn factors_of_a_fine_tuning_without_their_flag_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = saelens(folder.path(), "sae_weights.safetensors", |config| {
        config["finetuning_scaling_factor"] = false.into();
    });
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let factors: Vec<u8> = (0..WIDTH)
        .flat_map(|n| (0.5 + n as f32 / 8.0).to_le_bytes())
        .collect();
    let shape = vec![WIDTH];
    let factors =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &factors).unwrap();
    let views = tensors.tensors().into_iter();
    let views = views.chain([("scaling_factor".to_owned(), factors)]);
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(&file, bytes).unwrap();
    let output = run(&[
        "features",
        folder.path().to_str().unwrap(),
        "-p",
        "A cat sat.",
    ]);
    let refused = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["scaling_factor", "finetuning_scaling_factor"] {
        assert!(refused.contains(part), "{refused}");
    }
}
