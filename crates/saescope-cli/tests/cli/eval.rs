//! `saescope eval` as people and programs use it.

use serde_json::Value;

use crate::{MODEL, check, json, run};

const SAE: &str = "tests/data/sae";

fn call<'a>(saes: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let texts = "tests/data/text/stories-en.txt";
    let on = ["--model", MODEL, "--corpus", texts, "--document", "line"];
    [&["eval"], saes, &on, &["--tokens", "256"], more].concat()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn one_autoencoder_is_an_object_with_the_promised_names() {
    let found = json(&call(&[SAE], &["--json"]));
    for name in [
        "l0",
        "explained_variance",
        "mse",
        "ce_without_sae",
        "ce_with_sae",
        "ce_with_zero_ablation",
        "ce_recovered",
        "kl_with_sae",
        "dead",
        "d_sae",
        "tokens",
    ] {
        number(&found, name);
        if name != "d_sae" {
            number(&found["without_first"], name);
        }
    }
    assert_eq!(
        (&found["d_sae"], &found["tokens"]),
        (&512.into(), &256.into())
    );
    assert_eq!(found["without_first"]["tokens"], 254);
    assert_eq!(
        (&found["sae"], &found["model"]),
        (&SAE.into(), &MODEL.into())
    );
    assert!(number(&found, "explained_variance") > 0.8);
    assert!(number(&found, "ce_with_sae") < number(&found, "ce_with_zero_ablation"));
}

#[test]
fn several_autoencoders_are_a_list_and_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("a.svg");
    let more = ["--json", "--plot", svg.to_str().unwrap()];
    let found = json(&call(&[SAE, SAE], &more));
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], found[1]);
    let drawn = std::fs::read_to_string(svg).unwrap();
    for label in ["explained variance", "CE increase in nats", "L0"] {
        assert!(drawn.contains(label), "{label}");
    }
    assert_eq!(drawn.matches("<circle").count(), 4);
}

#[test]
fn saebench_finds_its_metrics() {
    let found = json(&call(&[SAE], &["--json-core"]));
    assert_eq!(found["eval_type_id"], "core");
    let metrics = &found["eval_result_metrics"];
    let plain = json(&call(&[SAE], &["--json"]));
    // The texts begin with BOS, which SAEBench leaves out.
    let kept = number(&metrics["model_performance_preservation"], "ce_loss_score");
    assert_eq!(kept, number(&plain["without_first"], "ce_recovered"));
    number(&metrics["misc_metrics"], "frac_alive");
}

/// Categories of numbers that SAEBench 0.6's schema of `core` results requires.
const CORE: [(&str, &[&str]); 7] = [
    (
        "model_behavior_preservation",
        &["kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"],
    ),
    (
        "model_performance_preservation",
        &[
            "ce_loss_score",
            "ce_loss_with_ablation",
            "ce_loss_with_sae",
            "ce_loss_without_sae",
        ],
    ),
    (
        "reconstruction_quality",
        &[
            "explained_variance",
            "explained_variance_legacy",
            "mse",
            "cossim",
        ],
    ),
    (
        "shrinkage",
        &[
            "l2_norm_in",
            "l2_norm_out",
            "l2_ratio",
            "relative_reconstruction_bias",
        ],
    ),
    ("sparsity", &["l0", "l1"]),
    (
        "token_stats",
        &[
            "total_tokens_eval_reconstruction",
            "total_tokens_eval_sparsity_variance",
        ],
    ),
    (
        "misc_metrics",
        &[
            "freq_over_1_percent",
            "freq_over_10_percent",
            "normalized_freq_over_1_percent",
            "normalized_freq_over_10_percent",
            "average_max_encoder_cosine_sim",
            "average_max_decoder_cosine_sim",
            "frac_alive",
        ],
    ),
];

/// A field, and whether a value is of its type.
type Field = (&'static str, fn(&Value) -> bool);

/// Its other keys, and their types.
const AROUND: [Field; 12] = [
    ("eval_type_id", Value::is_string),
    ("eval_config", Value::is_object),
    ("eval_id", Value::is_string),
    ("datetime_epoch_millis", Value::is_u64),
    ("eval_result_metrics", Value::is_object),
    ("eval_result_details", Value::is_array),
    ("sae_bench_commit_hash", Value::is_string),
    ("sae_lens_id", Value::is_string),
    ("sae_lens_release_id", Value::is_string),
    ("sae_lens_version", Value::is_string),
    ("sae_cfg_dict", Value::is_object),
    ("eval_result_unstructured", Value::is_object),
];

/// The fields of its configuration.
const CONFIG: [Field; 16] = [
    ("model_name", Value::is_string),
    ("llm_dtype", Value::is_string),
    ("batch_size_prompts", Value::is_u64),
    ("n_eval_reconstruction_batches", Value::is_u64),
    ("n_eval_sparsity_variance_batches", Value::is_u64),
    ("dataset", Value::is_string),
    ("context_size", Value::is_u64),
    ("compute_kl", Value::is_boolean),
    ("compute_ce_loss", Value::is_boolean),
    ("compute_l2_norms", Value::is_boolean),
    ("compute_sparsity_metrics", Value::is_boolean),
    ("compute_variance_metrics", Value::is_boolean),
    ("compute_featurewise_density_statistics", Value::is_boolean),
    (
        "compute_featurewise_weight_based_metrics",
        Value::is_boolean,
    ),
    (
        "exclude_special_tokens_from_reconstruction",
        Value::is_boolean,
    ),
    ("verbose", Value::is_boolean),
];

/// Asserts that `value` is an object of exactly these fields.
fn has(value: &Value, fields: &[Field]) {
    let mut found: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for (name, is_right) in fields {
        assert!(is_right(&value[name]), "{name}: {}", value[name]);
    }
}

#[test]
fn saebench_finds_all_that_its_schema_knows_and_nothing_else() {
    let found = json(&call(&[SAE], &["--json-core"]));
    has(&found, &AROUND);
    has(&found["eval_config"], &CONFIG);
    let metrics = &found["eval_result_metrics"];
    has(
        metrics,
        &CORE.map(|(name, _)| (name, Value::is_object as _)),
    );
    for (category, names) in CORE {
        let is_right: fn(&Value) -> bool = match category {
            "token_stats" => Value::is_u64,
            _ => Value::is_number,
        };
        let numbers = names.iter().map(|&name| (name, is_right));
        has(&metrics[category], &numbers.collect::<Vec<_>>());
    }
}

#[test]
fn tables_stand_side_by_side_or_in_rows() {
    check("eval", &call(&[SAE], &[]));
    check("eval-five", &call(&[SAE; 5], &[]));
}

#[test]
fn without_texts_the_next_step_is_named() {
    let output = run(&["eval", SAE, "--model", MODEL]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("--corpus"), "{said}");
}
