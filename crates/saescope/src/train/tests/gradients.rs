//! Closed-form gradients compared with finite differences of losses written down plainly in f64.

use super::plain64::{Params, Plain, Rows, rows};
use super::*;
use saescope_kernels::{RowNorm, SparseRows};

const D_IN: usize = 4;
const D_SAE: usize = 8;
const TOKENS: usize = 6;

/// Features that are never active: their encoder rows are short.
const DEAD: [usize; 2] = [6, 7];

fn config(objective: Objective) -> TrainConfig {
    let mut config = TrainConfig::recipe(Recipe::TopK, D_IN, D_SAE, 100);
    config.objective = objective;
    config.batch_tokens = TOKENS;
    config.input = Input::Raw;
    // Rows of norm 1 have no gradient along the row.
    config.decoder = DecoderNorm::Free;
    config.init.decoder_norm = 0.8;
    config
}

fn batch(transcoder: bool) -> Batch {
    Batch {
        x: noise_matrix(1, TOKENS, D_IN),
        target: transcoder.then(|| noise_matrix(2, TOKENS, 3)),
    }
}

/// A state in which every parameter has a non-zero value.
fn state(config: &TrainConfig, batch: &Batch) -> State {
    let mut state = State::new(config, batch);
    state
        .learner
        .weights
        .update(config, |w_enc, w_dec, vectors| {
            let mut seed = 10;
            let mut add = |values: &mut [f32], size: f32| {
                seed += 1;
                let noise = noise(seed, values.len());
                let pairs = values.iter_mut().zip(noise);
                pairs.for_each(|(value, noise)| *value += size * noise);
            };
            add(w_enc.data_mut(), 0.6);
            add(w_dec.data_mut(), 0.3);
            for part in vectors.parts_mut() {
                add(part, 0.2);
            }
            vectors.threshold.iter_mut().for_each(|t| *t = t.abs());
            for feature in DEAD {
                w_enc.row_mut(feature).iter_mut().for_each(|w| *w *= 0.1);
                vectors.b_enc[feature] *= 0.1;
                if let Some(threshold) = vectors.threshold.get_mut(feature) {
                    *threshold = 1.0;
                }
            }
        });
    for feature in DEAD {
        state.learner.firing.since[feature] = 1_000_000_000;
    }
    state
}

/// The result of a pass.
struct Found {
    loss: f64,
    /// The name, the place in `Params` and the gradient of every parameter.
    gradients: Vec<(String, Place, f64)>,
    dead: Vec<usize>,
}

/// The pass of a state over a batch, over dense activations if the objective has a pass for them.
fn pass_of(state: &mut State, batch: &Batch, dense: bool) -> Found {
    let config = state.setup.config.clone();
    let transform = state.setup.transform.clone();
    let tokens = transform.apply(&config, batch);
    let encoder_input = step::encoder_input(&config, &tokens, &state.learner.weights.vectors.b_dec);
    let found: SparseRows = step::find(&config, &mut state.learner, &encoder_input);
    let input = pass::PassInput {
        config: &config,
        weights: &state.learner.weights,
        tokens: &tokens,
        encoder_input: &encoder_input,
        sparsity: 1.0,
    };
    let pass = match plain::L1::of(&input).filter(|_| dense) {
        Some(penalty) => dense::pass(
            &input,
            &penalty,
            &mut state.learner.firing,
            &mut state.learner.workspace,
        ),
        None => step::run(&input, found, &mut state.learner.firing),
    };
    let dead = state.learner.firing.dead(config.dead.window_tokens);
    Found {
        loss: pass.loss.total(),
        gradients: each(&state.learner.weights, &pass.gradients),
        dead: dead.iter().map(|&feature| feature as usize).collect(),
    }
}

fn each(weights: &weights::Weights, gradients: &weights::Gradients) -> Vec<(String, Place, f64)> {
    let mut all = Vec::new();
    let matrices = [
        ("w_enc", &gradients.w_enc, weights.w_enc()),
        ("w_dec", &gradients.w_dec, &weights.w_dec),
    ];
    for (name, gradient, params) in matrices {
        for at in 0..D_SAE {
            let row = gradient.row(at, params, RowNorm::Free);
            for (column, found) in row.into_iter().enumerate() {
                let place = Place { name, at, column };
                all.push((format!("{name}[{at}][{column}]"), place, f64::from(found)));
            }
        }
    }
    let parts = weights::VECTOR_NAMES.iter().zip(gradients.vectors.parts());
    for (name, part) in parts {
        for (at, &found) in part.iter().enumerate() {
            let place = Place {
                name,
                at,
                column: 0,
            };
            all.push((format!("{name}[{at}]"), place, f64::from(found)));
        }
    }
    all
}

struct Place {
    name: &'static str,
    at: usize,
    column: usize,
}

impl Place {
    fn of<'a>(&self, params: &'a mut Params) -> &'a mut f64 {
        match self.name {
            "w_enc" => &mut params.w_enc[self.at][self.column],
            "w_dec" => &mut params.w_dec[self.at][self.column],
            name => {
                let part = weights::VECTOR_NAMES
                    .iter()
                    .position(|part| *part == name)
                    .unwrap();
                &mut params.vectors[part][self.at]
            }
        }
    }
}

/// The slope of the loss by one parameter.
fn slope(plain: &Plain, params: &Params, place: &Place) -> f64 {
    const H: f64 = 1e-6;
    if place.name == "threshold" {
        return threshold_slope(plain, params, place.at);
    }
    let at = |h: f64| {
        let mut moved = params.clone();
        *place.of(&mut moved) += h;
        plain.loss(&moved)
    };
    (at(H) - at(-H)) / (2.0 * H)
}

