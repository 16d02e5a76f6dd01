//! Vectors, compared with plain loops over captured activations.

use super::evaluate::{Outcome, Positions, Trial, best_site, evaluate};
use super::*;
use crate::hook::Capture;
use crate::model::{Config, LayerConfig};
use crate::steer::Steer;
use saescope_kernels::Precision;

fn model() -> Model {
    let config = Config {
        n_ctx: 48,
        d_vocab: 50,
        d_model: 16,
        n_heads: 2,
        n_kv_heads: 2,
        d_head: 8,
        d_mlp: 40,
        layers: vec![LayerConfig::learned(); 3],
        ..Config::gpt2_small()
    };
    Model::random(config, Precision::F32, 7)
}

const SITES: [Site; 2] = [Site::ResidPost(0), Site::MlpAct(2)];

/// Texts of two to eight tokens.
fn texts(seed: u32, count: u32) -> Vec<Vec<u32>> {
    let text = |i: u32| (0..2 + (i * 5) % 7).map(move |t| (seed + 11 * i + 3 * t) % 50);
    (0..count).map(|i| text(i).collect()).collect()
}

fn pairs() -> Vec<Pair> {
    let pair = |(i, shared): (usize, Vec<u32>)| Pair {
        instruction: shared.len() / 2,
        shared,
        matching: 40 + i as u32 % 2,
        other: 41 - i as u32 % 2,
    };
    texts(3, 9).into_iter().enumerate().map(pair).collect()
}

/// The activation of a whole text by itself: `[tokens, d]`.
fn captured(text: &[u32], site: Site) -> Matrix {
    let mut capture = Capture::new([site]);
    model().run(&[text], &mut capture).unwrap();
    capture.take(site).unwrap()
}

/// The mean of `rows` in f64.
fn mean(rows: &[Vec<f32>]) -> Vec<f64> {
    let sum = |i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>();
    (0..rows[0].len())
        .map(|i| sum(i) / rows.len() as f64)
        .collect()
}

fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{found} for {expected}"
        );
    }
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn build(contrast: Contrast, method: Method) -> Result<Vector> {
    Vector::build(&model(), contrast, method, &SITES, &mut (), &mut |_| {})
}

#[test]
fn a_difference_is_that_of_a_plain_loop_with_either_pooling() {
    // Enough texts for several batches, and sets of different sizes.
    let (positive, negative) = (texts(1, 400), texts(20, 31));
    for pooling in [Pooling::Last, Pooling::Mean] {
        let contrast = Texts {
            positive: &positive,
            negative: &negative,
            pooling,
            count_first: false,
        };
        let vector = build(Contrast::Texts(contrast), Method::Difference).unwrap();
        for site in SITES {
            let pooled = |text: &Vec<u32>| {
                let x = captured(text, site);
                match pooling {
                    Pooling::Last => x.row(x.rows() - 1).to_vec(),
                    Pooling::Mean | Pooling::Max => {
                        let rows: Vec<Vec<f32>> =
                            (1..x.rows()).map(|row| x.row(row).to_vec()).collect();
                        mean(&rows).into_iter().map(|x| x as f32).collect()
                    }
                }
            };
            let set = |set: &[Vec<u32>]| mean(&set.iter().map(pooled).collect::<Vec<_>>());
            close(
                &vector.directions[&site],
                &minus(&set(&positive), &set(&negative)),
            );
        }
        assert_eq!((vector.record.positive, vector.record.negative), (400, 31));
    }
}

/// In some models the first token is a hundred times as long as the others, BOS or not.
#[test]
fn a_mean_counts_the_first_token_only_if_it_is_alone_or_asked_for() {
    let pooled = |positive: &[u32], pooling, count_first| {
        let contrast = Texts {
            positive: &[positive.to_vec()],
            negative: &[vec![7]],
            pooling,
            count_first,
        };
        let vector = build(Contrast::Texts(contrast), Method::Difference).unwrap();
        assert_eq!(vector.record.pooling, Some(pooling));
        assert_eq!(vector.record.first, count_first && pooling == Pooling::Mean);
        vector.directions[&Site::ResidPost(0)].clone()
    };
    for text in [&[3, 9][..], &[9]] {
        let last = pooled(text, Pooling::Last, false);
        assert_eq!(pooled(text, Pooling::Mean, false), last);
        assert_eq!(pooled(text, Pooling::Last, true), last);
        assert_eq!(pooled(text, Pooling::Mean, true) == last, text.len() == 1);
    }
}

