//! Edits: the effect of each kind, and the equality of cached and recomputed generation.

use std::ops::ControlFlow;

use saescope::edit::{DirectionOp, Edit, FeatureOp, Op, Span, Unit};
use saescope::generate::{Generated, Prompt, Sampling, generate, most_likely};
use saescope::hook::{Capture, Hook};
use saescope::model::Model;
use saescope::sae::{FeatureChange, InputNorm, NamedSae, Record, Sae, Splice, Weights};
use saescope::site::Site;
use saescope::steer::{Amount, Steer, feature_edit, peaks};
use saescope::{Error, Gate, Matrix};

use crate::tiny;

const SITE: Site = Site::ResidPost(0);
const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];
const NORMS: [InputNorm; 4] = [
    InputNorm::None,
    InputNorm::LayerNorm,
    InputNorm::Scale(0.3),
    InputNorm::ConstantNorm,
];

/// Pseudo-random numbers in [-1, 1], the same on every machine.
fn random(rows: usize, cols: usize, seed: u32) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| {
        let mixed = (seed * 7919 + row as u32 * 104_729 + col as u32 * 31 + 1)
            .wrapping_mul(2_654_435_761)
            .rotate_left(13)
            .wrapping_mul(0x85eb_ca6b);
        mixed as f32 / u32::MAX as f32 * 2.0 - 1.0
    })
}

/// An autoencoder as wide as the tiny models.
fn sae(input_norm: InputNorm, centre: bool) -> Sae {
    let weights = Weights {
        w_enc: random(48, 16, 1),
        b_enc: random(1, 48, 2).data().to_vec(),
        gate: Gate::TopK(6),
        w_dec: random(48, 16, 3),
        b_dec: random(1, 16, 4).data().to_vec(),
        subtract_b_dec: true,
        input_norm,
        centre,
        w_skip: None,
        transcoder: false,
    };
    let record = Record {
        site: Some(SITE),
        ..Record::default()
    };
    Sae::new(weights, record).unwrap()
}

fn edit(site: Site, span: Span, op: Op) -> Edit {
    Edit {
        span,
        ..Edit::new(site, op)
    }
}

fn add(scale: f32, unit: Unit) -> Op {
    let direction = random(1, 16, 9).data().to_vec();
    DirectionOp::Add {
        direction,
        scale,
        unit,
    }
    .into()
}

fn set(feature: u32, activation: f32) -> Op {
    Op::Feature {
        sae: "tiny".to_owned(),
        feature,
        op: FeatureOp::Set(activation),
    }
}

fn multiply(feature: u32, factor: f32) -> Op {
    Op::Feature {
        sae: "tiny".to_owned(),
        feature,
        op: FeatureOp::Multiply(factor),
    }
}

/// The activation at `SITE` of `TOKENS`.
fn resid(model: &Model) -> Matrix {
    let mut capture = Capture::new([SITE]);
    model.run(&[&TOKENS], &mut capture).unwrap();
    capture.take(SITE).unwrap()
}

/// An autoencoder under the name that the edits of these tests use.
fn named(sae: Sae) -> NamedSae {
    NamedSae {
        reference: "tiny".to_owned(),
        sae,
    }
}

/// A feature that is active on no token of `x`, and one that is active on some token.
fn off_and_on(sae: &Sae, x: &Matrix) -> (u32, u32) {
    let features = sae.encode(x).unwrap().features;
    let active = |f: &u32| (0..x.rows()).any(|row| features.value(row, *f) > 0.0);
    let mut all = 0..sae.d_sae() as u32;
    (
        all.clone().find(|f| !active(f)).unwrap(),
        all.find(active).unwrap(),
    )
}

fn logits(model: &Model, hook: &mut dyn Hook) -> Matrix {
    model.logits(&[&TOKENS], hook).unwrap()
}

