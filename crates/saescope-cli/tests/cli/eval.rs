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