#[test]
fn a_largest_value_is_refused_as_a_pooling() {
    let contrast = Texts {
        positive: &texts(1, 2),
        negative: &texts(20, 2),
        pooling: Pooling::Max,
        count_first: false,
    };
    let refused = build(Contrast::Texts(contrast), Method::Difference);
    assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
}

#[test]
fn the_best_site_rises_at_every_step_and_furthest() {
    let outcome = |(layer, multiplier, logit_difference): (usize, f32, f64)| Outcome {
        site: Site::ResidPost(layer),
        multiplier,
        logit_difference,
        probability: 0.5,
        preferred: 0.5,
    };
    let best = |rows: &[(usize, f32, f64)]| {
        let outcomes: Vec<Outcome> = rows.iter().copied().map(outcome).collect();
        best_site(&outcomes)
    };
    // Layer 1 rises furthest but not steadily, layer 0 less than layer 2.
    let mut rows = vec![(0, 1.0, 0.1), (0, 0.0, 0.0), (0, -1.0, -0.1)];
    rows.extend([(1, -1.0, -9.0), (1, 0.0, 5.0), (1, 1.0, 4.0)]);
    assert_eq!(best(&rows), Some(Site::ResidPost(0)));
    rows.extend([(2, -1.0, -0.2), (2, 0.0, 0.0), (2, 1.0, 0.1)]);
    assert_eq!(best(&rows), Some(Site::ResidPost(2)));
    assert_eq!(best(&rows[3..6]), Some(Site::ResidPost(1)));
    assert_eq!(best(&[]), None);
}

#[test]
fn caa_is_the_mean_difference_at_the_letter() {
    let pairs = pairs();
    let vector = build(Contrast::Answers(&pairs), Method::Caa).unwrap();
    for site in SITES {
        let at_letter = |letter: fn(&Pair) -> u32| {
            let rows = pairs.iter().map(|pair| {
                let whole = [&pair.shared[..], &[letter(pair)]].concat();
                let x = captured(&whole, site);
                x.row(x.rows() - 1).to_vec()
            });
            mean(&rows.collect::<Vec<_>>())
        };
        let expected = minus(
            &at_letter(|pair| pair.matching),
            &at_letter(|pair| pair.other),
        );
        close(&vector.directions[&site], &expected);
    }
}

#[test]
fn a_component_of_one_pair_is_its_difference_at_unit_length() {
    let (positive, negative) = (texts(1, 1), texts(20, 1));
    let contrast = Contrast::Texts(Texts {
        positive: &positive,
        negative: &negative,
        pooling: Pooling::Last,
        count_first: false,
    });
    let component = build(contrast, Method::PcaCenter).unwrap();
    let mut difference = build(contrast, Method::Difference).unwrap();
    difference.normalise();
    for site in SITES {
        let expected: Vec<f64> = difference.directions[&site]
            .iter()
            .map(|&x| x.into())
            .collect();
        close(&component.directions[&site], &expected);
    }
    // One difference about its own mean is zero.
    let nothing = build(contrast, Method::PcaDiff);
    assert!(matches!(nothing, Err(Error::Argument(_))), "{nothing:?}");
}

#[test]
fn sets_that_cannot_be_compared_are_refused() {
    let (two, three) = (texts(1, 2), texts(20, 3));
    let contrast = |positive, negative| {
        Contrast::Texts(Texts {
            positive,
            negative,
            pooling: Pooling::Last,
            count_first: false,
        })
    };
    for (contrast, method) in [
        (contrast(&two, &three), Method::PcaCenter),
        (contrast(&two, &[]), Method::Difference),
        (contrast(&two, &two), Method::Difference),
        (Contrast::Answers(&[]), Method::Caa),
    ] {
        let refused = build(contrast, method);
        assert!(matches!(refused, Err(Error::Argument(_))), "{refused:?}");
    }
    let site = [Site::ResidPost(3)];
    let contrast = contrast(&two, &three);
    let refused = Vector::build(
        &model(),
        contrast,
        Method::Difference,
        &site,
        &mut (),
        &mut |_| {},
    );
    assert!(matches!(refused, Err(Error::Site { .. })), "{refused:?}");
}

