//! Planted directions are found.

use super::*;

const D: usize = 32;
const PLANTED: usize = 48;
const BATCH: usize = 512;

/// `[PLANTED, D]`, of norm 1.
fn planted() -> Matrix {
    random::directions((PLANTED, D), 1.0, 77, random::Draw::Decoder)
}

/// Endless batches, the same ones over and over: every token is the sum of a few planted directions
/// with strengths from 0.5 to 1.5.
fn superposition(directions: &Matrix) -> impl Iterator<Item = Result<Batch>> {
    let pool: Vec<Matrix> = (0..40)
        .map(|index| {
            let mut random = random::Random::new(5, random::Draw::Dead(index), 0);
            let mut x = Matrix::zeros(BATCH, D);
            for row in 0..BATCH {
                for feature in 0..PLANTED {
                    if random.uniform() < 0.04 {
                        let strength = 0.5 + random.uniform() as f32;
                        let direction = directions.row(feature);
                        for (x, d) in x.row_mut(row).iter_mut().zip(direction) {
                            *x += strength * d;
                        }
                    }
                }
            }
            x
        })
        .collect();
    (0..).map(move |index| {
        Ok(Batch {
            x: pool[index % pool.len()].clone(),
            target: None,
        })
    })
}

/// Share of the planted directions with a decoder row of cosine over 0.95.
fn recovered(sae: &Sae, directions: &Matrix) -> f64 {
    let (w_dec, _) = sae.decoder();
    let norms = sae.decoder_norms();
    let found = (0..PLANTED).filter(|&feature| {
        (0..w_dec.rows()).any(|row| {
            let product = saescope_kernels::dot(w_dec.row(row), directions.row(feature));
            product / f64::from(norms[row]) > 0.95
        })
    });
    found.count() as f64 / PLANTED as f64
}

fn config(objective: Objective) -> TrainConfig {
    let steps = 400;
    let mut config = TrainConfig::recipe(Recipe::TopK, D, 96, steps);
    config.objective = objective;
    config.batch_tokens = BATCH;
    config.adam.lr = 4e-3;
    config.input = Input::Raw;
    config.init.b_dec = InitBias::Zero;
    config.dead.window_tokens = 20 * BATCH as u64;
    config.checkpoint_every = 0;
    config.log_every = steps;
    config
}

fn recovers(name: &str, objective: Objective) {
    let directions = planted();
    let config = config(objective);
    let started = std::time::Instant::now();
    let (sae, sink) = train_one(&config, None, &mut superposition(&directions)).unwrap();
    let share = recovered(&sae, &directions);
    let last = sink.lines.last().unwrap();
    println!(
        "{name}: {share:.3}, {:?}, EV {:.3}, L0 {:.2}, dead {}",
        started.elapsed(),
        last.explained_variance,
        last.l0,
        last.dead
    );
    assert!(share >= 0.95, "{name} recovers {share}");
}

const AUX: Option<AuxK> = Some(AuxK {
    k: 16,
    coefficient: 1.0 / 32.0,
    form: AuxForm::Paper,
});

#[test]
fn l1_recovers_planted_directions() {
    recovers(
        "l1",
        Objective::L1 {
            coefficient: 0.1,
            decoder_norm: false,
        },
    );
}

#[test]
fn topk_recovers_planted_directions() {
    recovers("topk", Objective::TopK { k: 3, aux: AUX });
}

#[test]
fn batch_topk_recovers_planted_directions() {
    recovers("batchtopk", Objective::BatchTopK { k: 2, aux: AUX });
}

#[test]
fn matryoshka_recovers_planted_directions() {
    let prefixes = vec![48, 96];
    recovers(
        "matryoshka",
        Objective::Matryoshka {
            k: 2,
            prefixes,
            aux: AUX,
        },
    );
}

#[test]
fn jump_relu_recovers_planted_directions() {
    let jump = |penalty| Objective::JumpRelu {
        penalty,
        bandwidth: 0.1,
        threshold: 0.1,
        pre_activation: 1e-4,
    };
    recovers("step", jump(JumpPenalty::Step { coefficient: 0.05 }));
    recovers(
        "tanh",
        jump(JumpPenalty::Tanh {
            coefficient: 0.1,
            scale: 4.0,
        }),
    );
    recovers(
        "target",
        jump(JumpPenalty::Target {
            coefficient: 1.0,
            l0: 2.0,
        }),
    );
}

#[test]
fn gated_recovers_planted_directions() {
    recovers(
        "gated",
        Objective::Gated {
            coefficient: 0.1,
            aux_trains_decoder: false,
        },
    );
}

#[test]
fn tune() {
    let directions = planted();
    let jump = |penalty, bandwidth, threshold| Objective::JumpRelu {
        penalty,
        bandwidth,
        threshold,
        pre_activation: 1e-3,
    };
    let mut cases = Vec::new();
    for c in [0.6, 0.9, 1.3] {
        cases.push((
            format!("gated {c}"),
            Objective::Gated {
                coefficient: c,
                aux_trains_decoder: false,
            },
        ));
    }
    for p in [vec![64, 96], vec![80, 96], vec![48, 72, 96]] {
        for k in [2, 3] {
            cases.push((
                format!("mat {p:?} {k}"),
                Objective::Matryoshka {
                    k,
                    prefixes: p.clone(),
                    aux: AUX,
                },
            ));
        }
    }
    for (b, t) in [(0.2, 0.1), (0.2, 0.2)] {
        cases.push((
            format!("step .05 {b} {t}"),
            jump(JumpPenalty::Step { coefficient: 0.05 }, b, t),
        ));
        cases.push((
            format!("tanh .1 {b} {t}"),
            jump(
                JumpPenalty::Tanh {
                    coefficient: 0.1,
                    scale: 4.0,
                },
                b,
                t,
            ),
        ));
        cases.push((
            format!("target {b} {t}"),
            jump(
                JumpPenalty::Target {
                    coefficient: 1.0,
                    l0: 2.0,
                },
                b,
                t,
            ),
        ));
    }
    for (name, objective) in cases {
        for lr in [6e-3, 1e-2, 2e-2] {
            let mut config = config(objective.clone());
            config.adam.lr = lr;
            let started = std::time::Instant::now();
            let (sae, sink) = train_one(&config, None, &mut superposition(&directions)).unwrap();
            let share = recovered(&sae, &directions);
            let last = sink.lines.last().unwrap();
            println!(
                "TUNE {name} lr {lr}: {share:.3}, {:?}, EV {:.3}, L0 {:.2}, dead {}",
                started.elapsed(),
                last.explained_variance,
                last.l0,
                last.dead
            );
        }
    }
}
