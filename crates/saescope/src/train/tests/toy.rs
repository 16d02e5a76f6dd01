//! Training recovers planted directions.

use super::*;

const D: usize = 32;
const PLANTED: usize = 48;
const BATCH: usize = 512;

/// `[PLANTED, D]`, of norm 1.
fn planted() -> Matrix {
    random::directions((PLANTED, D), 1.0, 77, random::Draw::Decoder)
}

/// Endless batches that repeat: every token is the sum of a few planted directions
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

fn recovers(name: &str, lr: f32, objective: Objective) {
    let steps = 400;
    let mut config = TrainConfig::recipe(Recipe::TopK, D, 96, steps);
    config.objective = objective;
    config.batch_tokens = BATCH;
    config.adam.lr = lr;
    config.input = Input::Raw;
    config.init.b_dec = InitBias::Zero;
    config.dead.window_tokens = 20 * BATCH as u64;
    config.log_every = steps;
    let directions = planted();
    let (sae, sink) = train_one(&config, None, &mut superposition(&directions)).unwrap();
    let share = recovered(&sae, &directions);
    let last = sink.lines.last().unwrap();
    assert!(
        share >= 0.95,
        "{name} recovers {share} with explained variance {} and L0 {}",
        last.explained_variance,
        last.l0
    );
}

const AUX: Option<AuxK> = Some(AuxK {
    k: 16,
    coefficient: 1.0 / 32.0,
    form: AuxForm::Paper,
});

#[test]
fn l1_recovers_planted_directions() {
    let l1 = |decoder_norm| Objective::L1 {
        coefficient: 0.4,
        decoder_norm,
    };
    recovers("l1", 1e-2, l1(false));
    recovers("l1 by norm", 1e-2, l1(true));
}

#[test]
fn topk_recovers_planted_directions() {
    recovers("topk", 1e-2, Objective::TopK { k: 3, aux: AUX });
}

#[test]
fn batch_topk_recovers_planted_directions() {
    recovers("batchtopk", 1e-2, Objective::BatchTopK { k: 2, aux: AUX });
}

#[test]
fn matryoshka_recovers_planted_directions() {
    let matryoshka = Objective::Matryoshka {
        k: 2,
        prefixes: vec![80, 96],
        aux: AUX,
    };
    recovers("matryoshka", 1e-2, matryoshka);
}

#[test]
fn jump_relu_recovers_planted_directions() {
    let jump = |penalty, bandwidth| Objective::JumpRelu {
        penalty,
        bandwidth,
        threshold: bandwidth,
        pre_activation: 1e-3,
    };
    recovers(
        "step",
        1e-2,
        jump(JumpPenalty::Step { coefficient: 0.05 }, 0.2),
    );
    let tanh = JumpPenalty::Tanh {
        coefficient: 0.1,
        scale: 4.0,
    };
    recovers("tanh", 1e-2, jump(tanh, 0.2));
    let target = JumpPenalty::Target {
        coefficient: 1.0,
        l0: 2.0,
    };
    recovers("target", 4e-3, jump(target, 0.1));
}

#[test]
fn gated_recovers_planted_directions() {
    let gated = Objective::Gated {
        coefficient: 0.9,
        aux_trains_decoder: false,
    };
    recovers("gated", 1e-2, gated);
}

/// The recipe with its own rate, at lengths and input norms for which rate and thresholds have to fit
/// each other.
#[test]
fn the_recipe_jumprelu_reaches_its_target_by_default() {
    for (steps, input) in [(300, Input::Scale), (1000, Input::LayerNorm)] {
        let mut config = TrainConfig::recipe(Recipe::JumpRelu, D, 96, steps);
        if let Objective::JumpRelu { penalty, .. } = &mut config.objective {
            *penalty = JumpPenalty::Target {
                coefficient: D as f32,
                l0: 3.0,
            };
        }
        config.batch_tokens = BATCH;
        config.input = input;
        config.dead.window_tokens = 20 * BATCH as u64;
        let (_, sink) = train_one(&config, None, &mut superposition(&planted())).unwrap();
        let last = sink.lines.last().unwrap();
        assert!((last.l0 - 3.0).abs() < 0.3, "{steps} steps: L0 {}", last.l0);
        assert!(last.explained_variance > 0.9, "{}", last.explained_variance);
    }
}
