//! Every family and variant compared with Hugging Face `transformers`, site by site.
//!
//! `tests/golden/make_models.py` made the checkpoints and the expected values. A missing folder or file
//! is a failure.

use std::path::{Path, PathBuf};

use saescope::generate::{Prompt, Sampling, generate};
use saescope::hook::{Capture, Hook, Rows};
use saescope::model::Model;
use saescope::site::Site;
use saescope::{Isa, Matrix, Precision};
use safetensors::SafeTensors;

/// The required cases: one for every supported family and variant.
const CASES: [&str; 28] = [
    "gemma2",
    "gemma3",
    "gemma3_linear_v5",
    "gemma3_mm_new_names",
    "gemma3_mm_old_names",
    "gpt2",
    "gpt2_bare_names",
    "gpt2_bin",
    "gpt2_bin_legacy",
    "gpt2_by_layer",
    "gpt2_inner",
    "gpt2_unscaled",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "llama_bf16",
    "llama_bias",
    "llama_f16",
    "llama_gqa_llama3",
    "llama_gqa_llama3_v5",
    "llama_head_dim",
    "llama_linear",
    "llama_sharded",
    "mistral_window",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm2",
];

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/models")
        .join(case)
}

/// The values that `transformers` computed for a case.
struct Expected {
    bytes: Vec<u8>,
}

impl Expected {
    fn of(case: &str) -> Expected {
        let path = folder(case).join("expected.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Expected { bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn tokens(&self, name: &str) -> Vec<u32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap();
        let ids = view
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        ids.map(|id| id as u32).collect()
    }

    fn matrix(&self, name: &str) -> Matrix {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap();
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Matrix::from_vec(view.shape()[0], view.shape()[1], values.collect())
    }

    fn sites(&self) -> Vec<Site> {
        let named = |name: &str| name.strip_prefix("a.").and_then(|name| name.parse().ok());
        self.tensors()
            .names()
            .iter()
            .filter_map(|name| named(name))
            .collect()
    }
}

/// The largest difference relative to the largest expected value or to 1, whichever is larger.
fn difference(found: &Matrix, expected: &Matrix) -> f64 {
    let shapes = (
        (found.rows(), found.cols()),
        (expected.rows(), expected.cols()),
    );
    assert_eq!(shapes.0, shapes.1, "shapes");
    let scale = expected
        .data()
        .iter()
        .fold(1.0_f32, |scale, x| scale.max(x.abs()));
    let pairs = found.data().iter().zip(expected.data());
    pairs
        .map(|(a, b)| f64::from((a - b).abs() / scale))
        .fold(0.0, f64::max)
}

#[test]
fn every_site_of_every_case_is_what_transformers_computes() {
    let mut off = Vec::new();
    for case in CASES {
        let expected = Expected::of(case);
        let model = Model::open(&folder(case), Precision::F32).unwrap();
        let tokens = expected.tokens("a.tokens");
        let mut capture = Capture::new(expected.sites());
        let logits = model.logits(&[&tokens], &mut capture).unwrap();
        for site in expected.sites() {
            let found = capture.take(site).unwrap();
            let difference = difference(&found, &expected.matrix(&format!("a.{site}")));
            if difference > 1e-4 {
                off.push(format!("{case} {site}: {difference:.1e}"));
            }
        }
        let difference = difference(&logits, &expected.matrix("a.logits"));
        if difference > 1e-4 {
            off.push(format!("{case} logits: {difference:.1e}"));
        }
    }
    assert!(off.is_empty(), "more than 1e-4 off:\n{}", off.join("\n"));
}

#[test]
fn full_cases_compare_every_site_of_the_model() {
    for case in [
        "gpt2",
        "gpt_neox",
        "llama",
        "mistral_window",
        "qwen2",
        "qwen3",
        "gemma2",
        "gemma3",
    ] {
        let model = Model::open(&folder(case), Precision::F32).unwrap();
        let expected = Expected::of(case).sites();
        assert!(model.sites().all(|site| expected.contains(&site)), "{case}");
    }
}

/// The norm of the difference relative to the norm of the expected values.
fn relative(found: &Matrix, expected: &Matrix) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let pairs = found.data().iter().zip(expected.data());
    norm(&mut pairs.map(|(a, b)| a - b)) / norm(&mut expected.data().iter().copied())
}

