//! Configurations that make no sense are refused by field, and numbers that are not finite end a run.

use super::*;
use crate::Error;

const D: usize = 8;

fn config() -> TrainConfig {
    let mut config = TrainConfig::recipe(Recipe::TopK, D, 16, 4);
    config.batch_tokens = 8;
    config
}

fn batches() -> impl Iterator<Item = Result<Batch>> {
    (0..).map(|index| {
        Ok(Batch {
            x: noise_matrix(index, 8, D),
            target: None,
        })
    })
}

fn refused(config: &TrainConfig) -> String {
    match train_one(config, None, &mut batches()).map(drop) {
        Err(Error::Argument(reason)) => reason,
        other => panic!("{config:?}: {other:?}"),
    }
}

/// The field that a refusal names, and a change of the configuration that causes it.
type Case = (&'static str, fn(&mut TrainConfig));

fn check(cases: &[Case]) {
    for (says, bend) in cases {
        let mut config = config();
        bend(&mut config);
        let reason = refused(&config);
        assert!(reason.contains(says), "{says}: {reason}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    check(&[
        ("d_sae", |c| c.d_sae = 0),
        ("batch_tokens", |c| c.batch_tokens = 0),
        ("log_every", |c| c.log_every = 0),
        ("lr_warmup_steps", |c| c.lr_warmup_steps = u64::MAX),
        ("sparsity_warmup_steps", |c| c.sparsity_warmup_steps = 5),
        ("adam.lr", |c| c.adam.lr = f32::NAN),
        ("adam.lr", |c| c.adam.lr = -1.0),
        ("adam.beta1", |c| c.adam.beta2 = 1.0),
        ("adam.eps", |c| c.adam.eps = 0.0),
        ("grad_clip", |c| c.grad_clip = Some(0.0)),
        ("init.decoder_norm", |c| c.init.decoder_norm = 0.0),
        ("init.decoder_norm", |c| c.init.decoder_norm = 0.5),
        ("dead.window_tokens", |c| c.dead.window_tokens = 0),
        ("dead.treatment", |c| {
            c.dead.treatment = Treatment::Resample { every: 0, times: 1 };
        }),
        ("transcoder.skip", |c| {
            *c = c.clone().transcode(Transcoder { skip: true });
            c.input = Input::LayerNorm;
        }),
        ("init.tied", |c| {
            c.transcoder = Some(Transcoder { skip: false });
        }),
    ]);
}

/// JumpReLU with a bandwidth.
fn jump(penalty: JumpPenalty, bandwidth: f32) -> Objective {
    Objective::JumpRelu {
        penalty,
        bandwidth,
        threshold: 0.1,
        pre_activation: 0.0,
    }
}

#[test]
fn objectives_that_make_no_sense_are_refused_by_name() {
    check(&[
        ("`k` is 0", |c| {
            c.objective = Objective::TopK { k: 0, aux: None }
        }),
        ("`k` is 17", |c| {
            c.objective = Objective::BatchTopK { k: 17, aux: None }
        }),
        ("coefficient", |c| {
            c.objective = Objective::L1 {
                coefficient: f32::INFINITY,
                decoder_norm: true,
            };
        }),
        ("bandwidth", |c| {
            c.objective = jump(JumpPenalty::Step { coefficient: 1.0 }, 0.0);
        }),
        ("penalty", |c| {
            let penalty = JumpPenalty::Target {
                coefficient: 1.0,
                l0: 0.0,
            };
            c.objective = jump(penalty, 0.1);
        }),
        ("aux.k", |c| {
            let aux = Some(AuxK {
                k: 0,
                coefficient: 1.0,
                form: AuxForm::Paper,
            });
            c.objective = Objective::TopK { k: 2, aux };
        }),
    ]);
}

#[test]
fn prefixes_that_do_not_ascend_to_all_features_are_refused() {
    let mut config = config();
    for prefixes in [
        vec![],
        vec![0, 16],
        vec![8, 4, 16],
        vec![4, 4, 16],
        vec![4, 8],
        vec![4, 32],
    ] {
        config.objective = Objective::Matryoshka {
            k: 2,
            prefixes,
            aux: None,
        };
        assert!(refused(&config).contains("prefixes"));
    }
}

#[test]
fn no_steps_are_refused() {
    let mut config = config();
    config.steps = 0;
    config.lr_warmup_steps = 0;
    config.lr_decay_steps = 0;
    assert!(refused(&config).contains("`steps` is 0"));
    assert!(config.check(D, D).is_err());
}

#[test]
fn every_recipe_makes_sense() {
    for recipe in Recipe::ALL {
        for (d_in, d_sae, steps) in [(768, 6144, 1000), (3, 2, 1), (8, 100, 10)] {
            let config = TrainConfig::recipe(recipe, d_in, d_sae, steps);
            config.check(d_in, d_in).unwrap();
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
            let transcoder = config.transcode(Transcoder { skip: true });
            transcoder.check(d_in, d_in + 1).unwrap();
        }
    }
}

#[test]
fn an_activation_that_is_not_a_number_names_the_step_and_the_row() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut batches = batches().enumerate().map(|(index, batch)| {
            let mut batch = batch?;
            if index == 2 {
                batch.x.row_mut(5)[3] = bad;
            }
            Ok(batch)
        });
        let error = train_one(&config(), None, &mut batches).map(drop);
        let Err(Error::Training { step: 2, reason }) = error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("row 5"), "{reason}");
    }
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run() {
    let mut config = config();
    config.input = Input::Raw;
    config.grad_clip = None;
    config.init.b_dec = InitBias::Zero;
    let mut batches = batches().map(|batch| {
        let mut batch = batch?;
        batch.x.scale(3e38);
        Ok(batch)
    });
    let error = train_one(&config, None, &mut batches).map(drop);
    assert!(
        matches!(error, Err(Error::Training { step: 0, .. })),
        "{error:?}"
    );
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let short = || {
        std::iter::repeat_with(|| {
            Ok(Batch {
                x: noise_matrix(1, 7, D),
                target: None,
            })
        })
    };
    let error = train_one(&config(), None, &mut short()).map(drop);
    assert!(matches!(error, Err(Error::Shape { .. })), "{error:?}");
    let error = train_one(&config(), None, &mut batches().take(2)).map(drop);
    let Err(Error::Training { step: 2, reason }) = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("ended"), "{reason}");
    let mut targets = batches().map(|batch| {
        let x = batch?.x;
        Ok(Batch {
            target: Some(x.clone()),
            x,
        })
    });
    let error = train_one(&config(), None, &mut targets).map(drop);
    assert!(
        matches!(error, Err(Error::Training { step: 0, .. })),
        "{error:?}"
    );
}

