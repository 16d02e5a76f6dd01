//! Identities that hold for any autoencoder in any forward pass.

use saescope::edit::FeatureOp;
use saescope::edit::Span;
use saescope::generate::{Prompt, Sampling, generate};
use saescope::hook::{Capture, Hook, RowSpan, Rows};
use saescope::sae::{FeatureChange, InputNorm, Record, Sae, Splice, Weights};
use saescope::site::Site;
use saescope::{Error, Gate, Matrix};

use super::{difference, expected, open};
use crate::tiny;

const D_IN: usize = 16;
const D_SAE: usize = 64;
const SITE: Site = Site::ResidPost(0);

/// Pseudorandom numbers that are the same on every machine.
pub(super) fn random(rows: usize, cols: usize, seed: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| {
        let at = ((seed * 7919 + row) * 104_729 + col * 31 + 1) as u32;
        let mixed = at
            .wrapping_mul(2_654_435_761)
            .rotate_left(13)
            .wrapping_mul(0x85eb_ca6b);
        mixed as f32 / u32::MAX as f32 * 2.0 - 1.0
    })
}

/// The parts of an autoencoder for the tiny models.
pub(super) fn weights(seed: usize) -> (Record, Weights) {
    let record = Record {
        site: Some(SITE),
        ..Record::default()
    };
    let weights = Weights {
        w_enc: random(D_SAE, D_IN, seed),
        b_enc: random(1, D_SAE, seed + 1).data().to_vec(),
        gate: Gate::TopK(6),
        w_dec: random(D_SAE, D_IN, seed + 2),
        b_dec: random(1, D_IN, seed + 3).data().to_vec(),
        subtract_b_dec: true,
        input_norm: InputNorm::LayerNorm,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    (record, weights)
}

fn tiny_sae() -> Sae {
    let (record, weights) = weights(3);
    Sae::new(weights, record).unwrap()
}

fn at(start: usize, len: usize) -> Rows {
    Rows::new(vec![RowSpan { start, len }])
}

fn set(feature: u32, value: f32, span: Span) -> FeatureChange {
    FeatureChange {
        feature,
        span,
        op: FeatureOp::Set(value),
    }
}

#[test]
fn splicing_with_the_error_term_leaves_logits_bit_equal() {
    let sae = tiny_sae();
    for model in tiny::models() {
        let tokens: Vec<u32> = (0..12).collect();
        let plain = model.logits(&[&tokens], &mut ()).unwrap();
        let active = FeatureChange {
            feature: 3,
            span: Span::All,
            op: FeatureOp::Multiply(1.0),
        };
        for changes in [vec![], vec![active]] {
            let mut splice = Splice::edit(&sae, changes).unwrap();
            let spliced = model.logits(&[&tokens], &mut splice).unwrap();
            assert_eq!(plain, spliced);
        }
        let mut splice = Splice::replace(&sae, vec![]).unwrap();
        assert_ne!(plain, model.logits(&[&tokens], &mut splice).unwrap());
    }
}

#[test]
fn replacing_puts_the_reconstruction_in_the_place_of_the_activation() {
    let sae = tiny_sae();
    let x = random(4, D_IN, 9);
    let whole = sae.reconstruct(&x).unwrap();
    let mut splice = Splice::replace(&sae, vec![]).unwrap();
    assert_eq!(splice.at(SITE, &at(0, 4), x.clone()).unwrap(), whole);
    // A token outside the span does not change.
    let mut splice = splice.within(Span::From(6));
    let part = splice.at(SITE, &at(5, 4), x.clone()).unwrap();
    assert_eq!(part.row(0), x.row(0));
    assert_eq!(part.data()[D_IN..], whole.data()[D_IN..]);
}

#[test]
fn setting_an_activation_adds_the_direction_times_the_written_scale() {
    for case in [
        "openai_v5",
        "saelens_constant_norm",
        "saelens_jumprelu",
        "dl_topk",
        "saelens_centred",
    ] {
        let sae = open(case);
        let site = sae.site().unwrap();
        let x = expected(case, "x");
        let encoded = sae.encode(&x).unwrap();
        for row in 0..x.rows() {
            let alone = x.select_rows(&[row]);
            let off = (0..sae.d_sae() as u32).find(|f| encoded.features.value(row, *f) == 0.0);
            let feature = off.unwrap();
            let activation = 1.7;
            let scale = sae.written_scale(x.row(row)).unwrap();
            let by_hand: Vec<f32> = alone
                .data()
                .iter()
                .zip(sae.direction(feature).unwrap())
                .map(|(x, d)| x + activation * scale * d)
                .collect();
            let changes = vec![set(feature, activation, Span::All)];
            let mut splice = Splice::edit(&sae, changes).unwrap();
            let set = splice.at(site, &at(0, 1), alone).unwrap();
            assert!(difference(set.data(), &by_hand) < 1e-6, "{case} row {row}");
        }
    }
}

#[test]
fn setting_an_active_feature_adds_the_difference() {
    let sae = tiny_sae();
    let x = random(3, D_IN, 5);
    let encoded = sae.encode(&x).unwrap();
    let (features, values) = encoded.features.row(1);
    let (feature, value) = (features[0], values[0]);
    let scale = encoded.written_scale(1);
    let direction = sae.direction(feature).unwrap();
    for (op, difference_made) in [
        (FeatureOp::Set(0.0), -value),
        (FeatureOp::Multiply(2.0), value),
        (FeatureOp::Set(5.0), 5.0 - value),
    ] {
        let change = FeatureChange {
            feature,
            span: Span::Only(vec![8]),
            op,
        };
        let mut edit = Splice::edit(&sae, vec![change.clone()]).unwrap();
        let edited = edit.at(SITE, &at(7, 3), x.clone()).unwrap();
        assert_eq!((edited.row(0), edited.row(2)), (x.row(0), x.row(2)));
        let moved = |from: &[f32]| -> Vec<f32> {
            let step = difference_made * scale;
            from.iter()
                .zip(direction)
                .map(|(x, d)| x + step * d)
                .collect()
        };
        assert!(difference(edited.row(1), &moved(x.row(1))) < 1e-6);
        // Without the error term, the same difference is added to the reconstruction.
        let mut replace = Splice::replace(&sae, vec![change]).unwrap();
        let replaced = replace.at(SITE, &at(7, 3), x.clone()).unwrap();
        let whole = sae.decode(&encoded);
        assert!(difference(replaced.row(1), &moved(whole.row(1))) < 1e-5);
    }
}

#[test]
fn a_transcoder_reads_at_one_site_and_writes_at_another() {
    for case in [
        "saelens_skip_transcoder",
        "gemma_scope_2_transcoder",
        "sparsify_transcoder",
    ] {
        let sae = open(case);
        let (site, out_site) = (sae.site().unwrap(), sae.out_site().unwrap());
        let (x, y) = (expected(case, "x"), expected(case, "y"));
        let rows = at(0, x.rows());
        let mut splice = Splice::replace(&sae, vec![]).unwrap();
        assert!(splice.wants(site) && splice.wants(out_site));
        assert_eq!(splice.at(site, &rows, x.clone()).unwrap(), x, "{case}");
        let written = splice
            .at(out_site, &rows, Matrix::zeros(y.rows(), y.cols()))
            .unwrap();
        assert!(difference(written.data(), y.data()) < 1e-5, "{case}");
        // With the error term, only the difference that a change makes is added to the activation.
        let mut splice = Splice::edit(&sae, vec![set(60, 2.0, Span::All)]).unwrap();
        splice.at(site, &rows, x.clone()).unwrap();
        let written = splice.at(out_site, &rows, y.clone()).unwrap();
        let direction = sae.direction(60).unwrap();
        let by_hand: Vec<f32> = y
            .row(0)
            .iter()
            .zip(direction)
            .map(|(y, d)| y + 2.0 * d)
            .collect();
        assert!(difference(written.row(0), &by_hand) < 1e-6, "{case}");
        // The transcoder has read nothing in this pass.
        let again = splice.at(out_site, &rows, y.clone());
        assert!(matches!(again, Err(Error::Site { .. })), "{case}");
    }
}

#[test]
fn a_splice_needs_known_sites() {
    let mut sae = open("saelens_transcoder");
    assert!(Splice::replace(&sae, vec![]).is_ok());
    // A transcoder's output site cannot be inferred from the site that it reads.
    sae.record_mut().out_site = None;
    assert!(matches!(
        Splice::replace(&sae, vec![]),
        Err(Error::Argument(_))
    ));
    let mut sae = tiny_sae();
    sae.record_mut().site = None;
    assert!(matches!(
        Splice::replace(&sae, vec![]),
        Err(Error::Argument(_))
    ));
}

#[test]
fn cached_generation_under_a_splice_equals_recomputed_generation() {
    let sae = tiny_sae();
    let changes = vec![set(5, 3.0, Span::From(4)), set(9, 1.0, Span::All)];
    for replace in [false, true] {
        for model in tiny::models() {
            let make = || {
                let splice = if replace {
                    Splice::replace(&sae, changes.clone())
                } else {
                    Splice::edit(&sae, changes.clone())
                };
                splice.unwrap()
            };
            let sampling = Sampling {
                max_tokens: 8,
                ..Sampling::default()
            };
            let prompt = |tokens: Vec<u32>| Prompt { tokens, seed: 0 };
            let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
            let first: Vec<u32> = vec![3, 1, 4, 1, 5];
            let prompts = [prompt(first.clone())];
            let cached = generate(&model, &prompts, &sampling, &mut make(), go_on).unwrap();
            let mut tokens = first;
            for token in &cached[0].tokens {
                let logits = model.logits(&[&tokens], &mut make()).unwrap();
                let last = logits.row(logits.rows() - 1);
                let best = (0..last.len())
                    .max_by(|a, b| last[*a].total_cmp(&last[*b]))
                    .unwrap();
                assert_eq!(*token, best as u32);
                tokens.push(*token);
            }
        }
    }
}

#[test]
fn splices_compose_with_other_hooks() {
    let sae = tiny_sae();
    let [model, _] = tiny::models();
    let tokens = [1, 2, 3];
    let mut before = Capture::new([SITE]);
    let mut after = Capture::new([SITE]);
    let mut splice = Splice::replace(&sae, vec![]).unwrap();
    model
        .logits(&[&tokens], &mut (&mut before, (&mut splice, &mut after)))
        .unwrap();
    let plain = before.take(SITE).unwrap();
    assert_eq!(after.take(SITE).unwrap(), sae.reconstruct(&plain).unwrap());
}

#[test]
fn a_folded_gated_encoder_equals_the_gated_encoder() {
    let case = "saelens_gated";
    let sae = open(case);
    let file = super::path(case).join("sae_weights.safetensors");
    let file = saescope::checkpoint::Checkpoint::open(&file).unwrap();
    let of = |name: &str| file.tensor(name).unwrap().to_vec().unwrap();
    let [w, r_mag, b_gate, b_mag] = ["W_enc", "r_mag", "b_gate", "b_mag"].map(of);
    let b_dec = of("b_dec");
    for row in 0..40 {
        let x = random(1, D_IN, row + 50);
        let encoded = sae.encode(&x).unwrap();
        for feature in 0..D_SAE {
            let z: f64 = (0..D_IN)
                .map(|i| f64::from(x.data()[i] - b_dec[i]) * f64::from(w[i * D_SAE + feature]))
                .sum();
            let gate = z + f64::from(b_gate[feature]);
            let magnitude = z * f64::from(r_mag[feature]).exp() + f64::from(b_mag[feature]);
            // At the threshold itself, rounding decides on both sides.
            if gate.abs() < 1e-5 || magnitude.abs() < 1e-5 {
                continue;
            }
            let value = if gate > 0.0 { magnitude.max(0.0) } else { 0.0 };
            let found = f64::from(encoded.features.value(0, feature as u32));
            assert!(
                (found - value).abs() < 1e-5 * value.max(1.0),
                "{feature}: {found} {value}"
            );
        }
    }
}
