//! Evaluations against transformers and numpy, against plain loops, and in general.

use std::path::{Path, PathBuf};

use saescope::activations::Batch;
use saescope::edit::{DirectionOp, Edit, Unit};
use saescope::eval::{EvalConfig, Evaluation, core, evaluate, evaluate_activations};
use saescope::hook::{Capture, Hook, Rows};
use saescope::model::Model;
use saescope::sae::{InputNorm, Record, Sae, Weights};
use saescope::site::Site;
use saescope::steer::{Steer, losses};
use saescope::{Error, Gate, Matrix, Precision};
use serde_json::Value;

use crate::tiny;

const TEXTS: [&[u32]; 4] = [&[3, 1, 4, 1, 5, 9, 2, 6], &[7], &[1, 8, 2, 8], &[5, 3]];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn run(model: &Model, saes: &[&Sae], texts: &[&[u32]]) -> Vec<Evaluation> {
    evaluate(
        model,
        saes,
        texts,
        &EvalConfig::default(),
        &mut (),
        &mut |_, _| {},
    )
    .unwrap()
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// Compares every number of `expected`.
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
fn every_number_agrees_with_transformers_and_numpy() {
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
        let model = Model::open(&golden().join("models").join(family), Precision::F32).unwrap();
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

/// Pseudorandom values that are the same on every machine.
fn noise(i: usize) -> f32 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 40) as f32) / (1_u64 << 23) as f32 - 1.0
}

