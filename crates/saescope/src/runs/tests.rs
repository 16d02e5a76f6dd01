//! Folders of runs without a training: writing, refusing, judging and showing them.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::report::report_html;
use super::*;
use crate::error::Error;
use crate::train::{
    Adam, AuxK, Dead, DecoderNorm, Init, InitBias, Input, Metrics, Objective, Products,
    Reconstruction, TrainConfig, Treatment,
};

fn train_config() -> TrainConfig {
    TrainConfig {
        d_sae: 512,
        objective: Objective::TopK {
            k: 8,
            aux: Some(AuxK {
                k: 32,
                coefficient: 1.0 / 32.0,
                form: crate::train::AuxForm::Paper,
            }),
        },
        reconstruction: Reconstruction::SquaredError,
        batch_tokens: 4096,
        steps: 400,
        adam: Adam {
            lr: 3e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            bias_lr_factor: 1.0,
        },
        lr_warmup_steps: 10,
        lr_decay_steps: 80,
        sparsity_warmup_steps: 0,
        grad_clip: None,
        input: Input::Raw,
        decoder: DecoderNorm::Unit,
        init: Init {
            decoder_norm: 1.0,
            tied: true,
            b_dec: InitBias::GeometricMedian,
            subtract_b_dec: true,
        },
        dead: Dead {
            window_tokens: 500_000,
            treatment: Treatment::None,
        },
        transcoder: None,
        products: Products::F32,
        log_every: 10,
        checkpoint_every: 100,
        seed: 1,
    }
}

fn config() -> RunConfig {
    RunConfig {
        saescope: "0.1.0".to_owned(),
        model: ModelOrigin {
            reference: "org/<b>model</b>".to_owned(),
            files: Vec::new(),
            dtype: "f32".to_owned(),
            prepend_bos: true,
        },
        site: crate::site::Site::MlpOut(5),
        out_site: None,
        d_in: 64,
        d_out: 64,
        context: 128,
        corpus: json!({"files": ["</style><script>alert(1)</script>"]}),
        corpus_digest: "00".to_owned(),
        activations: json!({"buffer_tokens": 65_536}),
        train: train_config(),
        input: None,
        machine: Machine {
            instruction_set: "avx2".to_owned(),
            threads: 2,
        },
    }
}

/// A line of a good run.
fn line(step: u64) -> MetricsLine {
    let progress = step as f64 / 400.0;
    // Few digits, since reading a number may change its last bit.
    let falling = ((-6.0 * progress).exp() * 1e4).round() / 1e4;
    let loss = 4.0 + 64.0 * falling;
    MetricsLine {
        metrics: Metrics {
            step,
            tokens: step * 4096,
            loss: loss + 0.125,
            loss_reconstruction: loss,
            loss_aux: 0.125,
            explained_variance: 0.75 - 0.75 * falling,
            l0: 8.0,
            dead: (30.0 * progress) as usize,
            dense: 1,
            density_histogram: vec![2, 0, 1, 4, 20, 60, 130, 160, 90, 30, 13, 1, 1],
            off_diag_mean: 0.1 + 0.01 * progress,
            off_diag_max: 0.6 + 0.2 * progress,
            grad_norm: 3.0 * falling + 0.25,
            lr: 3e-4,
            sparsity_scale: 1.0,
            tokens_per_s: 9000.0 + 300.0 * (step % 70) as f64,
            seconds_batches: 2.0,
            seconds_train: 3.0,
            seconds_model: 1.8,
            seconds_buffer: 0.2,
            ..Metrics::default()
        },
        memory_mb: Some(512.0),
        seconds_left: 20.0,
    }
}

/// A run in `folder` with a line for each of `steps`.
fn written(folder: &Path, steps: &[u64]) -> SavedRun {
    let mut writer = Writer::create(folder, &config(), Existing::Refuse).unwrap();
    for &step in steps {
        writer.line(&line(step)).unwrap();
    }
    SavedRun::open(folder).unwrap()
}

fn levels(run: &SavedRun) -> Vec<(Level, String)> {
    let findings = verdict(run).findings.into_iter();
    findings
        .map(|finding| (finding.level, finding.text))
        .collect()
}

/// True if there is a finding of `level` whose text contains `part`.
fn found(run: &SavedRun, level: Level, part: &str) -> bool {
    let all = levels(run);
    all.iter()
        .any(|(of, text)| *of == level && text.contains(part))
}