/// The JSON of a configuration and its lines, read back as a run's folder does.
fn survives_json(name: &str, kept: &Kept, statistics: &InputStatistics) {
    let text = serde_json::to_string(statistics).unwrap();
    let back: InputStatistics =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
    assert!(
        back.gamma.is_nan() || back.gamma == statistics.gamma,
        "{name}: {text}"
    );
    for line in &kept.lines {
        let text = serde_json::to_string(line).unwrap();
        let back: Metrics =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {text}: {e}"));
        assert_eq!(back.step, line.step);
    }
}

#[test]
fn data_without_variance_trains_to_a_readable_end() {
    let rows = |value: f32| Matrix::from_fn(8, D, |_, _| value);
    let data = [
        ("zeros", rows(0.0)),
        ("one row repeated", rows(1.5)),
        ("a single row", noise_matrix(3, 1, D)),
    ];
    for (name, x) in data {
        for recipe in Recipe::ALL {
            let mut config = TrainConfig::recipe(recipe, D, 16, 4);
            config.batch_tokens = x.rows();
            config.steps = 6;
            config.lr_warmup_steps = 0;
            config.lr_decay_steps = 0;
            config.sparsity_warmup_steps = 0;
            config.log_every = 2;
            let name = format!("{name}, {recipe:?}");
            let batch = || {
                Ok(Batch {
                    x: x.clone(),
                    target: None,
                })
            };
            let (_, kept) = train_one(&config, None, &mut std::iter::repeat_with(batch))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(kept.lines.last().unwrap().step, 6, "{name}");
            survives_json(&name, &kept, &InputStatistics::measure(&x));
        }
    }
}
