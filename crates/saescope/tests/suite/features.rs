//! Features of prompts, and the roles, effects and fit of features, against plain loops.

use std::path::Path;

use saescope::edit::{DirectionOp, Edit, Unit};
use saescope::features::{
    self, Intervention, Pooling, Position, Probe, PromptSets, Rank, Reading, check, contrast,
    effects, fit, pooled, role,
};
use saescope::hook::Capture;
use saescope::model::Model;
use saescope::sae::{InputNorm, Record, Sae, Weights};
use saescope::site::Site;
use saescope::steer::Steer;
use saescope::tokenizer::Tokenizer;
use saescope::{Error, Gate, Matrix, Precision};

use crate::tiny;

const PROMPTS: [&[u32]; 3] = [&[3, 1, 4, 1, 5, 9], &[2, 7], &[1, 8, 2, 8]];
const SITE: Site = Site::ResidPost(1);
const D_SAE: usize = 40;

/// Pseudorandom values that are the same on every machine.
fn noise(i: usize) -> f32 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 40) as f32) / (1_u64 << 23) as f32 - 1.0
}

fn matrix(rows: usize, cols: usize, from: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| noise(from + row * cols + col))
}

/// An autoencoder for the tiny models.
fn sae(gate: Gate, input_norm: InputNorm) -> Sae {
    let weights = Weights {
        w_enc: matrix(D_SAE, 16, 0),
        b_enc: vec![0.1; D_SAE],
        gate,
        w_dec: matrix(D_SAE, 16, 10_000),
        b_dec: (0..16).map(|i| 0.1 * noise(20_000 + i)).collect(),
        subtract_b_dec: true,
        input_norm,
        centre: false,
        w_skip: None,
        transcoder: false,
    };
    let record = Record {
        site: Some(SITE),
        ..Record::default()
    };
    Sae::new(weights, record).unwrap()
}

fn saes() -> [Sae; 3] {
    [
        sae(Gate::TopK(5), InputNorm::LayerNorm),
        sae(Gate::Positive, InputNorm::None),
        sae(Gate::Above(vec![0.1; D_SAE]), InputNorm::None),
    ]
}

/// A tokenizer with a text for every token of the tiny models.
fn tokenizer() -> Tokenizer {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    Tokenizer::of_model(&data.join("stories260K")).unwrap()
}

fn captured(model: &Model, prompt: &[u32], site: Site) -> Matrix {
    let mut capture = Capture::new([site]);
    model.run(&[prompt], &mut capture).unwrap();
    capture.take(site).unwrap()
}

/// The activations of a prompt that is read alone, `[tokens][D_SAE]`.
fn dense(model: &Model, sae: &Sae, prompt: &[u32]) -> Vec<Vec<f32>> {
    let encoded = sae.encode(&captured(model, prompt, SITE)).unwrap();
    let row = |row| {
        (0..D_SAE as u32)
            .map(|f| encoded.features.value(row, f))
            .collect()
    };
    (0..prompt.len()).map(row).collect()
}

fn at(position: Position) -> Reading {
    Reading {
        position,
        count_first: true,
    }
}

fn probe(feature: u32, inject: Option<f32>, top: usize) -> Probe {
    Probe {
        feature,
        inject,
        top,
    }
}

/// The active features of a row, the strongest first, by a plain sort.
fn sorted(row: &[f32]) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..)
        .zip(row.iter().copied())
        .filter(|f| f.1 > 0.0)
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

#[test]
fn features_are_the_encoded_captured_activations() {
    for model in tiny::models() {
        for sae in saes() {
            let found =
                features::features(&model, &sae, &PROMPTS, at(Position::All), D_SAE, &mut ())
                    .unwrap();
            let mut rows = found.iter();
            for (number, prompt) in PROMPTS.iter().enumerate() {
                for (position, expected) in dense(&model, &sae, prompt).iter().enumerate() {
                    let row = rows.next().unwrap();
                    assert_eq!((row.prompt, row.position), (number, Some(position)));
                    let found: Vec<(u32, f32)> = row
                        .features
                        .iter()
                        .map(|f| (f.feature, f.activation))
                        .collect();
                    assert_eq!(found, sorted(expected));
                }
            }
            assert!(rows.next().is_none());
        }
    }
}