#[test]
fn a_written_run_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = written(folder.path(), &[10, 20]);
    assert_eq!(run.config, config());
    assert_eq!(run.lines, [line(10), line(20)]);
    assert!(!run.is_finished() && run.checkpoints().unwrap().is_empty());
}

#[test]
fn a_folder_with_a_run_is_refused_unless_it_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &[10]);
    let again = Writer::create(folder.path(), &config(), Existing::Refuse);
    assert!(matches!(again, Err(Error::RunExists { .. })));
    Writer::create(folder.path(), &config(), Existing::Replace).unwrap();
    assert!(SavedRun::open(folder.path()).unwrap().lines.is_empty());
}

#[test]
fn files_of_other_programs_are_never_replaced() {
    for (name, text) in [
        ("config.json", "{\"model_type\": \"gpt2\"}"),
        ("report.html", "<p>"),
        ("sae/notes.txt", "mine"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        for existing in [Existing::Refuse, Existing::Replace] {
            let error = Writer::create(folder.path(), &config(), existing).unwrap_err();
            assert!(
                error.to_string().contains(folder.path().to_str().unwrap()),
                "{error}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn another_configuration_is_refused_by_its_field() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &[10]);
    let mut other = config();
    other.model.reference = "elsewhere".to_owned();
    other.train.adam.lr = 1e-3;
    let error = Writer::resume(folder.path(), &other, 0)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("`train.adam.lr` is 0.0003, but 0.001 was given"),
        "{error}"
    );
    assert_eq!(SavedRun::open(folder.path()).unwrap().lines.len(), 1);
}

#[test]
fn another_machine_is_reported_and_another_number_of_threads_is_not() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &[10]);
    let mut other = config();
    other.machine.threads = 8;
    let (_, _, differences) = Writer::resume(folder.path(), &other, 0).unwrap();
    assert_eq!(differences, []);
    other.machine.instruction_set = "neon".to_owned();
    let (_, _, differences) = Writer::resume(folder.path(), &other, 0).unwrap();
    assert_eq!(differences[0].field, "machine.instruction_set");
}

#[test]
fn resuming_removes_later_lines_and_a_truncated_one() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &[10, 20, 30]);
    let path = folder.path().join("metrics.jsonl");
    let whole = fs::read(&path).unwrap();
    let two: usize = whole
        .split_inclusive(|&b| b == b'\n')
        .take(2)
        .map(<[u8]>::len)
        .sum();
    fs::write(&path, [&whole[..], b"{\"step\": 4"].concat()).unwrap();
    assert_eq!(SavedRun::open(folder.path()).unwrap().lines.len(), 3);
    super::writer::rewind(&super::folder::Folder(folder.path().to_path_buf()), 20).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole[..two]);
}

#[test]
fn a_missing_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &[10]);
    let error = Writer::resume(folder.path(), &config(), 100)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("step-100.safetensors"), "{error}");
}

#[test]
fn broken_folders_are_refused_by_file() {
    let cases: [(&str, &[u8], &str); 5] = [
        ("config.json", b"{}", "config.json"),
        ("config.json", b"\xff\xfe", "config.json"),
        ("metrics.jsonl", b"{}\n", "line 1"),
        ("metrics.jsonl", b"[1, 2]\n", "line 1"),
        ("eval.json", b"{", "eval.json"),
    ];
    for (name, bytes, part) in cases {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), &[10]);
        fs::write(folder.path().join(name), bytes).unwrap();
        let error = SavedRun::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(SavedRun::open(folder.path()).is_err());
    fs::create_dir(folder.path().join("config.json")).unwrap();
    assert!(SavedRun::open(folder.path()).is_err());
}

#[test]
fn runs_side_by_side_resume_from_their_last_common_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<SavedRun> = [&[100, 200][..], &[200, 300], &[200]]
        .iter()
        .enumerate()
        .map(|(number, steps)| {
            let path = folder.path().join(number.to_string());
            let run = written(&path, &[]);
            for step in *steps {
                fs::write(
                    path.join(format!("checkpoints/step-{step}.safetensors")),
                    "",
                )
                .unwrap();
            }
            run
        })
        .collect();
    assert_eq!(common_step(&runs).unwrap(), 200);
    assert_eq!(common_step(&runs[..0]).unwrap(), 0);
}

#[test]
fn a_page_escapes_texts_of_users_and_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let steps: Vec<u64> = (0..=40).map(|i| i * 10).collect();
    let run = written(folder.path(), &steps);
    let page = report_html(&run).unwrap();
    assert!(page.contains("org&#x2f;&lt;b&gt;model"), "{}", &page[..600]);
    for never in [
        "<script", "<b>model", "http:", "https:", "src=", "NaN", "inf,",
    ] {
        assert!(!page.contains(never), "{never}");
    }
    assert!(page.matches("<svg").count() >= 9);
    assert!(page.contains("train.adam.lr"));
}