/// The cache saves reading a question again and changes nothing.
#[test]
fn an_evaluation_equals_whole_passes_under_edits() {
    let model = model();
    let pairs = pairs();
    let vector = build(Contrast::Answers(&pairs), Method::Caa).unwrap();
    let multipliers = [-3.0, 0.0, 5.0];
    for positions in [Positions::Answer, Positions::All] {
        let trial = Trial {
            pairs: &pairs,
            sites: &SITES,
            multipliers: &multipliers,
            positions,
        };
        let outcomes = evaluate(&model, &vector, &trial, &mut (), &mut |_| {}).unwrap();
        assert_eq!(outcomes.len(), 6);
        for outcome in outcomes {
            let difference = |pair: &Pair| {
                let span = match positions {
                    Positions::Answer => Span::From(pair.instruction),
                    Positions::All => Span::All,
                };
                let edits = vector.edits(outcome.multiplier, &span, &[outcome.site]);
                let mut steer = Steer::new(&edits, &[]).unwrap();
                let logits = model.last_logits(&[&pair.shared], &mut steer).unwrap();
                let of = |token: u32| f64::from(logits.row(0)[token as usize]);
                of(pair.matching) - of(pair.other)
            };
            let expected: f64 = pairs.iter().map(difference).sum::<f64>() / pairs.len() as f64;
            assert!(
                (outcome.logit_difference - expected).abs() < 1e-5,
                "{outcome:?} {expected}"
            );
        }
    }
}

/// An edit that adds the vector raises the multiplier by 1, and an addition to every text leaves the
/// difference of two sets as it is.
#[test]
fn edits_apply_before_the_vector() {
    let model = model();
    let pairs = pairs();
    let contrast = Contrast::Answers(&pairs);
    let vector = build(contrast, Method::Caa).unwrap();
    let site = [SITES[0]];
    let edits = vector.edits(1.0, &Span::All, &site);
    let mut steer = Steer::new(&edits, &[]).unwrap();
    let differences = |hook: &mut dyn Hook, multiplier: f32| {
        let trial = Trial {
            pairs: &pairs,
            sites: &site,
            multipliers: &[multiplier],
            positions: Positions::All,
        };
        let outcomes = evaluate(&model, &vector, &trial, hook, &mut |_| {}).unwrap();
        outcomes[0].logit_difference
    };
    for multiplier in [0.0, 2.0] {
        let edited = differences(&mut steer, multiplier);
        let expected = differences(&mut (), multiplier + 1.0);
        assert!((edited - expected).abs() < 1e-5, "{edited} {expected}");
        assert!((edited - differences(&mut (), multiplier)).abs() > 1e-3);
    }
    let method = Method::Caa;
    let edited = Vector::build(&model, contrast, method, &SITES, &mut steer, &mut |_| {}).unwrap();
    let same: Vec<f64> = vector.directions[&SITES[0]]
        .iter()
        .map(|&x| f64::from(x))
        .collect();
    close(&edited.directions[&SITES[0]], &same);
    assert_ne!(edited.directions[&SITES[1]], vector.directions[&SITES[1]]);
}

#[test]
fn edits_are_one_per_site_with_scale_and_span() {
    let vector = build(Contrast::Answers(&pairs()), Method::Caa).unwrap();
    let edits = vector.edits(2.0, &Span::From(4), &[]);
    assert_eq!(edits.len(), 2);
    for edit in &edits {
        assert_eq!(edit.span, Span::From(4));
        let mut x = Matrix::zeros(1, vector.directions[&edit.site].len());
        let rows = crate::hook::Rows::new(vec![crate::hook::RowSpan { start: 4, len: 1 }]);
        let before = x.clone();
        let edit = crate::edit::DirectionEdit::new(edit).unwrap();
        edit.apply(&rows, &before, &mut x).unwrap();
        let doubled: Vec<f32> = vector.directions[&edit.site()]
            .iter()
            .map(|x| 2.0 * x)
            .collect();
        assert_eq!(x.data(), doubled);
    }
    let one = vector.edits(1.0, &Span::All, &SITES[1..]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].site, SITES[1]);
}

#[test]
fn a_vector_that_does_not_fit_the_model_is_refused() {
    let of = |site: Site, width: usize| Vector {
        directions: [(site, vec![1.0; width])].into(),
        record: VectorRecord::default(),
    };
    let model = model();
    of(Site::ResidPost(2), 16).check(&model).unwrap();
    of(Site::MlpAct(2), 40).check(&model).unwrap();
    let wide = of(Site::ResidPost(2), 17).check(&model);
    assert!(matches!(wide, Err(Error::Shape { .. })), "{wide:?}");
    let deep = of(Site::ResidPost(3), 16).check(&model);
    assert!(matches!(deep, Err(Error::Site { .. })), "{deep:?}");
    let mut other = build(Contrast::Answers(&pairs()), Method::Caa).unwrap();
    other.check(&model).unwrap();
    other.record.model_type = Some("llama".to_owned());
    assert!(matches!(other.check(&model), Err(Error::Argument(_))));
}