/// The straight-through estimator: the slopes of the loss by activations and by the step function, times
/// the derivative that the kernel gives these.
fn threshold_slope(plain: &Plain, params: &Params, feature: usize) -> f64 {
    const H: f64 = 1e-6;
    let Objective::JumpRelu { bandwidth, .. } = plain.config.objective else {
        panic!("only JumpReLU has thresholds");
    };
    let (bandwidth, theta) = (f64::from(bandwidth), params.vectors[2][feature]);
    let (f, on, pre) = (
        plain.activations(params),
        plain.on(params),
        plain.pre(params),
    );
    let slope = |of: &dyn Fn(f64) -> f64| (of(H) - of(-H)) / (2.0 * H);
    let moved = |rows: &Rows, token: usize, h: f64| {
        let mut rows = rows.clone();
        rows[token][feature] += h;
        rows
    };
    let near = |pre: &Vec<f64>| (pre[feature] - theta).abs() < bandwidth / 2.0;
    let tokens = pre.iter().enumerate().filter(|(_, pre)| near(pre));
    let sums = tokens.map(|(token, _)| {
        let by_value = slope(&|h| plain.loss_of(params, &moved(&f, token, h), &on));
        let by_on = slope(&|h| plain.loss_of(params, &f, &moved(&on, token, h)));
        -(theta * by_value + by_on) / bandwidth
    });
    let sum: f64 = sums.sum();
    // The pull on dead features has a slope of its own.
    let mut higher = params.clone();
    higher.vectors[2][feature] += H;
    sum + (plain.loss_of(&higher, &f, &on) - plain.loss_of(params, &f, &on)) / H
}

fn check(name: &str, config: &TrainConfig) {
    check_pass(name, config, false);
    if matches!(config.objective, Objective::L1 { .. }) {
        check_pass(&format!("{name}, dense"), config, true);
    }
}

fn check_pass(name: &str, config: &TrainConfig, dense: bool) {
    let batch = batch(config.transcoder.is_some());
    let mut state = state(config, &batch);
    let params = Params::of(&state.learner.weights);
    let found = pass_of(&mut state, &batch, dense);
    let revives = match &config.objective {
        Objective::TopK { aux, .. }
        | Objective::BatchTopK { aux, .. }
        | Objective::Matryoshka { aux, .. } => aux.is_some(),
        Objective::JumpRelu { pre_activation, .. } => *pre_activation > 0.0,
        _ => false,
    };
    assert!(
        !revives || !found.dead.is_empty(),
        "{name}: nothing is dead"
    );
    let plain = Plain {
        config,
        x: rows(&batch.x),
        target: rows(batch.target.as_ref().unwrap_or(&batch.x)),
        dead: found.dead,
        stopped: params.clone(),
    };
    let loss = plain.loss(&params);
    assert!(
        (found.loss / loss - 1.0).abs() < 1e-5,
        "{name}: {} {loss}",
        found.loss
    );
    let slopes: Vec<f64> = (found.gradients)
        .iter()
        .map(|(_, place, _)| slope(&plain, &params, place))
        .collect();
    let largest = slopes
        .iter()
        .fold(0.0_f64, |max, slope| max.max(slope.abs()));
    for ((what, _, found), slope) in found.gradients.iter().zip(slopes) {
        assert!(
            (found - slope).abs() < 1e-5 * largest.max(1.0) + 1e-4 * slope.abs(),
            "{name}: {what} has {found}, but the loss grows by {slope}"
        );
    }
}

/// Autoencoders with and without `b_dec` subtracted, and transcoders, of every reconstruction error.
fn variants(config: &TrainConfig) -> Vec<(&'static str, TrainConfig)> {
    let mut plain = config.clone();
    plain.init.subtract_b_dec = false;
    let mut fvu = config.clone();
    fvu.reconstruction = Reconstruction::Fvu;
    let mut mean = config.clone().transcode(Transcoder { skip: false });
    mean.reconstruction = Reconstruction::MeanSquaredError;
    let skip = config.clone().transcode(Transcoder { skip: true });
    vec![
        ("b_dec subtracted", config.clone()),
        ("b_dec not subtracted", plain),
        ("FVU", fvu),
        ("transcoder, mean squared error", mean),
        ("transcoder with skip", skip),
    ]
}

#[test]
fn the_gradients_of_every_objective_are_the_slopes_of_its_loss() {
    for (name, objective) in objectives(2, D_SAE) {
        for (variant, config) in variants(&config(objective.clone())) {
            check(&format!("{name}, {variant}"), &config);
        }
    }
}

#[test]
fn the_gradients_of_every_auxiliary_loss_are_its_slopes() {
    for form in [AuxForm::Paper, AuxForm::Saelens, AuxForm::Sparsify] {
        for k in [1, 3] {
            let aux = Some(AuxK {
                k,
                coefficient: 0.5,
                form,
            });
            for objective in [
                Objective::TopK { k: 2, aux },
                Objective::BatchTopK { k: 2, aux },
                Objective::Matryoshka {
                    k: 2,
                    prefixes: vec![3, 7, 8],
                    aux,
                },
            ] {
                for (variant, config) in variants(&config(objective.clone())) {
                    check(&format!("{form:?} {k}, {objective:?}, {variant}"), &config);
                }
            }
        }
    }
}

#[test]
fn the_pull_on_dead_features_is_the_slope_of_its_loss() {
    let objective = Objective::JumpRelu {
        penalty: JumpPenalty::Tanh {
            coefficient: 0.2,
            scale: 1.5,
        },
        bandwidth: 0.3,
        threshold: 0.1,
        pre_activation: 0.4,
    };
    for (variant, config) in variants(&config(objective)) {
        check(variant, &config);
    }
}