#[test]
fn single_positions_and_pools_are_made_of_the_rows_of_all_positions() {
    let [model, _] = tiny::models();
    for sae in saes() {
        let read = |position| {
            features::features(&model, &sae, &PROMPTS, at(position), 3, &mut ()).unwrap()
        };
        for (number, prompt) in PROMPTS.iter().enumerate() {
            let dense = dense(&model, &sae, prompt);
            let column = |f: usize| dense.iter().map(move |row| row[f]);
            let max: Vec<f32> = (0..D_SAE).map(|f| column(f).fold(0.0, f32::max)).collect();
            let mean: Vec<f32> = (0..D_SAE)
                .map(|f| (column(f).map(f64::from).sum::<f64>() / dense.len() as f64) as f32)
                .collect();
            for (position, expected) in [
                (Position::At(1), &dense[1]),
                (Position::default(), &dense[prompt.len() - 1]),
                (Position::Pooled(Pooling::Max), &max),
                (Position::Pooled(Pooling::Mean), &mean),
            ] {
                let row = &read(position)[number];
                let found: Vec<(u32, f32)> = row
                    .features
                    .iter()
                    .map(|f| (f.feature, f.activation))
                    .collect();
                let mut expected = sorted(expected);
                expected.truncate(3);
                assert_eq!(found, expected, "{position}");
            }
        }
    }
    let beyond = features::features(
        &model,
        &saes()[0],
        &PROMPTS,
        at(Position::At(2)),
        1,
        &mut (),
    );
    assert!(matches!(beyond, Err(Error::Position { position: 2, .. })));
}

#[test]
fn the_first_position_is_pooled_only_on_request() {
    let [model, _] = tiny::models();
    let [_, relu, _] = saes();
    let dense = dense(&model, &relu, PROMPTS[0]);
    let mean = |feature: u32, from: usize| {
        let column = dense[from..]
            .iter()
            .map(|row| f64::from(row[feature as usize]));
        (column.sum::<f64>() / (dense.len() - from) as f64) as f32
    };
    for (count_first, from) in [(true, 0), (false, 1)] {
        let reading = Reading {
            position: Position::Pooled(Pooling::Mean),
            count_first,
        };
        let rows = pooled(&model, &relu, &PROMPTS, reading, &mut ()).unwrap();
        for feature in 0..D_SAE as u32 {
            assert_eq!(rows.value(0, feature), mean(feature, from));
        }
    }
    assert!((0..D_SAE as u32).any(|feature| mean(feature, 0) != mean(feature, 1)));
    let every = pooled(&model, &relu, &PROMPTS, at(Position::All), &mut ());
    assert!(matches!(every, Err(Error::Argument(_))));
}

#[test]
fn a_set_contrasted_with_itself_is_not_separated() {
    let [model, _] = tiny::models();
    let [sae, ..] = saes();
    let reading = at(Position::Pooled(Pooling::Max));
    let sets = PromptSets {
        positive: &PROMPTS,
        negative: &PROMPTS,
    };
    let all = contrast(&model, &sae, sets, reading, Rank::Auroc, &mut ()).unwrap();
    assert!(!all.is_empty());
    assert!(all.iter().all(|c| c.auroc == 0.5 && c.difference == 0.0));
    let sets = PromptSets {
        positive: &PROMPTS[..1],
        negative: &PROMPTS[1..2],
    };
    let all = contrast(&model, &sae, sets, reading, Rank::Auroc, &mut ()).unwrap();
    // With one prompt in each set, a feature is larger on one of them, or equal on both.
    assert!(all.iter().all(|c| [0.0, 0.5, 1.0].contains(&c.auroc)));
    assert!(all.iter().any(|c| c.auroc == 1.0) && all.iter().any(|c| c.auroc == 0.0));
}

/// `logit_effect` is the derivative of `unembed` at a row that the final norm divides by 1, along a
/// direction that does not change the divisor.
#[test]
fn logit_effects_are_finite_differences_of_the_logits() {
    for (which, model) in tiny::models().into_iter().enumerate() {
        let direction = matrix(1, 16, 500);
        let centred = which == 0; // GPT-2 has a layer norm, Llama an RMS norm
        let centre = |x: &mut [f64]| {
            let mean = if centred {
                x.iter().sum::<f64>() / 16.0
            } else {
                0.0
            };
            x.iter_mut().for_each(|x| *x -= mean);
        };
        let mut d: Vec<f64> = direction.row(0).iter().map(|&x| f64::from(x)).collect();
        centre(&mut d);
        let mut x: Vec<f64> = (0..16).map(|i| f64::from(noise(900 + i))).collect();
        centre(&mut x);
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let along = dot(&x, &d) / dot(&d, &d);
        x.iter_mut().zip(&d).for_each(|(x, d)| *x -= along * d);
        // A mean square of 1, so that the norm divides by 1.
        let size = (dot(&x, &x) / 16.0).sqrt();
        x.iter_mut().for_each(|x| *x /= size);

        let step = 0.02;
        let logits = |sign: f64| {
            let moved = direction.row(0).iter().zip(&x);
            let moved = moved.map(|(&d, x)| (x + sign * step * f64::from(d)) as f32);
            model.unembed(&Matrix::from_vec(1, 16, moved.collect()))
        };
        let (up, down) = (logits(1.0), logits(-1.0));
        let effect = model.logit_effect(&direction);
        let largest = effect.row(0).iter().fold(0.0_f32, |m, e| m.max(e.abs()));
        assert!(largest > 0.1);
        for (token, effect) in effect.row(0).iter().enumerate() {
            let slope = f64::from(up.row(0)[token] - down.row(0)[token]) / (2.0 * step);
            let off = (slope - f64::from(*effect)).abs() / f64::from(largest);
            assert!(off < 5e-3, "token {token}: {slope} {effect}");
        }
    }
}

