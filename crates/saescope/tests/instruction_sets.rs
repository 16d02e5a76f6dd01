//! The golden cases under every instruction set of the machine. The test is a binary of its own since
//! the instruction set belongs to the process.

use std::path::Path;

use saescope::hook::Capture;
use saescope::model::Model;
use saescope::{Isa, Matrix, Precision};

fn difference(found: &Matrix, expected: &Matrix) -> f64 {
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
fn every_instruction_set_computes_the_same_model() {
    let tokens: Vec<u32> = (0..24).map(|i| i * 7 % 50).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models");
    for case in ["gpt2", "gpt_neox", "llama_gqa_llama3", "gemma2", "gemma3"] {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut reference: Option<(Matrix, Vec<Matrix>)> = None;
            for isa in Isa::available() {
                assert!(Isa::force(isa));
                let model = Model::open(&folder.join(case), precision).unwrap();
                let sites: Vec<_> = model.sites().collect();
                let mut capture = Capture::new(sites.clone());
                let logits = model.logits(&[&tokens], &mut capture).unwrap();
                let activations: Vec<_> = sites
                    .iter()
                    .map(|&site| capture.take(site).unwrap())
                    .collect();
                let Some((expected_logits, expected)) = &reference else {
                    reference = Some((logits, activations));
                    continue;
                };
                // A product of bf16 rounds activations too.
                let rounds = isa == Isa::Avx512Bf16 && precision == Precision::Bf16;
                let tolerance = if rounds { 5e-2 } else { 1e-4 };
                assert!(
                    difference(&logits, expected_logits) < tolerance,
                    "{case} {isa} {precision:?}"
                );
                for ((site, found), expected) in sites.iter().zip(&activations).zip(expected) {
                    let off = difference(found, expected);
                    assert!(
                        off < tolerance,
                        "{case} {isa} {precision:?} {site}: {off:.1e}"
                    );
                }
            }
        }
    }
}
