//! Evaluation: against transformers and numpy, against plain loops, and what must hold of any.

use std::path::{Path, PathBuf};

use saescope::eval::{EvalConfig, Evaluation, core, evaluate};
use saescope::model::Model;
use saescope::sae::{InputNorm, Record, Sae, Weights};
use saescope::site::Site;
use saescope::{Error, Gate, Matrix, Storage};
use serde_json::Value;

use crate::tiny;

const TEXTS: [&[u32]; 4] = [&[3, 1, 4, 1, 5, 9, 2, 6], &[7], &[1, 8, 2, 8], &[5, 3]];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn run(model: &Model, saes: &[&Sae], texts: &[&[u32]]) -> Vec<Evaluation> {
    evaluate(model, saes, texts, &EvalConfig::default(), &mut |_, _| {}).unwrap()
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// Compares every number that `expected` has.
fn compare(case: &str, found: &Value, expected: &Value) {
    for (name, expected) in expected.as_object().unwrap() {
        let expected = expected.as_f64().unwrap();
        let found = found[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{case}: no {name} in {found}"));
        let off = (found - expected).abs() / expected.abs().max(1.0);
        assert!(off < 1e-4, "{case}, {name}: {found}, not {expected}");
    }
}

/// `tests/golden/make_eval.py` made the autoencoders and the numbers.
#[test]
fn every_number_is_that_of_transformers_and_numpy() {
    let cases = [
        ("gpt2", "gpt2"),
        ("gemma2", "gemma2"),
        ("llama_transcoder", "llama"),
    ];
    for (case, family) in cases {
        let folder = golden().join("eval").join(case);
        let expected = json(&folder.join("expected.json"));
        let texts: Vec<Vec<u32>> = serde_json::from_value(expected["texts"].clone()).unwrap();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let model = Model::open(&golden().join("models").join(family), Storage::F32).unwrap();
        let mut sae = Sae::open(&folder).unwrap();
        sae.record_mut().model = None;
        let found = serde_json::to_value(&run(&model, &[&sae], &texts)[0]).unwrap();
        compare(case, &found, &expected["all"]);
        compare(case, &found["without_first"], &expected["without_first"]);
        for matrix in ["decoder", "encoder"] {
            compare(case, &found[matrix], &expected[matrix]);
        }
        let histogram: Vec<usize> =
            serde_json::from_value(found["density_histogram"].clone()).unwrap();
        assert_eq!(histogram.iter().sum::<usize>(), 48);
        assert_eq!(found["sequences"], texts.len());
    }
}