#[test]
fn a_role_agrees_with_plain_loops() {
    let tokenizer = tokenizer();
    for model in tiny::models() {
        let [_, sae, _] = saes();
        let feature = 7;
        let role = role(&model, &tokenizer, &sae, feature, 4).unwrap();
        let (w_enc, w_dec) = (sae.encoder().0, sae.decoder().0);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let (own, read) = (w_dec.row(7), w_enc.row(7));
        assert!((f64::from(role.decoder_norm) - dot(own, own).sqrt()).abs() < 1e-5);
        assert!((f64::from(role.encoder_norm) - dot(read, read).sqrt()).abs() < 1e-5);
        assert!((f64::from(role.cosine.unwrap()) - cosine(read, own)).abs() < 1e-6);

        let others = (0..D_SAE as u32).filter(|&f| f != feature);
        let mut near: Vec<(u32, f64)> = others
            .map(|f| (f, cosine(own, w_dec.row(f as usize))))
            .collect();
        near.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (found, expected) in role.nearest.iter().zip(&near) {
            assert_eq!(found.feature, expected.0);
            assert!((f64::from(found.cosine) - expected.1).abs() < 1e-6);
        }
        let effect = model.logit_effect(&Matrix::from_vec(1, 16, own.to_vec()));
        let mut tokens: Vec<(u32, f32)> = (0..).zip(effect.row(0).iter().copied()).collect();
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        let effects = |list: &[features::LogitEffect]| -> Vec<(u32, f32)> {
            list.iter()
                .map(|entry| (entry.token, entry.effect))
                .collect()
        };
        assert_eq!(effects(&role.promotes), tokens[..4]);
        tokens.reverse();
        assert_eq!(effects(&role.suppresses), tokens[..4]);
        let piece = tokenizer.piece(role.promotes[0].token);
        assert_eq!(role.promotes[0].piece.as_bytes(), piece);
        assert!(matches!(
            features::role(&model, &tokenizer, &sae, D_SAE as u32, 4),
            Err(Error::NoFeature { .. })
        ));
    }
}

