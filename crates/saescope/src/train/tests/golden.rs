//! Three steps of every objective compared with the library that it comes from;
//! `tests/golden/make_train.py` makes the files.

use std::path::PathBuf;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::train::input::InputTransform;
use crate::train::weights::{Optimiser, VECTOR_NAMES, Vectors, Weights};

const CASES: [&str; 20] = [
    "dictionary_learning_april",
    "dictionary_learning_batchtopk",
    "dictionary_learning_gated",
    "dictionary_learning_jumprelu",
    "dictionary_learning_matryoshka",
    "dictionary_learning_standard",
    "dictionary_learning_topk",
    "saelens_batchtopk",
    "saelens_gated",
    "saelens_jumprelu_step",
    "saelens_jumprelu_tanh",
    "saelens_matryoshka",
    "saelens_standard",
    "saelens_topk",
    "saelens_topk_few_dead",
    "sparsify_fused",
    "sparsify_skip",
    "sparsify_topk",
    "sparsify_topk_few_dead",
    "sparsify_transcoder",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/train")
}

struct Case {
    config: TrainConfig,
    file: Checkpoint,
}

impl Case {
    fn open(name: &str) -> Case {
        let config = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
        Case {
            config: serde_json::from_slice(&config).unwrap(),
            file: Checkpoint::open(&folder().join(format!("{name}.safetensors"))).unwrap(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.file.names().any(|found| found == name)
    }

    fn vector(&self, name: &str) -> Vec<f32> {
        match self.has(name) {
            true => self.file.tensor(name).unwrap().to_vec().unwrap(),
            false => Vec::new(),
        }
    }

    fn matrix(&self, name: &str) -> Matrix {
        let tensor = self.file.tensor(name).unwrap();
        let [rows, cols] = *tensor.shape() else {
            panic!("{name} has shape {:?}", tensor.shape());
        };
        Matrix::from_vec(rows, cols, tensor.to_vec().unwrap())
    }

    /// One batch for each step.
    fn batches(&self) -> Vec<Batch> {
        let of = |name: &str| -> Vec<Matrix> {
            let shape = self.file.tensor(name).unwrap().shape().to_vec();
            let values = self.vector(name);
            let batches = values.chunks_exact(shape[1] * shape[2]);
            batches
                .map(|x| Matrix::from_vec(shape[1], shape[2], x.to_vec()))
                .collect()
        };
        let mut targets = if self.has("target") {
            of("target")
        } else {
            Vec::new()
        }
        .into_iter();
        let batches = of("x").into_iter().map(|x| Batch {
            x,
            target: targets.next(),
        });
        batches.collect()
    }

    /// The weights `before` or `after` the steps.
    fn weights(&self, when: &str) -> Weights {
        let mut vectors = Vectors::default();
        for (name, part) in VECTOR_NAMES.iter().zip(vectors.parts_mut()) {
            *part = self.vector(&format!("{when}.{name}"));
        }
        let matrix = |name: &str| self.matrix(&format!("{when}.{name}"));
        Weights::new(&self.config, matrix("w_enc"), matrix("w_dec"), vectors)
    }

    fn state(&self, first: &Batch) -> State {
        let mut state = State::new(&self.config, first);
        state.learner.weights = self.weights("before");
        state.learner.optimiser = Optimiser::new(&state.learner.weights);
        assert_eq!(
            state.setup.transform,
            InputTransform::measure(&self.config, first)
        );
        for feature in self.file.tensor("dead").unwrap().to_i64().unwrap() {
            state.learner.firing.since[feature as usize] = 10_000_000;
        }
        state
    }
}

/// The largest difference, and the two values.
fn difference(found: &[f32], expected: &[f32]) -> (f32, f32, f32) {
    assert_eq!(found.len(), expected.len());
    let pairs = found
        .iter()
        .zip(expected)
        .map(|(&a, &b)| ((a - b).abs(), a, b));
    pairs.fold(
        (0.0, 0.0, 0.0),
        |most, pair| if pair.0 > most.0 { pair } else { most },
    )
}

#[test]
fn three_steps_of_every_case_match_its_own_library() {
    let mut off = Vec::new();
    for name in CASES {
        let case = Case::open(name);
        let batches = case.batches();
        let mut state = case.state(&batches[0]);
        for (batch, expected) in batches.iter().zip(case.vector("losses")) {
            let report = step::step(&mut state, batch, false).unwrap();
            let loss = report.loss.total() as f32;
            if (loss / expected - 1.0).abs() > 1e-5 {
                off.push(format!(
                    "{name} step {}: loss {loss}, not {expected}",
                    state.step()
                ));
            }
        }
        let after = case.weights("after");
        let mut compare = |part: &str, found: &[f32], expected: &[f32]| {
            let (most, a, b) = difference(found, expected);
            if most > 1e-5 {
                off.push(format!("{name}: {part} {a}, not {b}"));
            }
        };
        compare(
            "w_enc",
            state.learner.weights.w_enc().data(),
            after.w_enc().data(),
        );
        compare(
            "w_dec",
            state.learner.weights.w_dec.data(),
            after.w_dec.data(),
        );
        let parts = state
            .learner
            .weights
            .vectors
            .parts()
            .into_iter()
            .zip(after.vectors.parts());
        for (part, (found, expected)) in VECTOR_NAMES.iter().zip(parts) {
            compare(part, found, expected);
        }
    }
    assert!(off.is_empty(), "off:\n{}", off.join("\n"));
}

#[test]
fn every_golden_file_is_a_case() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".safetensors").map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names, CASES);
}

#[test]
fn the_cases_exercise_their_features() {
    let objective = |name: &str| Case::open(name).config.objective;
    let forms = ["dictionary_learning_topk", "saelens_topk", "sparsify_topk"].map(|name| {
        let Objective::TopK { aux: Some(aux), .. } = objective(name) else {
            panic!("{name} has no auxiliary loss");
        };
        aux.form
    });
    assert_eq!(forms, [AuxForm::Paper, AuxForm::Saelens, AuxForm::Sparsify]);
    assert!(Case::open("sparsify_skip").has("before.w_skip"));
    for name in CASES {
        let case = Case::open(name);
        let moved = difference(&case.vector("before.w_dec"), &case.vector("after.w_dec")).0;
        assert!(moved > 1e-3, "{name} moves by {moved}");
    }
}