#[test]
fn a_run_without_a_line_has_a_page_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = written(folder.path(), &[]);
    assert!(report_html(&run).unwrap().contains("no step was logged"));
    assert!(ComparisonRow::of(&run).is_none());
}

#[test]
fn a_comparison_has_a_row_for_each_run_and_escapes_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let run = written(&folder.path().join("<i>"), &[400]);
    let one = ComparisonRow::of(&run).unwrap();
    let other = ComparisonRow {
        d_sae: 1024,
        ce_increase: Some(0.2),
        ..one.clone()
    };
    let page = write_comparison(folder.path(), "org/model mlp_out.5", &[one, other]).unwrap();
    let page = fs::read_to_string(page).unwrap();
    assert!(!page.contains("<i>") && page.contains("&lt;i&gt;"));
    assert_eq!(page.matches("<svg").count(), 4);
}

#[test]
fn a_good_run_gets_a_good_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = written(folder.path(), &[400]);
    assert_eq!(verdict(&run).level, Level::Good, "{:?}", levels(&run));
    run.evaluation = Some(json!({
        "explained_variance": 0.85, "l0": 8.0, "ce_recovered": 0.97,
        "ce_with_sae": 3.3, "ce_without_sae": 3.2
    }));
    assert_eq!(verdict(&run).level, Level::Good, "{:?}", levels(&run));
    assert!(found(&run, Level::Good, "loses 0.100 nats"));
}

#[test]
fn every_fault_has_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let good = written(folder.path(), &[400]);
    let with = |change: fn(&mut Metrics)| {
        let mut run = good.clone();
        change(&mut run.lines[0].metrics);
        run
    };
    type Change = fn(&mut Metrics);
    let cases: [(Change, Level, &str); 8] = [
        (|m| m.explained_variance = -0.5, Level::Bad, "FVU is 1.50"),
        (|m| m.explained_variance = 0.6, Level::Remark, "60.0%"),
        (|m| m.dead = 300, Level::Bad, "300 features (58.6%)"),
        (|m| m.dead = 100, Level::Remark, "100 features"),
        (|m| m.dense = 40, Level::Remark, "more than a tenth"),
        (|m| m.l0 = 0.5, Level::Bad, "Less than one"),
        (|m| m.l0 = 12.0, Level::Remark, "the target is 8"),
        (|m| m.off_diag_mean = 0.5, Level::Remark, "cosine of 0.5000"),
    ];
    for (change, level, part) in cases {
        let run = with(change);
        assert!(found(&run, level, part), "{part}: {:?}", levels(&run));
    }
    // TopK has no threshold that could settle.
    let sparse = format!("{:?}", verdict(&with(|m| m.l0 = 5.0)));
    assert!(
        sparse.contains("SmallerK") && !sparse.contains("Threshold"),
        "{sparse}"
    );
    let few = with(|m| m.tokens = 1000);
    assert!(found(&few, Level::Remark, "too few tokens (1000)"));
    assert!(found(&few, Level::Remark, "was active 16 times"));
}

#[test]
fn a_threshold_is_spoken_of_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = written(folder.path(), &[400]);
    run.lines[0].metrics.l0 = 4.0;
    let advised = |run: &SavedRun| {
        let findings = verdict(run).findings.into_iter();
        findings
            .filter_map(|finding| finding.advice)
            .collect::<Vec<_>>()
    };
    assert!(advised(&run).contains(&Advice::SmallerK));
    assert!(!advised(&run).contains(&Advice::LetThresholdSettle));
    let thresholds = [
        Objective::BatchTopK { k: 8, aux: None },
        Objective::Matryoshka {
            k: 8,
            prefixes: vec![512],
            aux: None,
        },
    ];
    for objective in thresholds {
        run.config.train.objective = objective;
        assert!(advised(&run).contains(&Advice::LetThresholdSettle));
    }
}

#[test]
fn a_run_that_is_still_learning_is_distinguished_from_a_converged_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = written(folder.path(), &[]);
    run.lines = (1..=20).map(|i| line(i * 10)).collect();
    assert!(found(&run, Level::Remark, "still falling"));
    run.lines = (1..=20).map(|i| line(4000 + i * 10)).collect();
    assert!(!found(&run, Level::Remark, "still falling"));
}
