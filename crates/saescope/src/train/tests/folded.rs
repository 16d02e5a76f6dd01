//! The autoencoder of a run computes what the run computed.

use super::plain64::{Params, Plain, Rows, rows};
use super::*;

const D_IN: usize = 6;
const TOKENS: usize = 16;

fn batch(index: u64, transcoder: bool) -> Batch {
    let shifted = |mut x: Matrix| {
        x.data_mut().iter_mut().step_by(3).for_each(|x| *x += 2.0);
        x.scale(7.0);
        x
    };
    Batch {
        x: shifted(noise_matrix(index, TOKENS, D_IN)),
        target: transcoder.then(|| shifted(noise_matrix(100 + index, TOKENS, 4))),
    }
}

/// Trains some steps and returns the state.
fn trained(config: &TrainConfig) -> State {
    let transcoder = config.transcoder.is_some();
    let mut batches = (0..).map(|index| Ok(batch(index, transcoder)));
    let (_, kept) = train_one(config, None, &mut batches).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    std::fs::write(&path, kept.checkpoints.last().unwrap()).unwrap();
    crate::runs::load_state(&path).unwrap()
}

/// The reconstruction of a state, mapped from its own space to that of the model.
fn expected(state: &State, batch: &Batch) -> Rows {
    let config = state.config();
    let tokens = state.setup.transform.apply(config, batch);
    let params = Params::of(&state.learner.weights);
    let plain = Plain {
        config,
        x: rows(&tokens.x),
        target: rows(tokens.target()),
        dead: Vec::new(),
        stopped: params.clone(),
    };
    let f = match state.learner.threshold {
        None => plain.activations(&params),
        Some(threshold) => {
            let on = |x: f64| {
                if x > f64::from(threshold as f32) {
                    x
                } else {
                    0.0
                }
            };
            let row = |row: &Vec<f64>| row.iter().map(|&x| on(x)).collect();
            plain.pre(&params).iter().map(row).collect()
        }
    };
    let mut y = plain.decode(&params, &f, config.d_sae);
    let out = state
        .setup
        .transform
        .target
        .as_ref()
        .unwrap_or(&state.setup.transform.x);
    for (token, row) in y.iter_mut().enumerate() {
        let own = batch
            .x
            .row(token)
            .iter()
            .map(|&x| f64::from(x))
            .sum::<f64>()
            / D_IN as f64;
        for (y, mean) in row.iter_mut().zip(&out.mean) {
            *y = match tokens.units.get(token) {
                Some(&unit) => *y * f64::from(unit) + own,
                None => *y / f64::from(out.scale) + f64::from(*mean),
            };
        }
    }
    y
}

#[test]
fn the_autoencoder_of_a_run_reconstructs_as_the_run_did() {
    for (name, objective) in objectives(3, 16) {
        for input in [
            Input::Raw,
            Input::Scale,
            Input::CentreAndScale,
            Input::LayerNorm,
        ] {
            let mut config = TrainConfig::recipe(Recipe::TopK, D_IN, 16, 5);
            config.objective = objective.clone();
            config.input = input;
            config.batch_tokens = TOKENS;
            config.adam.lr = 3e-2;
            let mut plain = config.clone();
            plain.init.subtract_b_dec = false;
            let skip = input != Input::LayerNorm;
            let transcoder = config.clone().transcode(Transcoder { skip });
            for config in [config, plain, transcoder] {
                let state = trained(&config);
                let batch = batch(77, config.transcoder.is_some());
                let expected = expected(&state, &batch);
                let sae = state.sae(Record::default()).unwrap();
                let found = rows(&sae.reconstruct(&batch.x).unwrap());
                let pairs = found.iter().flatten().zip(expected.iter().flatten());
                for (found, expected) in pairs {
                    assert!(
                        (found - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                        "{name}, {input:?}, {config:?}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_autoencoder_records_its_configuration_and_notes() {
    let mut config = TrainConfig::recipe(Recipe::BatchTopK, D_IN, 16, 5);
    config.batch_tokens = TOKENS;
    let state = trained(&config);
    let sae = state.sae(Record::default()).unwrap();
    let kept: TrainConfig = serde_json::from_value(sae.record().config.clone()).unwrap();
    assert_eq!(kept, config);
    assert!(
        sae.record()
            .notes
            .iter()
            .any(|note| note.contains("BatchTopK"))
    );
    assert!(state.input_statistics().gamma > 0.0);
}