fn difference(a: &Matrix, b: &Matrix) -> f32 {
    let pairs = a.data().iter().zip(b.data());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn scale_zero_changes_nothing_in_any_unit() {
    let named = named(sae(InputNorm::LayerNorm, false));
    let sae = &named.sae;
    for model in tiny::models() {
        let plain = logits(&model, &mut ());
        let (_, on) = off_and_on(sae, &resid(&model));
        let mut ops: Vec<Op> = [Unit::Raw, Unit::Std, Unit::Norm]
            .map(|unit| add(0.0, unit))
            .to_vec();
        ops.push(multiply(on, 1.0));
        for amount in [Amount::Raw(0.0), Amount::Activation(0.0), Amount::Norm(0.0)] {
            ops.push(feature_edit(sae, 5, amount).unwrap().op);
        }
        for op in ops {
            let edits = [Edit::new(SITE, op)];
            let mut steer = Steer::new(&edits, &[&named]).unwrap();
            assert_eq!(logits(&model, &mut steer), plain, "{edits:?}");
        }
    }
}

#[test]
fn a_raw_edit_adds_the_decoder_row() {
    let sae = sae(InputNorm::LayerNorm, false);
    for model in tiny::models() {
        let edit = feature_edit(&sae, 7, Amount::Raw(2.5)).unwrap();
        let mut hooks = (Steer::new(&[edit], &[]).unwrap(), Capture::new([SITE]));
        model.run(&[&TOKENS], &mut hooks).unwrap();
        let mut by_hand = resid(&model);
        for row in 0..by_hand.rows() {
            let direction = sae.direction(7).unwrap();
            for (x, d) in by_hand.row_mut(row).iter_mut().zip(direction) {
                *x += 2.5 * d;
            }
        }
        assert_eq!(hooks.1.take(SITE).unwrap(), by_hand);
    }
}

#[test]
fn an_inactive_feature_turned_up_in_activations_equals_setting_its_activation() {
    for model in tiny::models() {
        let x = resid(&model);
        for norm in NORMS {
            for centre in [false, true] {
                let sae = sae(norm, centre);
                let (off, _) = off_and_on(&sae, &x);
                let plain = logits(&model, &mut ());
                let edit = feature_edit(&sae, off, Amount::Activation(1.7)).unwrap();
                let added = logits(&model, &mut Steer::new(&[edit], &[]).unwrap());
                let change = FeatureChange {
                    feature: off,
                    span: Span::All,
                    op: FeatureOp::Set(1.7),
                };
                let mut splice = Splice::edit(&sae, vec![change]).unwrap();
                let set = logits(&model, &mut splice);
                let moved = difference(&plain, &set);
                assert!(moved > 1e-3, "{norm:?}: {moved}");
                let off_by = difference(&added, &set) / moved;
                assert!(off_by < 1e-4, "{norm:?}, centre {centre}: {off_by}");
            }
        }
    }
}

#[test]
fn the_norm_unit_adds_a_fraction_of_each_tokens_norm() {
    let model = &tiny::models()[1];
    let sae = sae(InputNorm::None, false);
    let edit = feature_edit(&sae, 3, Amount::Norm(0.25)).unwrap();
    let mut hooks = (Steer::new(&[edit], &[]).unwrap(), Capture::new([SITE]));
    model.run(&[&TOKENS], &mut hooks).unwrap();
    let (before, after) = (resid(model), hooks.1.take(SITE).unwrap());
    let length = |x: Vec<f32>| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    for row in 0..before.rows() {
        let (x, y) = (before.row(row), after.row(row));
        let moved = length(x.iter().zip(y).map(|(x, y)| y - x).collect());
        let share = moved / length(x.to_vec());
        assert!((share - 0.25).abs() < 1e-5, "{share}");
    }
}

#[test]
fn a_document_and_a_splice_change_features_alike() {
    let named = named(sae(InputNorm::LayerNorm, false));
    let sae = &named.sae;
    let model = &tiny::models()[0];
    let (off, on) = off_and_on(sae, &resid(model));
    let edits = [
        edit(SITE, Span::All, set(off, 2.0)),
        edit(SITE, Span::From(3), multiply(on, 0.5)),
        edit(SITE, Span::All, multiply(off, 3.0)),
    ];
    let change = |feature, span, op| FeatureChange { feature, span, op };
    let changes = vec![
        change(off, Span::All, FeatureOp::Set(2.0)),
        change(on, Span::From(3), FeatureOp::Multiply(0.5)),
        change(off, Span::All, FeatureOp::Multiply(3.0)),
    ];
    let mut steer = Steer::new(&edits, &[&named]).unwrap();
    let mut splice = Splice::edit(sae, changes).unwrap();
    let steered = logits(model, &mut steer);
    assert_eq!(steered, logits(model, &mut splice));
    assert_ne!(steered, logits(model, &mut ()));
}

/// Every kind of edit at every kind of span, alone and all at once.
fn every_edit() -> Vec<Vec<Edit>> {
    let ops = [
        add(4.0, Unit::Raw),
        add(2.0, Unit::Std),
        add(-1.0, Unit::Norm),
        Op::Direction(DirectionOp::Ablate {
            direction: random(1, 16, 5).data().to_vec(),
        }),
        set(4, 9.0),
        multiply(6, 3.0),
    ];
    let spans = [
        Span::All,
        Span::From(0),
        Span::From(6),
        Span::Only(vec![0, 5, 9]),
    ];
    let mut settings = vec![Vec::new()];
    for op in &ops {
        settings.extend(
            spans
                .iter()
                .map(|span| vec![edit(SITE, span.clone(), op.clone())]),
        );
    }
    let sites = [
        Site::Embed,
        SITE,
        Site::AttnOut(1),
        Site::MlpOut(1),
        Site::FinalNorm,
    ];
    let mixed = ops
        .iter()
        .zip(sites.iter().cycle())
        .zip(spans.iter().cycle());
    settings.push(
        mixed
            .map(|((op, site), span)| edit(*site, span.clone(), op.clone()))
            .collect(),
    );
    settings
}

/// Greedy continuation without a cache: the whole text is read again for every token.
fn recomputed(model: &Model, tokens: &[u32], n: usize, hook: &mut dyn Hook) -> Vec<u32> {
    let mut all = tokens.to_vec();
    for _ in 0..n {
        let logits = model.last_logits(&[&all], hook).unwrap();
        all.push(most_likely(logits.row(0)));
    }
    all[tokens.len()..].to_vec()
}

fn cached(model: &Model, prompts: &[&[u32]], n: usize, hook: &mut dyn Hook) -> Vec<Generated> {
    let sampling = Sampling {
        max_tokens: n,
        ..Sampling::default()
    };
    let prompts: Vec<Prompt> = prompts
        .iter()
        .map(|tokens| Prompt {
            tokens: tokens.to_vec(),
            seed: 0,
        })
        .collect();
    let mut go_on = |_, _| ControlFlow::Continue(());
    generate(model, &prompts, &sampling, hook, &mut go_on).unwrap()
}

#[test]
fn cached_generation_equals_recomputed_generation_under_every_edit() {
    const N: usize = 16;
    let named = named(sae(InputNorm::LayerNorm, false));
    let saes = [&named];
    let prompts: [&[u32]; 3] = [&[1, 2, 3], &[9, 8, 7, 6, 5, 4, 3], &[11]];
    for model in tiny::models() {
        let mut texts = Vec::new();
        for edits in every_edit() {
            let mut steer = Steer::new(&edits, &saes).unwrap();
            let batched = cached(&model, &prompts, N, &mut steer);
            for (prompt, batched) in prompts.iter().zip(batched) {
                let expected = recomputed(&model, prompt, N, &mut steer);
                assert_eq!(batched.tokens, expected, "{edits:?}");
                let alone = cached(&model, &[prompt], N, &mut steer);
                assert_eq!(alone[0].tokens, expected, "{edits:?}");
                texts.push(expected);
            }
        }
        // Edits that change no text would prove nothing.
        let changed = texts.chunks(3).filter(|text| **text != texts[..3]).count();
        assert!(changed > 12, "{changed}");
    }
}

#[test]
fn an_edit_without_its_autoencoder_or_with_a_number_that_is_not_finite_is_refused() {
    let named = named(sae(InputNorm::None, false));
    let broken = |op| Steer::new(&[Edit::new(SITE, op)], &[&named]).map(drop);
    broken(set(3, 1.0)).unwrap();
    for op in [
        set(48, 1.0),
        set(3, f32::NAN),
        multiply(3, f32::INFINITY),
        add(f32::NAN, Unit::Raw),
    ] {
        let found = broken(op);
        assert!(found.as_ref().is_err_and(Error::is_usage), "{found:?}");
    }
    let unknown = Steer::new(&[Edit::new(SITE, set(3, 1.0))], &[]).map(drop);
    assert!(unknown.unwrap_err().to_string().contains("tiny"));
}

#[test]
fn peaks_are_the_largest_activations_after_the_first_position() {
    let model = &tiny::models()[0];
    let sae = sae(InputNorm::LayerNorm, false);
    let texts = [TOKENS.to_vec(), vec![7, 7, 8]];
    let all: Vec<u32> = (0..48).collect();
    let found = peaks(model, &sae, &texts, &all).unwrap();
    let x = resid(model);
    let features = sae.encode(&x).unwrap().features;
    for peak in &found {
        let here = (1..TOKENS.len()).map(|row| features.value(row, peak.feature));
        let largest = here.fold(0.0, f32::max);
        assert!(peak.activation >= largest);
        if peak.text == 0 && peak.activation > 0.0 {
            assert_eq!(features.value(peak.position, peak.feature), largest);
        }
    }
    let silent = found.iter().find(|peak| peak.activation == 0.0).unwrap();
    assert!(matches!(silent.times(2.0), Err(Error::Argument(_))));
    let heard = found.iter().find(|peak| peak.activation > 0.0).unwrap();
    let edit = feature_edit(&sae, heard.feature, heard.times(2.0).unwrap()).unwrap();
    let twice = Amount::Activation(2.0 * heard.activation);
    assert_eq!(edit, feature_edit(&sae, heard.feature, twice).unwrap());
}
