//! Compares an evaluation on a real model with `transformers` and numpy.
//!
//! `tests/golden/make_eval.py real` made the autoencoder and the numbers.

use saescope::Precision;
use saescope::eval::{EvalConfig, evaluate};
use saescope::model::Model;
use saescope::sae::Sae;
use serde_json::Value;

use crate::{model, repository, repository_path};

/// Compares numbers: cross-entropies and divergences within 1e-3 nats, all others within a thousandth.
fn compare(part: &str, found: &Value, expected: &Value) {
    for (name, expected) in expected.as_object().unwrap() {
        let expected = expected.as_f64().unwrap();
        let found = found[name].as_f64().unwrap();
        let off = (found - expected).abs();
        println!("{part}, {name}: {found:.6}, {expected:.6}, off {off:.1e}");
        let near = if name.starts_with("ce_") || name.starts_with("kl_") {
            off < 1e-3
        } else {
            off < 1e-3 * expected.abs().max(1.0)
        };
        assert!(near, "{part}, {name}: {found}, not {expected}");
    }
}

#[test]
fn the_evaluation_of_smollm2_agrees_with_transformers_and_numpy() {
    let expected: Value =
        serde_json::from_slice(&repository("golden/real/smollm2_eval.json")).unwrap();
    let texts: Vec<Vec<u32>> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let model = Model::open(&model(expected["file"].as_str().unwrap()), Precision::F32).unwrap();
    let sae = Sae::open(&repository_path("golden/eval/smollm2")).unwrap();
    let config = EvalConfig::default();
    let found = evaluate(&model, &[&sae], &texts, &config, &mut (), &mut |_, _| {}).unwrap();
    let found = serde_json::to_value(&found[0]).unwrap();
    compare("all", &found, &expected["all"]);
    compare(
        "without_first",
        &found["without_first"],
        &expected["without_first"],
    );
    compare("decoder", &found["decoder"], &expected["decoder"]);
    compare("encoder", &found["encoder"], &expected["encoder"]);
}
