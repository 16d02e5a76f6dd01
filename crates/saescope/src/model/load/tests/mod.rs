mod formats;
mod golden;
mod refusals;

use std::path::{Path, PathBuf};

use saescope_kernels::{Precision, Weight};
use serde_json::{Value, json};

use super::load;
use crate::checkpoint::Checkpoint;
use crate::model::block::{Block, Linear, Norm, Weights};
use crate::model::config::Config;

/// A case of `tests/golden/models`.
fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/models")
        .join(case)
}

/// A tensor by name, with its shape.
type Named = (String, Vec<usize>, Vec<f32>);

/// Every tensor of a checkpoint as f32.
fn tensors(folder: &Path) -> Vec<Named> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let named = |name: &str| {
        let tensor = checkpoint.tensor(name).unwrap();
        (
            name.to_owned(),
            tensor.shape().to_vec(),
            tensor.to_vec().unwrap(),
        )
    };
    checkpoint.names().map(named).collect()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// A folder with a checkpoint in f32 safetensors.
fn write(config: &Value, tensors: &[Named]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

/// The values of a weight: `[d_out, d_in]`.
fn values(weight: &Weight) -> Vec<f32> {
    let mut values = vec![0.0; weight.d_out() * weight.d_in()];
    for (row, out) in values.chunks_exact_mut(weight.d_in()).enumerate() {
        weight.copy_row(row, out);
    }
    values
}

/// Every weight of a model by name, for comparison.
fn listed(weights: &Weights) -> Vec<(String, Vec<f32>)> {
    let mut all = vec![("embed".to_owned(), values(&weights.embed))];
    if let Some(positions) = &weights.positions {
        all.push(("positions".to_owned(), positions.data().to_vec()));
    }
    for (layer, block) in weights.blocks.iter().enumerate() {
        list_block(layer, block, &mut all);
    }
    list_norm("final_norm", Some(&weights.final_norm), &mut all);
    if let Some(unembed) = &weights.unembed {
        list_linear("unembed", unembed, &mut all);
    }
    all
}

fn list_block(layer: usize, block: &Block, all: &mut Vec<(String, Vec<f32>)>) {
    let norms = [
        ("attn_norm", Some(&block.attn_norm)),
        ("q_norm", block.q_norm.as_ref()),
        ("k_norm", block.k_norm.as_ref()),
        ("attn_post_norm", block.attn_post_norm.as_ref()),
        ("mlp_norm", Some(&block.mlp_norm)),
        ("mlp_post_norm", block.mlp_post_norm.as_ref()),
    ];
    for (name, norm) in norms {
        list_norm(&format!("{layer}.{name}"), norm, all);
    }
    let linears = [
        ("qkv", &block.qkv),
        ("attn_out", &block.attn_out),
        ("mlp_in", &block.mlp_in),
        ("mlp_out", &block.mlp_out),
    ];
    for (name, linear) in linears {
        list_linear(&format!("{layer}.{name}"), linear, all);
    }
}

fn list_norm(name: &str, norm: Option<&Norm>, all: &mut Vec<(String, Vec<f32>)>) {
    if let Some(norm) = norm {
        all.push((name.to_owned(), norm.weight.clone()));
        all.extend(norm.bias.clone().map(|bias| (format!("{name}.bias"), bias)));
    }
}

fn list_linear(name: &str, linear: &Linear, all: &mut Vec<(String, Vec<f32>)>) {
    all.push((name.to_owned(), values(&linear.weight)));
    all.extend(
        linear
            .bias
            .clone()
            .map(|bias| (format!("{name}.bias"), bias)),
    );
}

type Loaded = (Config, Vec<(String, Vec<f32>)>);

/// Loads a model in f32, whose weights are then exactly those stored.
fn loaded(path: &Path) -> Loaded {
    let (config, weights, _) = load(path, Precision::F32).unwrap();
    (config, listed(&weights))
}

/// Asserts equality; a failure names the weight that differs instead of printing thousands of numbers.
fn assert_same(found: &Loaded, expected: &Loaded) {
    assert_eq!(found.0, expected.0);
    assert_same_weights(&found.1, &expected.1);
}

fn assert_same_weights(found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    let names = |all: &[(String, Vec<f32>)]| all.iter().map(|w| w.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{name} differs");
    }
}
