//! Steering vectors from questions to edits.

use crate::{MODEL, check, json, run, stdout};

const QUESTIONS: &str = "tests/data/caa/refusal.json";
const VECTOR: &str = "tests/data/caa/refusal.safetensors";

#[test]
fn a_vector_says_what_made_it() {
    check("vector-info", &["vector", "info", VECTOR]);
    let golden = "tests/golden/vectors/control.gguf";
    check("vector-info-gguf", &["vector", "info", golden]);
}

#[test]
fn a_vector_is_built_read_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (gguf, svg) = (file("a.gguf"), file("a.svg"));
    let built = json(&[
        "vector",
        "caa",
        MODEL,
        "--questions",
        QUESTIONS,
        "--limit",
        "8",
        "--seed",
        "3",
        "-o",
        &gguf,
        "--json",
    ]);
    assert_eq!(built["record"]["positive"], 8);
    assert_eq!(built["record"]["seed"], 3);
    assert_eq!(built["record"]["prompt"], "plain");
    // Layer 0 has no place in the format.
    assert_eq!(built["sites"].as_array().unwrap().len(), 4);
    let outcome = json(&[
        "vector",
        "evaluate",
        MODEL,
        &gguf,
        "--questions",
        QUESTIONS,
        "--multipliers=-4,0,4",
        "--plot",
        &svg,
        "--json",
    ]);
    let outcomes = outcome["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 12);
    // Without the vector, every site gives the same.
    let plain = outcomes.iter().filter(|o| o["multiplier"] == 0.0);
    let mut plain: Vec<f64> = plain
        .map(|o| o["logit_difference"].as_f64().unwrap())
        .collect();
    plain.dedup();
    assert_eq!(plain.len(), 1);
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert_eq!(drawn.matches("<polyline").count(), 3);
}

#[test]
fn the_best_site_is_chosen_on_other_questions_than_those_reported() {
    let args = [
        "vector",
        "evaluate",
        MODEL,
        VECTOR,
        "--questions",
        QUESTIONS,
    ];
    let seen = |more: &[&str]| json(&[&args, more, &["--json"]].concat());
    let (all, held_out) = (seen(&[]), seen(&["--held-out"]));
    assert_eq!(
        (&all["n_questions"], &all["balanced"]),
        (&18.into(), &true.into())
    );
    assert!(all["chosen"].is_null());
    let chosen = &held_out["chosen"];
    assert_eq!(
        (&held_out["n_questions"], &chosen["n_questions"]),
        (&8.into(), &10.into())
    );
    // All questions are those of both halves.
    let difference = |report: &serde_json::Value, at: usize| {
        report["outcomes"][at]["logit_difference"].as_f64().unwrap()
    };
    for at in 0..all["outcomes"].as_array().unwrap().len() {
        let both = 8.0 * difference(&held_out, at) + 10.0 * difference(chosen, at);
        assert!((both / 18.0 - difference(&all, at)).abs() < 1e-6);
    }
    let text = stdout(&[&args[..], &["--held-out"]].concat());
    let site = chosen["site"].as_str().unwrap();
    assert!(
        text.ends_with(&format!("best on the other 10 questions: {site}\n")),
        "{text}"
    );
    assert_eq!(seen(&["--unbalanced"])["n_questions"], 20);
}

#[test]
fn edits_of_a_vector_are_what_run_applies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edits.json");
    let path = path.to_str().unwrap();
    let mut args = vec![
        "vector",
        "edits",
        VECTOR,
        "--site",
        "resid_post.2",
        "--scale=-40.5",
    ];
    let printed = json(&args);
    assert_eq!(printed["model"], MODEL);
    assert_eq!(printed["edits"][0]["site"], "resid_post.2");
    assert_eq!(printed["edits"][0]["op"]["add"]["scale"], -40.5);
    args.extend(["-o", path]);
    stdout(&args);
    let text = |edits: &[&str]| {
        let run = ["run", MODEL, "-p", "Once", "-n", "12", "--temperature", "0"];
        stdout(&[&run, edits].concat())
    };
    assert_ne!(text(&["--edits", path]), text(&[]));
}

#[test]
fn what_a_vector_lacks_is_refused_with_what_it_has() {
    check(
        "error-vector-site",
        &["vector", "edits", VECTOR, "--site", "mlp_out.1"],
    );
    let text = "tests/data/text/stories-en.txt";
    check(
        "error-vector-label",
        &[
            "vector",
            "difference",
            MODEL,
            "--positive",
            text,
            "--positive-label",
            "joy",
            "--negative",
            text,
            "-o",
            "/tmp/never.safetensors",
        ],
    );
    let one = [
        "vector",
        "caa",
        MODEL,
        "--questions",
        QUESTIONS,
        "--limit",
        "1",
        "-o",
        "/tmp/never.gguf",
    ];
    check("error-vector-one-question", &one);
    let no_source = run(&["vector", "pca", MODEL, "-o", "/tmp/never.safetensors"]);
    assert_eq!(no_source.status.code(), Some(2));
}

#[test]
fn sets_that_do_not_differ_have_no_direction_and_patterns_no_width() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("v.safetensors");
    let same = [
        "--positive",
        "tests/data/happy.txt",
        "--negative",
        "tests/data/happy.txt",
    ];
    for (more, part) in [
        (&["--unit"][..], "do not differ"),
        (&["--site", "attn_pattern.1"], "width depends on the text"),
    ] {
        let call = ["vector", "difference", "-o", output.to_str().unwrap()];
        let done = run(&[&call[..], &same, more].concat());
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && said.contains(part), "{said}");
        assert!(!output.exists());
    }
}

/// A file of `tests/golden/make_torch_vectors.py`.
fn of_torch(name: &str) -> String {
    format!("tests/golden/vectors/torch/{name}")
}

#[test]
fn a_direction_without_a_site_is_shown_and_becomes_edits_at_the_site_given() {
    for name in ["one.pt", "one.npy", "in_a_dict.pt", "compressed.npz"] {
        let file = of_torch(name);
        let shown = json(&["vector", "info", &file, "--site", "mlp_out.3", "--json"]);
        assert_eq!(shown["sites"][0]["site"], "mlp_out.3", "{name}");
        let edits = json(&[
            "vector",
            "edits",
            &file,
            "--site",
            "mlp_out.3",
            "--scale",
            "2",
        ]);
        let add = &edits["edits"][0]["op"]["add"];
        assert_eq!(add["direction"], serde_json::json!([3.0, 4.0, 5.0, 6.0]));
    }
    let one = ["vector", "info", VECTOR, "--site", "resid_post.2", "--json"];
    assert_eq!(json(&one)["sites"].as_array().unwrap().len(), 1);
    let rows = of_torch("rows.pt");
    let layers = ["vector", "edits", &rows, "--site", "resid_post.3"];
    let edits = json(&[&layers[..], &["--layers", "6"]].concat());
    assert_eq!(edits["edits"][0]["op"]["add"]["direction"][0], 3.0);
    let refused = |args: &[&str]| {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&layers).contains("--layers gives it"));
    let one = of_torch("one.pt");
    assert!(refused(&["vector", "info", &one]).contains("--site names it"));
    assert!(refused(&["vector", "edits", &one]).contains("--site names it"));
}

#[test]
fn a_vector_in_place_of_edits_is_named_with_the_command_that_writes_them() {
    for file in [of_torch("one.pt"), of_torch("one.npy"), VECTOR.to_owned()] {
        let output = run(&["run", MODEL, "-p", "a", "-n", "1", "--edits", &file]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("`saescope vector edits"), "{stderr}");
    }
}