/// The distribution of the next token when the change of a feature is added to every row by hand.
fn added(model: &Model, sae: &Sae, x: &Matrix, feature: u32, to: impl Fn(f32) -> f32) -> Vec<f64> {
    let mut x = x.clone();
    let encoded = sae.encode(&x).unwrap();
    let direction = sae.direction(feature).unwrap();
    for row in 0..x.rows() {
        let before = encoded.features.value(row, feature);
        let scale = (to(before) - before) * encoded.written_scale(row);
        let row = x.row_mut(row).iter_mut().zip(direction);
        row.for_each(|(x, d)| *x += scale * d);
    }
    // After the last block only the last row counts.
    let last = x.select_rows(&[x.rows() - 1]);
    let logits = model.unembed(&last);
    let exp: Vec<f64> = logits.row(0).iter().map(|&l| f64::from(l).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

#[test]
fn effects_agree_with_adding_the_feature_by_hand() {
    for model in tiny::models() {
        for sae in saes() {
            let prompt = PROMPTS[0];
            let x = captured(&model, prompt, SITE);
            let dense = dense(&model, &sae, prompt);
            let feature = sorted(&dense[prompt.len() - 1])[0].0;
            let effect = &effects(
                &model,
                &tokenizer(),
                &sae,
                &[prompt],
                probe(feature, Some(0.7), 50),
                &mut (),
            )
            .unwrap()[0];
            let of_feature: Vec<f32> = dense.iter().map(|row| row[feature as usize]).collect();
            assert_eq!(effect.activations, of_feature);
            let plain = added(&model, &sae, &x, feature, |a| a);
            let changed = [
                (
                    Intervention::Ablated,
                    added(&model, &sae, &x, feature, |_| 0.0),
                ),
                (
                    Intervention::Doubled,
                    added(&model, &sae, &x, feature, |a| 2.0 * a),
                ),
                (
                    Intervention::Injected(0.7),
                    added(&model, &sae, &x, feature, |_| 0.7),
                ),
            ];
            for (found, (intervention, expected)) in effect.changes.iter().zip(&changed) {
                assert_eq!(found.intervention, *intervention);
                let pairs = plain.iter().zip(expected);
                let kl: f64 = pairs.map(|(p, q)| p * (p / q).ln()).sum();
                assert!(
                    (found.kl - kl).abs() < 1e-5 * (1.0 + kl),
                    "{} {kl}",
                    found.kl
                );
                assert!(kl > 1e-6, "the feature does something");
                for shift in found.risers.iter().chain(&found.fallers) {
                    let token = shift.token as usize;
                    assert!((f64::from(shift.before) - plain[token]).abs() < 1e-5);
                    assert!((f64::from(shift.after) - expected[token]).abs() < 1e-5);
                }
                let by = |s: &features::TokenShift| s.after - s.before;
                let (up, down) = (&found.risers, &found.fallers);
                assert!(up.is_sorted_by(|a, b| by(a) >= by(b) && by(b) > 0.0));
                assert!(down.is_sorted_by(|a, b| by(a) <= by(b) && by(b) < 0.0));
            }
        }
    }
}

#[test]
fn a_feature_that_is_not_active_changes_nothing_unless_it_is_injected() {
    let [model, _] = tiny::models();
    let [sae, ..] = saes();
    let off = (0..D_SAE as u32).find(|&f| {
        let dense = dense(&model, &sae, PROMPTS[1]);
        dense.iter().all(|row| row[f as usize] == 0.0)
    });
    let effect = &effects(
        &model,
        &tokenizer(),
        &sae,
        &PROMPTS[1..2],
        probe(off.unwrap(), None, 3),
        &mut (),
    )
    .unwrap()[0];
    let kls: Vec<f64> = effect.changes.iter().map(|c| c.kl).collect();
    assert_eq!(kls[..2], [0.0, 0.0]);
    assert!(kls[2] > 0.0);
    assert!(effect.changes[0].risers.is_empty() && effect.changes[1].fallers.is_empty());
    // The injected activation is that of the strongest feature at the last token.
    let strongest = dense(&model, &sae, PROMPTS[1])[1]
        .iter()
        .copied()
        .fold(0.0, f32::max);
    assert_eq!(
        effect.changes[2].intervention,
        Intervention::Injected(strongest)
    );
}

#[test]
fn the_fit_agrees_with_plain_loops() {
    let [model, _] = tiny::models();
    for sae in saes() {
        let fit = fit(&model, &sae, &PROMPTS).unwrap();
        let mut rows: Vec<(Vec<f32>, Vec<f32>, usize)> = Vec::new();
        for prompt in PROMPTS {
            let x = captured(&model, prompt, SITE);
            let encoded = sae.encode(&x).unwrap();
            let y = sae.decode(&encoded);
            for row in 1..prompt.len() {
                let active = encoded.features.row(row).0.len();
                rows.push((x.row(row).to_vec(), y.row(row).to_vec(), active));
            }
        }
        let n = rows.len() as f64;
        let mean = |i: usize| rows.iter().map(|r| f64::from(r.0[i])).sum::<f64>() / n;
        let (mut error, mut variance) = (0.0, 0.0);
        for i in 0..16 {
            for (x, y, _) in &rows {
                error += (f64::from(x[i]) - f64::from(y[i])).powi(2);
                variance += (f64::from(x[i]) - mean(i)).powi(2);
            }
        }
        let l0 = rows.iter().map(|r| r.2).sum::<usize>() as f64 / n;
        assert_eq!((fit.tokens, fit.l0), (rows.len(), l0));
        assert!((fit.fvu - error / variance).abs() < 1e-9 * fit.fvu.max(1.0));
        assert_ne!(fit.fvu, fit.fvu_with_first);
    }
}

#[test]
fn models_that_do_not_fit_are_refused_with_model_and_autoencoder_named() {
    let [gpt2, llama] = tiny::models();
    let [mut sae, ..] = saes();
    check(&gpt2, &sae).unwrap();
    sae.record_mut().model = Some("openai-community/gpt2".to_owned());
    check(&gpt2, &sae).unwrap();
    // A model that it fits by site and width, though it was trained on another, is only warned of.
    check(&llama, &sae).unwrap();

    sae.record_mut().site = Some(Site::MlpAct(0));
    let width = check(&gpt2, &sae).unwrap_err().to_string();
    for named in [
        "mlp_act.0",
        "gpt2) is 40 wide",
        "16 wide",
        "openai-community/gpt2",
    ] {
        assert!(width.contains(named), "{width}");
    }
    sae.record_mut().site = Some(Site::ResidPost(2));
    let layer = check(&gpt2, &sae).unwrap_err().to_string();
    assert!(
        layer.contains("layers 0 to 1") && layer.contains("openai-community/gpt2"),
        "{layer}"
    );
    sae.record_mut().site = None;
    assert!(matches!(check(&gpt2, &sae), Err(Error::Argument(_))));
}

/// The autoencoder in the repository belongs to the model in the repository.
#[test]
fn the_autoencoder_in_the_repository_reconstructs_its_model() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let model = Model::open(&data.join("stories260K"), Precision::F32).unwrap();
    let mut sae = Sae::open(&data.join("sae")).unwrap();
    let tokenizer = tokenizer();
    let text = "Once upon a time, there was a little girl named Lily. She had a red ball.";
    let ids = tokenizer
        .encode(text, saescope::tokenizer::Bos::Auto)
        .unwrap();
    let right = fit(&model, &sae, &[&ids]).unwrap();
    assert!(right.fvu < 0.2 && right.l0 == 8.0, "{right:?}");
    sae.record_mut().site = Some(Site::MlpOut(0));
    assert!(fit(&model, &sae, &[&ids]).unwrap().fvu > 1.0);
}

/// Two edits, one before the autoencoder's site and one at it.
fn edits() -> Vec<Edit> {
    let add = |site: Site, from: usize| {
        let direction = (0..16).map(|i| noise(from + i)).collect();
        let op = DirectionOp::Add {
            direction,
            scale: 2.0,
            unit: Unit::Raw,
        };
        Edit::new(site, op)
    };
    vec![add(Site::ResidPre(1), 500), add(SITE, 600)]
}

#[test]
fn every_result_is_of_the_edited_model() {
    for model in tiny::models() {
        let edits = edits();
        let mut steer = Steer::new(&edits, &[]).unwrap();
        let edited = |prompt: &[u32]| {
            let mut capture = Capture::new([SITE]);
            let mut steer = Steer::new(&edits, &[]).unwrap();
            model
                .run(&[prompt], &mut (&mut steer, &mut capture))
                .unwrap();
            capture.take(SITE).unwrap()
        };
        for sae in saes() {
            let of = |prompt: &[u32], position: usize, feature: u32| {
                let encoded = sae.encode(&edited(prompt)).unwrap();
                encoded.features.value(position, feature)
            };
            let reading = at(Position::All);
            let found =
                features::features(&model, &sae, &PROMPTS, reading, D_SAE, &mut steer).unwrap();
            let plain =
                features::features(&model, &sae, &PROMPTS, reading, D_SAE, &mut ()).unwrap();
            assert_ne!(found, plain);
            for row in &found {
                for active in &row.features {
                    let (prompt, position) = (PROMPTS[row.prompt], row.position.unwrap());
                    assert_eq!(active.activation, of(prompt, position, active.feature));
                }
            }
            let prompt = PROMPTS[0];
            let feature = found[prompt.len() - 1].features[0].feature;
            let rows = features::activations(&model, &sae, &PROMPTS, feature, &mut steer).unwrap();
            for (values, prompt) in rows.iter().zip(PROMPTS) {
                for (position, &value) in values.iter().enumerate() {
                    assert_eq!(value, of(prompt, position, feature));
                }
            }
            let probe = probe(feature, Some(0.7), 50);
            let effect =
                &effects(&model, &tokenizer(), &sae, &[prompt], probe, &mut steer).unwrap()[0];
            assert_eq!(effect.activations, rows[0]);
            let x = edited(prompt);
            let before = added(&model, &sae, &x, feature, |a| a);
            let after = added(&model, &sae, &x, feature, |_| 0.0);
            for shift in &effect.changes[0].risers {
                let token = shift.token as usize;
                assert!((f64::from(shift.before) - before[token]).abs() < 1e-5);
                assert!((f64::from(shift.after) - after[token]).abs() < 1e-5);
            }
        }
    }
}
