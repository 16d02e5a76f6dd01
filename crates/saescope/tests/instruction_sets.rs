//! The golden cases under every instruction set that the machine has. A binary of its own: the
//! instruction set is one per process.

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
        for storage in [Precision::F32, Precision::Bf16] {
            let mut reference: Option<(Matrix, Vec<Matrix>)> = None;
            for isa in Isa::available() {
                assert!(Isa::force(isa));
                let model = Model::open(&folder.join(case), storage).unwrap();
                let sites: Vec<_> = model.sites().collect();
                let mut capture = Capture::new(sites.clone());
                let logits = model.logits(&[&tokens], &mut capture).unwrap();
                let seen: Vec<_> = sites
                    .iter()
                    .map(|&site| capture.take(site).unwrap())
                    .collect();
                let Some((logits_there, seen_there)) = &reference else {
                    reference = Some((logits, seen));
                    continue;
                };
                // Where bf16 is multiplied as such, activations are rounded too.
                let rounds = isa == Isa::Avx512Bf16 && storage == Precision::Bf16;
                let tolerance = if rounds { 5e-2 } else { 1e-4 };
                assert!(
                    difference(&logits, logits_there) < tolerance,
                    "{case} {isa} {storage:?}"
                );
                for ((site, found), there) in sites.iter().zip(&seen).zip(seen_there) {
                    let off = difference(found, there);
                    assert!(
                        off < tolerance,
                        "{case} {isa} {storage:?} {site}: {off:.1e}"
                    );
                }
            }
        }
    }
}