fn sae(site: Site, gate: Gate, input_norm: InputNorm) -> Sae {
    let matrix = |from| Matrix::from_fn(40, 16, |row, col| noise(from + row * 16 + col));
    let weights = Weights {
        w_enc: matrix(0),
        b_enc: vec![0.1; 40],
        gate,
        w_dec: matrix(9_000),
        b_dec: vec![0.1; 16],
        subtract_b_dec: true,
        input_norm,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    build(weights, site)
}

fn build(weights: Weights, site: Site) -> Sae {
    let record = Record {
        site: Some(site),
        ..Record::default()
    };
    Sae::new(weights, record).unwrap()
}

/// An exact autoencoder: each component and its opposite are features.
fn identity(site: Site) -> Sae {
    let signed = |row: usize, col: usize| {
        let sign = if row < 16 { 1.0 } else { -1.0 };
        if row % 16 == col { sign } else { 0.0 }
    };
    let weights = Weights {
        w_enc: Matrix::from_fn(32, 16, signed),
        b_enc: vec![0.0; 32],
        gate: Gate::Positive,
        w_dec: Matrix::from_fn(32, 16, signed),
        b_dec: vec![0.0; 16],
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    build(weights, site)
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
}

#[test]
fn an_exact_autoencoder_costs_nothing() {
    for model in tiny::models() {
        let sae = identity(Site::ResidMid(1));
        let found = &run(&model, &[&sae], &TEXTS)[0];
        for quality in [&found.all, &found.without_first] {
            let built = &quality.reconstruction;
            near(built.explained_variance, 1.0);
            near(built.mse, 0.0);
            near(built.cosine, 1.0);
            near(built.norm_ratio, 1.0);
            near(built.reconstruction_bias, 1.0);
            let kept = &quality.behaviour;
            near(kept.ce_increase, 0.0);
            near(kept.ce_recovered.unwrap(), 1.0);
            near(kept.ce_recovered_from_mean.unwrap(), 1.0);
            near(kept.kl_with_sae, 0.0);
            assert!(kept.kl_with_zero_ablation > 1e-3);
            near(quality.activity.l0, 16.0);
        }
        assert_eq!((found.all.tokens, found.without_first.tokens), (15, 11));
        assert_eq!(found.all.behaviour.predictions, 11);
        assert_eq!(found.without_first.behaviour.predictions, 8);
        // A component and its opposite read and write the two ends of one line.
        assert!(found.companions.iter().all(|c| c.score == 1.0));
        near(found.decoder.mean, 1.0 / 31.0);
    }
}

#[test]
fn activations_alone_give_the_numbers_of_their_texts() {
    let [model, _] = tiny::models();
    let site = Site::ResidPost(1);
    let sae = sae(site, Gate::TopK(3), InputNorm::None);
    let batch = |texts: &[&[u32]]| {
        let mut capture = Capture::new([site]);
        model.run(texts, &mut capture).unwrap();
        let x = capture.take(site).unwrap();
        Ok(Batch { x, target: None })
    };
    let batches = [batch(&TEXTS[..1]), batch(&TEXTS[1..])];
    let config = EvalConfig::default();
    let found = evaluate_activations(&[&sae], batches.into_iter(), &config).unwrap();
    let expected = &run(&model, &[&sae], &TEXTS)[0];
    let all = &expected.all;
    assert_eq!(found[0].tokens, all.tokens);
    let (built, whole) = (&found[0].reconstruction, &all.reconstruction);
    near(built.explained_variance, whole.explained_variance);
    near(built.mse, whole.mse);
    assert_eq!(found[0].activity.active, all.activity.active);
    assert_eq!(found[0].decoder, expected.decoder);
    let narrow = Batch {
        x: Matrix::zeros(2, 15),
        target: None,
    };
    let refused = evaluate_activations(&[&sae], std::iter::once(Ok(narrow)), &config);
    assert!(matches!(refused, Err(Error::Shape { .. })));
}

#[test]
fn an_autoencoder_of_zeros_equals_zero_ablation() {
    let [model, _] = tiny::models();
    let weights = Weights {
        w_enc: Matrix::zeros(4, 16),
        b_enc: vec![0.0; 4],
        gate: Gate::Positive,
        w_dec: Matrix::zeros(4, 16),
        b_dec: vec![0.0; 16],
        subtract_b_dec: false,
        input_norm: InputNorm::None,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    let found = &run(&model, &[&build(weights, Site::MlpOut(0))], &TEXTS)[0];
    for quality in [&found.all, &found.without_first] {
        let kept = &quality.behaviour;
        assert_eq!(kept.ce_with_sae, kept.ce_with_zero_ablation);
        assert_eq!(kept.kl_with_sae, kept.kl_with_zero_ablation);
        assert_eq!(kept.ce_recovered, Some(0.0));
        assert!(quality.reconstruction.explained_variance <= 0.0);
        assert_eq!(quality.reconstruction.cosine, 0.0);
        assert_eq!(quality.activity.dead, 4);
    }
    assert_eq!((found.decoder.zero, found.decoder.pairs), (4, 0));
}

#[test]
fn other_autoencoders_batches_and_threads_change_no_bit() {
    let [_, model] = tiny::models();
    let (post, mlp) = (Site::ResidPost(0), Site::MlpOut(1));
    let saes = [
        sae(post, Gate::TopK(5), InputNorm::LayerNorm),
        sae(mlp, Gate::Positive, InputNorm::None),
        sae(post, Gate::Above(vec![0.3; 40]), InputNorm::None),
    ];
    let all: Vec<&Sae> = saes.iter().collect();
    let together = run(&model, &all, &TEXTS);
    for (sae, expected) in all.iter().zip(&together) {
        assert_eq!(run(&model, &[sae], &TEXTS)[0], *expected);
    }
    let small = EvalConfig {
        batch_tokens: 1,
        ..EvalConfig::default()
    };
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        let found =
            pool.install(|| evaluate(&model, &all, &TEXTS, &small, &mut (), &mut |_, _| {}));
        assert_eq!(found.unwrap(), together);
    }
}

#[test]
fn progress_ends_at_the_announced_total() {
    let [model, _] = tiny::models();
    let sae = sae(Site::ResidPost(1), Gate::Positive, InputNorm::None);
    let mut seen = Vec::new();
    evaluate(
        &model,
        &[&sae],
        &TEXTS,
        &EvalConfig::default(),
        &mut (),
        &mut |d, t| seen.push((d, t)),
    )
    .unwrap();
    // One pass to the site, one of the unchanged model, three changes with and without first positions.
    assert_eq!(seen.last(), Some(&(15 * 8, 15 * 8)));
    assert!(seen.is_sorted());
}

#[test]
fn texts_and_autoencoders_that_cannot_be_evaluated_are_refused() {
    let [model, _] = tiny::models();
    let [here, beyond] = [1, 2].map(|l| sae(Site::ResidPost(l), Gate::Positive, InputNorm::None));
    let evaluate = |texts: &[&[u32]]| {
        let found = evaluate(
            &model,
            &[&here],
            texts,
            &EvalConfig::default(),
            &mut (),
            &mut |_, _| {},
        );
        found.unwrap_err()
    };
    assert!(matches!(evaluate(&[]), Error::Argument(_)));
    assert!(matches!(evaluate(&[&[1], &[2]]), Error::Argument(_)));
    // After the first position there is one token, and no variance.
    assert!(matches!(evaluate(&[&[1, 2]]), Error::Argument(_)));
    assert!(matches!(evaluate(&[&[1, 2, 3], &[]]), Error::Empty { .. }));
    let config = EvalConfig::default();
    let found =
        saescope::eval::evaluate(&model, &[&beyond], &TEXTS, &config, &mut (), &mut |_, _| {});
    assert!(matches!(found, Err(Error::Site { .. })));
}

#[test]
fn the_core_result_has_the_names_of_saebench() {
    let [model, _] = tiny::models();
    let sae = sae(Site::ResidPost(1), Gate::TopK(3), InputNorm::None);
    let found = &run(&model, &[&sae], &TEXTS)[0];
    let [with, without] = [true, false].map(|f| serde_json::to_value(core(found, f)).unwrap());
    let quality = &found.all;
    let mse = quality.reconstruction.mse * 16.0;
    assert_eq!(with["reconstruction_quality"]["mse"], mse);
    assert_eq!(with["sparsity"]["l0"], quality.activity.l0);
    let alive = 1.0 - quality.activity.dead as f64 / 40.0;
    assert_eq!(with["misc_metrics"]["frac_alive"], alive);
    let dense = quality.activity.dense as f64 / 40.0;
    assert_eq!(with["misc_metrics"]["freq_over_10_percent"], dense);
    let tokens = &without["token_stats"]["total_tokens_eval_reconstruction"];
    assert_eq!(tokens, found.without_first.tokens);
    let nearest = found.decoder.mean_nearest;
    let misc = &with["misc_metrics"];
    assert_eq!(misc["average_max_decoder_cosine_sim"], nearest);
    let kept = &with["model_performance_preservation"];
    assert_eq!(
        kept["ce_loss_score"],
        quality.behaviour.ce_recovered.unwrap()
    );
}

/// SAELens' own evaluation of the same autoencoder on the same tokens. SAELens omits special tokens from
/// its sums, but still replaces them under ablation and counts them in `token_stats`.
#[test]
fn the_core_result_agrees_with_saelens() {
    let folder = golden().join("eval/gpt2");
    let expected = json(&folder.join("saelens.json"));
    let texts: Vec<Vec<u32>> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let model = Model::open(&golden().join("models/gpt2"), Precision::F32).unwrap();
    let mut sae = Sae::open(&folder).unwrap();
    sae.record_mut().model = None;
    let evaluation = &run(&model, &[&sae], &texts)[0];
    let ablated = [
        "kl_div_with_ablation",
        "kl_div_score",
        "ce_loss_with_ablation",
        "ce_loss_score",
    ];
    let mut compared = 0;
    for (part, with_first) in [("all", true), ("without_first", false)] {
        let found = serde_json::to_value(core(evaluation, with_first)).unwrap();
        for (category, metrics) in expected[part].as_object().unwrap() {
            let Some(metrics) = metrics.as_object() else {
                continue;
            };
            for (name, value) in metrics {
                let counted = category == "token_stats" || ablated.contains(&name.as_str());
                if !with_first && counted {
                    continue;
                }
                let one = serde_json::json!({ name: value });
                compare(part, &found[category], &one);
                compared += 1;
            }
        }
        let quality = [&evaluation.without_first, &evaluation.all][usize::from(with_first)];
        assert_eq!(expected[part]["dead"], quality.activity.dead);
    }
    assert_eq!(compared, 19 + 13);
}

/// A hook that also wants the last site, so that no pass can begin after the edits.
struct ToTheEnd<'a>(Steer<'a>);

impl Hook for ToTheEnd<'_> {
    fn wants(&self, site: Site) -> bool {
        site == Site::FinalNorm || self.0.wants(site)
    }

    fn at(&mut self, site: Site, rows: &Rows, x: Matrix) -> saescope::Result<Matrix> {
        self.0.at(site, rows, x)
    }
}