#[test]
fn bf16_weights_stay_within_their_rounding() {
    // A processor that multiplies bf16 rounds both factors, each by the same amount.
    let roundings: f64 = match Isa::current().to_string().as_str() {
        "avx512bf16" => 2.0,
        _ => 1.0,
    };
    let mut off = Vec::new();
    for case in CASES {
        let expected = Expected::of(case);
        let model = Model::open(&folder(case), Precision::Bf16).unwrap();
        let tokens = expected.tokens("a.tokens");
        let mut capture = Capture::new(expected.sites());
        let logits = model.logits(&[&tokens], &mut capture).unwrap();
        let mut compare = |what: String, found: &Matrix| {
            let difference = relative(found, &expected.matrix(&format!("a.{what}")));
            // Scores of these random models reach the hundreds, so rounding the weights alone moves a
            // probability by several per cent. The residual stream hardly moves.
            let tolerance = if what.starts_with("attn") { 5e-2 } else { 2e-2 };
            if difference > tolerance * roundings.sqrt() {
                off.push(format!("{case} {what}: {difference:.1e}"));
            }
        };
        compare("logits".to_owned(), &logits);
        for site in expected.sites() {
            compare(site.to_string(), &capture.take(site).unwrap());
        }
    }
    assert!(
        off.is_empty(),
        "further off than rounding explains:\n{}",
        off.join("\n")
    );
}

#[test]
fn a_batch_gives_the_bits_of_its_sequences_alone() {
    for case in CASES {
        let expected = Expected::of(case);
        let model = Model::open(&folder(case), Precision::F32).unwrap();
        let (a, b) = (expected.tokens("a.tokens"), expected.tokens("b.tokens"));
        let both = model.logits(&[&b, &a], &mut ()).unwrap();
        let alone = model.logits(&[&b], &mut ()).unwrap();
        assert!(
            difference(&alone, &expected.matrix("b.logits")) < 1e-4,
            "{case}"
        );
        assert_eq!(both.data()[..alone.data().len()], *alone.data(), "{case}");
        let mut after = model.logits(&[&a], &mut ()).unwrap();
        assert_eq!(
            both.data()[alone.data().len()..],
            *after.data_mut(),
            "{case}"
        );
    }
}

/// The output of the final norm of a pass in which every other row at one site is halved.
fn ends_halved_at(
    site: Site,
    pass: impl FnOnce(&mut dyn Hook) -> saescope::Result<()>,
) -> saescope::Result<Matrix> {
    struct Halve(Site);
    impl Hook for Halve {
        fn wants(&self, site: Site) -> bool {
            site == self.0
        }
        fn at(&mut self, _: Site, _: &Rows, mut x: Matrix) -> saescope::Result<Matrix> {
            for row in (0..x.rows()).step_by(2) {
                x.row_mut(row).iter_mut().for_each(|x| *x *= 0.5);
            }
            Ok(x)
        }
    }
    let mut hook = (Halve(site), Capture::new([Site::FinalNorm]));
    pass(&mut hook)?;
    hook.1.take(Site::FinalNorm)
}

#[test]
fn a_pass_that_begins_at_a_change_has_the_bits_of_a_whole_one() {
    for case in CASES {
        let expected = Expected::of(case);
        let model = Model::open(&folder(case), Precision::F32).unwrap();
        let (a, b) = (expected.tokens("a.tokens"), expected.tokens("b.tokens"));
        let texts: [&[u32]; 2] = [&b, &a];
        for site in model.sites().filter(|&site| site != Site::Embed) {
            let start = model.restart(&Capture::new([site])).unwrap();
            let whole = ends_halved_at(site, |hook| model.run(&texts, hook));
            let mut plain = Capture::new([start]);
            model.run(&texts, &mut plain).unwrap();
            let resid = plain.take(start).unwrap();
            let part = ends_halved_at(site, |hook| model.run_from(start, resid, &texts, hook));
            assert_eq!(part.unwrap(), whole.unwrap(), "{case} {site}");
        }
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for case in CASES {
        let expected = Expected::of(case);
        let model = Model::open(&folder(case), Precision::F32).unwrap();
        let greedy = expected.tokens("b.greedy");
        let prompt = Prompt {
            tokens: expected.tokens("b.tokens"),
            seed: 0,
        };
        let sampling = Sampling {
            max_tokens: greedy.len(),
            ..Sampling::default()
        };
        let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
        let found = generate(&model, &[prompt], &sampling, &mut (), go_on).unwrap();
        assert_eq!(found[0].tokens, greedy, "{case}");
    }
}
