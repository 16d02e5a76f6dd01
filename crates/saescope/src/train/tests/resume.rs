//! The same seed gives the same bytes: with any number of threads, and with or without an
//! interruption.

use super::*;

const D: usize = 12;
const BATCH: usize = 64;
const STEPS: u64 = 9;

fn config(objective: Objective) -> TrainConfig {
    let mut config = TrainConfig::recipe(Recipe::TopK, D, 32, STEPS);
    config.objective = objective;
    config.batch_tokens = BATCH;
    config.adam.lr = 1e-2;
    config.input = Input::CentreAndScale;
    config.log_every = 2;
    config.checkpoint_every = 4;
    config.dead = Dead {
        window_tokens: 3 * BATCH as u64,
        treatment: Treatment::Resample { every: 3, times: 2 },
    };
    config
}

fn batches(transcoder: bool) -> impl Iterator<Item = Result<Batch>> {
    (0..).map(move |index| {
        let mut x = noise_matrix(index, BATCH, D);
        x.data_mut().iter_mut().step_by(D).for_each(|x| *x += 3.0);
        let target = transcoder.then(|| noise_matrix(1000 + index, BATCH, D));
        Ok(Batch { x, target })
    })
}

/// Every case: the objectives, aux-k, other inputs, a transcoder with skip, redrawing.
fn cases() -> Vec<(String, TrainConfig)> {
    let mut cases: Vec<(String, TrainConfig)> = objectives(3, 32)
        .into_iter()
        .map(|(name, objective)| (name.to_owned(), config(objective)))
        .collect();
    let aux = AuxK {
        k: 6,
        coefficient: 0.1,
        form: AuxForm::Saelens,
    };
    let topk = config(Objective::TopK {
        k: 3,
        aux: Some(aux),
    });
    let mut normed = topk.clone();
    normed.input = Input::LayerNorm;
    let mut redrawn = topk.clone();
    redrawn.dead.treatment = Treatment::Redraw {
        every: 2,
        below: 1e-2,
    };
    cases.push((
        "skip".to_owned(),
        topk.clone().transcode(Transcoder { skip: true }),
    ));
    cases.push(("aux".to_owned(), topk));
    cases.push(("layer norm".to_owned(), normed));
    cases.push(("redrawn".to_owned(), redrawn));
    cases
}

/// The results of a run: its checkpoints, its metrics without times, its weights.
fn traces(config: &TrainConfig, resume: Option<State>) -> (Vec<Vec<u8>>, Vec<Metrics>, Matrix) {
    let transcoder = config.transcoder.is_some();
    let done = resume.as_ref().map_or(0, State::step);
    let mut batches = batches(transcoder).skip(done as usize);
    let (sae, kept) = train_one(config, resume, &mut batches).unwrap();
    let lines = kept.lines.into_iter().map(|line| Metrics {
        tokens_per_s: 0.0,
        seconds_batches: 0.0,
        seconds_train: 0.0,
        ..line
    });
    (kept.checkpoints, lines.collect(), sae.decoder().0.clone())
}

fn load(bytes: &[u8]) -> Result<State> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    std::fs::write(&path, bytes).unwrap();
    crate::runs::load_state(&path)
}

#[test]
fn a_resumed_run_leaves_the_bytes_of_an_uninterrupted_one() {
    for (name, config) in cases() {
        let (checkpoints, lines, weights) = traces(&config, None);
        assert_eq!(checkpoints.len(), 3, "after 4, 8 and 9 steps");
        let state = load(&checkpoints[0]).unwrap();
        assert_eq!((state.step(), state.tokens()), (4, 4 * BATCH as u64));
        let (rest, later, resumed) = traces(&config, Some(state));
        assert!(rest == checkpoints[1..], "{name}: checkpoints differ");
        assert_eq!(resumed, weights, "{name}");
        let expected: Vec<Metrics> = lines.into_iter().filter(|line| line.step > 4).collect();
        assert_eq!(later, expected, "{name}");
    }
}

#[test]
fn one_thread_and_three_leave_the_same_bytes() {
    let with = |threads: usize, config: &TrainConfig| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| traces(config, None))
    };
    for (name, config) in cases() {
        assert!(with(1, &config) == with(3, &config), "{name}");
    }
}

#[test]
fn another_seed_gives_other_weights() {
    let config = config(Objective::TopK { k: 3, aux: None });
    let other = TrainConfig {
        seed: 1,
        ..config.clone()
    };
    assert_ne!(traces(&config, None).2, traces(&other, None).2);
}

#[test]
fn a_run_that_is_stopped_writes_a_checkpoint() {
    let config = config(Objective::TopK { k: 3, aux: None });
    let mut sink = Kept {
        stop_at: Some(3),
        ..Kept::default()
    };
    let run = Run {
        config: &config,
        record: Record::default(),
        resume: None,
        sink: &mut sink,
    };
    train(vec![run], &mut Iterated(batches(false))).unwrap();
    assert_eq!(sink.checkpoints.len(), 1);
    assert_eq!(load(&sink.checkpoints[0]).unwrap().step(), 3);
}

#[test]
fn runs_side_by_side_end_like_each_alone() {
    let cases: Vec<TrainConfig> = cases().into_iter().map(|(_, config)| config).collect();
    let cases: Vec<&TrainConfig> = cases
        .iter()
        .filter(|c| c.transcoder.is_none())
        .take(4)
        .collect();
    let mut sinks: Vec<Kept> = cases.iter().map(|_| Kept::default()).collect();
    let runs = cases.iter().zip(&mut sinks).map(|(config, sink)| Run {
        config,
        record: Record::default(),
        resume: None,
        sink,
    });
    let saes = train(runs.collect(), &mut Iterated(batches(false))).unwrap();
    for (config, sae) in cases.iter().zip(&saes) {
        assert_eq!(*sae.decoder().0, traces(config, None).2);
    }
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused() {
    let config = config(Objective::TopK { k: 3, aux: None });
    let (checkpoints, ..) = traces(&config, None);
    let mut other = config;
    other.adam.lr = 2e-2;
    let state = load(&checkpoints[0]).unwrap();
    let error = train_one(&other, Some(state), &mut batches(false)).map(drop);
    let Err(crate::Error::Training { step: 4, reason }) = error else {
        panic!("{error:?}");
    };
    assert!(reason.contains("`adam`"), "{reason}");
}

#[test]
fn a_truncated_or_altered_checkpoint_is_refused() {
    let config = config(Objective::Gated {
        coefficient: 0.1,
        aux_trains_decoder: true,
    });
    let (checkpoints, ..) = traces(&config, None);
    let bytes = &checkpoints[0];
    assert!(load(&bytes[..bytes.len() - 4]).is_err());
    let text = String::from_utf8_lossy(bytes).into_owned();
    let at = text.find("\\\"d_sae\\\":32").unwrap();
    let mut bent = bytes.clone();
    bent[at + 11] = b'3';
    assert!(matches!(load(&bent), Err(crate::Error::Tensor { .. })));
}