#[test]
fn an_edited_model_is_evaluated_with_its_edits() {
    let direction: Vec<f32> = (0..16).map(|i| noise(700 + i)).collect();
    for model in tiny::models() {
        for at in [Site::ResidMid(0), Site::ResidPost(0), Site::ResidPost(1)] {
            let op = DirectionOp::Add {
                direction: direction.clone(),
                scale: 2.0,
                unit: Unit::Raw,
            };
            let edits = [Edit::new(at, op)];
            let steer = || Steer::new(&edits, &[]).unwrap();
            let sae = sae(Site::ResidPost(0), Gate::Positive, InputNorm::None);
            let of = |hook: &mut dyn Hook| {
                let config = EvalConfig::default();
                evaluate(&model, &[&sae], &TEXTS, &config, hook, &mut |_, _| {}).unwrap()
            };
            let found = &of(&mut steer())[0];
            // The result does not depend on the site at which a pass begins.
            assert_eq!(of(&mut ToTheEnd(steer()))[0], *found);
            let mut ce = Vec::new();
            for text in TEXTS {
                let logits = model.logits(&[text], &mut steer()).unwrap();
                ce.extend(losses(&logits, &text[1..]));
            }
            let mean = ce.iter().sum::<f64>() / ce.len() as f64;
            near(found.all.behaviour.ce_without_sae, mean);
            let plain = &run(&model, &[&sae], &TEXTS)[0];
            assert_ne!(plain.all.behaviour.ce_without_sae, mean);
            // An edit after the autoencoder's site does not change the activations that it reads.
            let same_input = at == Site::ResidPost(1);
            assert_eq!(
                found.all.reconstruction == plain.all.reconstruction,
                same_input
            );
        }
    }
}
