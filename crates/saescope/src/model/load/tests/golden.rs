//! Models loaded from the golden checkpoints, compared with their tensors read one by one.

use super::*;
use crate::model::config::MlpKind;

fn cases() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(golden("")).expect("tests/golden/models is part of the sources");
    let mut cases: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 26, "{} golden cases", cases.len());
    cases
}

fn has_shape(linear: &Linear, d_out: usize, d_in: usize) -> bool {
    let bias = linear.bias.as_ref().map_or(d_out, Vec::len);
    (linear.weight.d_out(), linear.weight.d_in(), bias) == (d_out, d_in, d_out)
}

fn check_block(block: &Block, config: &Config) {
    let Config {
        d_model,
        d_head,
        n_heads,
        n_kv_heads,
        d_mlp,
        ..
    } = *config;
    let MlpKind { gated, .. } = config.mlp;
    assert!(has_shape(
        &block.qkv,
        (n_heads + 2 * n_kv_heads) * d_head,
        d_model
    ));
    assert!(has_shape(&block.attn_out, d_model, n_heads * d_head));
    assert!(has_shape(
        &block.mlp_in,
        if gated { 2 * d_mlp } else { d_mlp },
        d_model
    ));
    assert!(has_shape(&block.mlp_out, d_model, d_mlp));
    assert_eq!(block.q_norm.is_some(), config.has_qk_norm());
    assert_eq!(block.mlp_post_norm.is_some(), config.has_post_norms());
}

#[test]
fn every_case_loads_with_the_shapes_of_its_configuration() {
    for case in cases() {
        let (config, weights, source) =
            load(&case, Precision::F32).unwrap_or_else(|error| panic!("{error}"));
        let file = super::config(&case);
        let file = file.get("text_config").unwrap_or(&file);
        let size =
            |old: &str, new: &str| file.get(old).or(file.get(new)).unwrap().as_u64().unwrap();
        assert_eq!(
            config.d_model as u64,
            size("n_embd", "hidden_size"),
            "{case:?}"
        );
        assert_eq!(
            config.n_layers() as u64,
            size("n_layer", "num_hidden_layers"),
            "{case:?}"
        );
        assert_eq!(weights.blocks.len(), config.n_layers());
        assert_eq!(weights.embed.d_out(), config.d_vocab);
        assert_eq!(weights.unembed.is_none(), source.tied);
        for block in &weights.blocks {
            check_block(block, &config);
        }
        let format = if case.join("pytorch_model.bin").exists() {
            "pytorch"
        } else {
            "safetensors"
        };
        assert_eq!(source.format, format, "{case:?}");
        assert!(source.bytes > 0 && !source.files.is_empty());
    }
}

#[test]
fn every_published_root_of_names_is_read() {
    let cases = [
        ("gpt2", "transformer.", ""),
        ("gpt_neox", "gpt_neox.", ""),
        ("gemma3", "model.", "model.language_model."),
        ("gemma3", "model.", "language_model.model."),
    ];
    for (case, root, other) in cases {
        let mut tensors = tensors(&golden(case));
        for (name, ..) in &mut tensors {
            if let Some(rest) = name.strip_prefix(root) {
                *name = format!("{other}{rest}");
            }
        }
        let renamed = write(&super::config(&golden(case)), &tensors);
        assert_same(&loaded(renamed.path()), &loaded(&golden(case)));
    }
}

/// Rows `0..n` of `all`, `[rows, width]`, taken in the order `stored`.
fn rows(all: &[f32], width: usize, stored: impl Iterator<Item = usize>) -> Vec<f32> {
    stored
        .flat_map(|row| all[row * width..][..width].to_vec())
        .collect()
}

fn find<T: Clone>(all: &[(String, T)], name: &str) -> T {
    let found = all.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name}")).1.clone()
}

fn stored(case: &str) -> Vec<(String, Vec<f32>)> {
    let tensors = tensors(&golden(case)).into_iter();
    tensors.map(|(name, _, values)| (name, values)).collect()
}

#[test]
fn separate_projections_are_joined_in_order() {
    let (stored, (_, model)) = (stored("llama_bias"), loaded(&golden("llama_bias")));
    let joined = |names: &[&str], kind: &str| -> Vec<f32> {
        let name = |part: &&str| find(&stored, &format!("model.layers.1.{part}.{kind}"));
        names.iter().flat_map(name).collect()
    };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    let mlp = ["mlp.gate_proj", "mlp.up_proj"];
    assert_eq!(find(&model, "1.qkv"), joined(&qkv, "weight"));
    assert_eq!(find(&model, "1.qkv.bias"), joined(&qkv, "bias"));
    assert_eq!(find(&model, "1.mlp_in"), joined(&mlp, "weight"));
    assert_eq!(find(&model, "1.mlp_in.bias"), joined(&mlp, "bias"));
}

#[test]
fn weights_of_gpt2_are_transposed() {
    let (stored, (config, model)) = (stored("gpt2_inner"), loaded(&golden("gpt2_inner")));
    let tensor = find(&stored, "transformer.h.0.mlp.c_fc.weight"); // [d_model, d_mlp]
    let (d_model, d_mlp) = (config.d_model, config.d_mlp);
    let transposed: Vec<f32> = (0..d_mlp * d_model)
        .map(|i| tensor[i % d_model * d_mlp + i / d_model])
        .collect();
    assert_eq!(find(&model, "0.mlp_in"), transposed);
}

#[test]
fn gpt_neox_heads_are_sorted_into_queries_keys_and_values() {
    let (stored, (config, model)) = (stored("gpt_neox"), loaded(&golden("gpt_neox")));
    let name = "gpt_neox.layers.1.attention.query_key_value";
    let (n_heads, d) = (config.n_heads, config.d_head);
    let order = || {
        let of_head =
            move |part: usize, head: usize| (0..d).map(move |i| (head * 3 + part) * d + i);
        (0..3).flat_map(move |part| (0..n_heads).flat_map(move |head| of_head(part, head)))
    };
    let weight = rows(
        &find(&stored, &format!("{name}.weight")),
        config.d_model,
        order(),
    );
    assert_eq!(find(&model, "1.qkv"), weight);
    let bias = rows(&find(&stored, &format!("{name}.bias")), 1, order());
    assert_eq!(find(&model, "1.qkv.bias"), bias);
}

#[test]
fn gemma_norms_have_one_added() {
    let (stored, (_, model)) = (stored("gemma3"), loaded(&golden("gemma3")));
    for (ours, theirs) in [
        ("5.q_norm", "model.layers.5.self_attn.q_norm.weight"),
        (
            "5.mlp_norm",
            "model.layers.5.pre_feedforward_layernorm.weight",
        ),
        ("final_norm", "model.norm.weight"),
    ] {
        let expected: Vec<f32> = find(&stored, theirs).iter().map(|w| w + 1.0).collect();
        assert_eq!(find(&model, ours), expected, "{ours}");
    }
}
