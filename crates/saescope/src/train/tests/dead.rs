//! The treatment of features that are never active.

use super::*;
use saescope_kernels::dot;

const D: usize = 12;
const TOKENS: usize = 64;

/// Features that are never active.
const DEAD: [usize; 2] = [3, 8];

fn config(treatment: Treatment) -> TrainConfig {
    let mut config = TrainConfig::recipe(Recipe::TopK, D, 24, 10);
    config.objective = Objective::TopK { k: 4, aux: None };
    config.batch_tokens = TOKENS;
    config.input = Input::Raw;
    config.dead = Dead {
        window_tokens: 10 * TOKENS as u64,
        treatment,
    };
    config
}

fn batch() -> Batch {
    Batch {
        x: noise_matrix(4, TOKENS, D),
        target: None,
    }
}

fn state(config: &TrainConfig) -> State {
    let mut state = State::new(config, &batch());
    state.learner.weights.update(config, |_, _, vectors| {
        DEAD.iter()
            .for_each(|&feature| vectors.b_enc[feature] = -100.0);
    });
    for feature in DEAD {
        state.learner.firing.since[feature] = 1_000_000;
        state.learner.optimiser.w_enc.m.row_mut(feature).fill(1e-3);
        state.learner.optimiser.w_enc.v.row_mut(feature).fill(1.0);
        (
            state.learner.optimiser.m.b_enc[feature],
            state.learner.optimiser.v.b_enc[feature],
        ) = (1e-3, 1.0);
    }
    state
}

fn norm(row: &[f32]) -> f64 {
    dot(row, row).sqrt()
}

#[test]
fn resampled_features_point_at_a_token_and_restart() {
    let config = config(Treatment::Resample { every: 2, times: 1 });
    let mut state = state(&config);
    step::step(&mut state, &batch(), false).unwrap();
    assert!(
        state.learner.weights.vectors.b_enc[DEAD[0]] < -99.0,
        "not due yet"
    );
    step::step(&mut state, &batch(), false).unwrap();
    let w_enc = state.learner.weights.w_enc();
    let alive = (0..24).filter(|feature| !DEAD.contains(feature));
    let alive: f64 = alive.map(|feature| norm(w_enc.row(feature))).sum::<f64>() / 22.0;
    for feature in DEAD {
        let (e, d) = (w_enc.row(feature), state.learner.weights.w_dec.row(feature));
        assert!((norm(e) / (0.2 * alive) - 1.0).abs() < 1e-5);
        assert!((norm(d) - 1.0).abs() < 1e-5);
        assert!(dot(e, d) / norm(e) > 0.99, "both point the same way");
        let x = batch().x;
        let nearest = (0..TOKENS).map(|token| {
            let b_dec = &state.learner.weights.vectors.b_dec;
            let encoder_input: Vec<f32> =
                x.row(token).iter().zip(b_dec).map(|(x, b)| x - b).collect();
            dot(&encoder_input, d) / norm(&encoder_input)
        });
        assert!(nearest.fold(0.0, f64::max) > 0.9999);
        assert_eq!(
            state.learner.weights.vectors.b_enc[feature].to_bits(),
            0.0_f32.to_bits()
        );
        assert!(
            state
                .learner
                .optimiser
                .w_enc
                .m
                .row(feature)
                .iter()
                .all(|&m| m == 0.0)
        );
        assert_eq!(
            state.learner.optimiser.m.b_enc[feature].to_bits(),
            0.0_f32.to_bits()
        );
        assert_eq!(state.learner.firing.since[feature], 0);
    }
    let other = state.learner.weights.w_enc().row(DEAD[0]).to_vec();
    state.learner.firing.since[DEAD[0]] = 1_000_000;
    for _ in 0..2 {
        step::step(&mut state, &batch(), false).unwrap();
    }
    let now = state.learner.weights.w_enc().row(DEAD[0]);
    assert!(
        dot(&other, now) / norm(now) / norm(&other) > 0.9,
        "once is once"
    );
}

#[test]
fn redrawn_features_get_a_random_row_and_no_bias() {
    let config = config(Treatment::Redraw {
        every: 1,
        below: 1e-5,
    });
    let mut state = state(&config);
    let before = state.learner.weights.w_enc().clone();
    step::step(&mut state, &batch(), false).unwrap();
    for feature in DEAD {
        let row = state.learner.weights.w_enc().row(feature);
        assert!(dot(row, before.row(feature)).abs() < 0.9 * norm(row));
        assert!((0.3..2.0).contains(&norm(row)));
        assert_eq!(
            state.learner.weights.vectors.b_enc[feature].to_bits(),
            0.0_f32.to_bits()
        );
    }
    let kept = (0..24).filter(|feature| {
        let (row, was) = (
            state.learner.weights.w_enc().row(*feature),
            before.row(*feature),
        );
        dot(row, was) > 0.95 * norm(row) * norm(was)
    });
    assert!(kept.count() >= 20);
}

#[test]
fn nothing_is_redrawn_after_the_last_step() {
    let every = 1;
    for treatment in [
        Treatment::Redraw { every, below: 1e-5 },
        Treatment::Resample { every, times: 9 },
    ] {
        let mut config = config(treatment);
        config.steps = 1;
        let mut state = state(&config);
        step::step(&mut state, &batch(), false).unwrap();
        for feature in DEAD {
            assert!(state.learner.weights.vectors.b_enc[feature] < -99.0);
        }
    }
}

#[test]
fn a_feature_is_dead_after_the_window_without_activation() {
    let config = config(Treatment::None);
    let mut state = state(&config);
    for feature in DEAD {
        state.learner.firing.since[feature] = 0;
    }
    for done in 1..=10 {
        step::step(&mut state, &batch(), false).unwrap();
        let dead = state.learner.firing.dead(config.dead.window_tokens);
        let expected = done == 10;
        assert_eq!(
            dead.contains(&(DEAD[0] as u32)),
            expected,
            "after {done} steps"
        );
    }
}
