//! Autoencoders: which features a text has, what tells two sets apart, what one feature does.

use crate::{MODEL, check, command, json, run, stdout};

/// An autoencoder on the model that stands in the repository.
const SAE: &str = "tests/data/sae";
const SETS: [&str; 4] = [
    "--positive",
    "tests/data/happy.txt",
    "--negative",
    "tests/data/sad.txt",
];

#[test]
fn the_strongest_features_of_each_text_are_a_row() {
    let texts = ["-p", "Once upon a time", "-p", "Lily was sad"];
    let args = [&["features", SAE, "--top", "4"], &texts[..]].concat();
    check("features", &args);
    let all = ["features", SAE, "-p", "Tim saw a dog.", "--top", "2"];
    check("features-all", &[&all[..], &["--position", "all"]].concat());
}

#[test]
fn programs_get_a_list_of_prompts_positions_tokens_and_features() {
    let args = [
        "features",
        SAE,
        "-p",
        "Once upon a time",
        "--top",
        "10",
        "--json",
    ];
    let list = json(&args);
    let row = &list[0];
    let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["prompt", "position", "token", "features"]);
    assert_eq!(
        (&row["prompt"], &row["position"]),
        (&"Once upon a time".into(), &4.into())
    );
    assert_eq!(row["token"], " time");
    let features = row["features"].as_array().unwrap();
    // Of ten asked for, the eight that TopK lets through, at most.
    assert!((1..=8).contains(&features.len()));
    let activation = |f: &serde_json::Value| f["activation"].as_f64().unwrap();
    assert!(features.is_sorted_by(|a, b| activation(a) >= activation(b)));

    let all = json(&[&args[..], &["--position", "all"]].concat());
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(all[4], *row);
    assert_eq!(json(&[&args[..], &["--position", "4"]].concat()), list);
    let pooled = json(&[&args[..], &["--position", "max"]].concat());
    assert_eq!(
        (&pooled[0]["position"], &pooled[0]["token"]),
        (&"max".into(), &().into())
    );
}

#[test]
fn prompts_come_from_files_too_and_one_at_least_is_needed() {
    let happy = SETS[1];
    let rows = json(&["features", SAE, "--prompts", happy, "--top", "1", "--json"]);
    assert_eq!(rows.as_array().unwrap().len(), 12);
    check("error-no-text", &["features", SAE]);
}

#[test]
fn without_bos_its_features_are_not_pooled() {
    let top = |more: &[&str]| {
        let args = [
            "features",
            SAE,
            "-p",
            "a big dog",
            "--position",
            "max",
            "--top",
            "99",
            "--json",
        ];
        json(&[&args[..], more].concat())[0]["features"].clone()
    };
    let all = json(&[
        "features",
        SAE,
        "-p",
        "a big dog",
        "--position",
        "all",
        "--top",
        "99",
        "--json",
    ]);
    let features_at = |row: &serde_json::Value| {
        let features = row["features"].as_array().unwrap().iter();
        features
            .map(|f| f["feature"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let pooled = |list: serde_json::Value| {
        let mut ids = features_at(&serde_json::json!({ "features": list }));
        ids.sort_unstable();
        ids
    };
    let union = |rows: &[serde_json::Value]| {
        let mut ids: Vec<u64> = rows.iter().flat_map(features_at).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let rows = all.as_array().unwrap();
    assert_eq!(pooled(top(&[])), union(&rows[1..]));
    assert_eq!(pooled(top(&["--first"])), union(rows));
    assert_ne!(union(rows), union(&rows[1..]));
}

#[test]
fn a_text_by_one_feature_has_numbers_where_nobody_sees_colours() {
    let feature = json(&[
        "features",
        SAE,
        "-p",
        "Lily was sad",
        "--top",
        "1",
        "--json",
    ]);
    let feature = feature[0]["features"][0]["feature"].to_string();
    let args = [
        "features",
        SAE,
        "-p",
        "Lily was sad. She was sad.",
        "--feature",
        &feature,
    ];
    check("features-by-one", &args);
    let mut forced = command(&args);
    forced.env("CLICOLOR_FORCE", "1");
    let coloured = String::from_utf8(forced.output().unwrap().stdout).unwrap();
    assert!(
        coloured.contains("\u{1b}[") && !coloured.contains("sad["),
        "{coloured}"
    );
    let plain = String::from_utf8(forced.env("NO_COLOR", "1").output().unwrap().stdout).unwrap();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let list = json(&[&args[..], &["--json"]].concat());
    let tokens = list[0]["tokens"].as_array().unwrap();
    assert!(
        tokens
            .iter()
            .any(|token| token["activation"].as_f64() > Some(0.0))
    );
}

#[test]
fn characters_of_several_tokens_are_shown_joined_and_their_values_apart() {
    let rows = json(&[
        "features",
        SAE,
        "-p",
        "안",
        "--position",
        "all",
        "--top",
        "1",
        "--json",
    ]);
    let rows = rows.as_array().unwrap();
    let joined: Vec<_> = rows.iter().filter(|row| row["token"] == "안").collect();
    assert_eq!(joined.len(), 3);
    assert_ne!(joined[0]["features"], joined[1]["features"]);
}

#[test]
fn two_sets_are_told_apart() {
    check(
        "contrast",
        &[&["contrast", SAE, "--top", "5"], &SETS[..]].concat(),
    );
    let by = |by: &str| json(&[&["contrast", SAE, "--json", "--by", by], &SETS[..]].concat());
    let record = by("auroc");
    assert_eq!(record["model"], MODEL);
    assert_eq!(record["site"], "resid_post.2");
    assert_eq!(record["positive"]["texts"], 12);
    let told = |f: &serde_json::Value| (f["auroc"].as_f64().unwrap() - 0.5).abs();
    assert!(
        record["features"]
            .as_array()
            .unwrap()
            .is_sorted_by(|a, b| told(a) >= told(b))
    );
    let far = |f: &serde_json::Value| f["difference"].as_f64().unwrap().abs();
    let record = by("difference");
    assert!(
        record["features"]
            .as_array()
            .unwrap()
            .is_sorted_by(|a, b| far(a) >= far(b))
    );
}

#[test]
fn a_feature_is_told_by_its_weights_and_by_what_it_does() {
    check("feature", &["feature", SAE, "1", "--top", "3"]);
    let top = json(&["features", SAE, "-p", "Once upon a", "--top", "1", "--json"]);
    let feature = top[0]["features"][0]["feature"].to_string();
    let args = ["feature", SAE, &feature, "-p", "Once upon a", "--top", "2"];
    check("feature-on-a-text", &args);
    let record = json(&[&args[..], &["--inject", "0", "--json"]].concat());
    let changes = &record["prompts"][0]["changes"];
    // Injecting nothing is ablating.
    assert_eq!(changes[0]["kl"], changes[2]["kl"]);
    assert!(changes[0]["kl"].as_f64() > Some(0.0));
}

#[test]
fn a_feature_that_is_not_there_is_refused() {
    check("error-feature", &["feature", SAE, "512"]);
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_both_sides_named() {
    // GPT-2 as the tests have it, and its tokenizer.
    let folder = tempfile::tempdir().unwrap();
    for from in ["tests/golden/models/gpt2", "tests/data/tokenizers/gpt2"] {
        for file in std::fs::read_dir(crate::root().join(from)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    let gpt2 = folder.path().to_str().unwrap();
    let args = [
        "features",
        SAE,
        "-p",
        "a",
        "--site",
        "resid_post.0",
        "--model",
        gpt2,
    ];
    let output = run(&args);
    let refused = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    for named in [SAE, gpt2, "(gpt2)", "64 wide", MODEL] {
        assert!(refused.contains(named), "{refused}");
    }
    let deep = ["features", SAE, "-p", "a", "--site", "resid_post.9"];
    check("error-sae-site", &deep);
    let openai = "tests/golden/saes/openai_v5/resid_post_mlp_v5_32k/autoencoders/8.pt";
    check("error-sae-model", &["features", openai, "-p", "a"]);
    check(
        "error-sae-reference",
        &["features", "openai/v5_128k/resid_post_mlp/12", "-p", "a"],
    );
}

#[test]
fn another_bos_habit_and_a_longer_text_are_warned_of() {
    let args = [
        "features",
        SAE,
        "-p",
        "Once upon a time",
        "--top",
        "1",
        "--bos",
        "never",
    ];
    check("features-without-bos", &args);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("sae");
    let copy = copy.to_str().unwrap();
    stdout(&["convert", SAE, copy]);
    let config = folder.path().join("sae/cfg.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"context\": 512", "\"context\": 3")).unwrap();
    let output = run(&["features", copy, "-p", "Once upon a time", "--top", "1"]);
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(
        warned.contains("has 5 tokens") && warned.contains("texts of 3"),
        "{warned}"
    );
    assert!(output.status.success());
}

#[test]
fn a_converted_autoencoder_finds_the_same_features() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let copy = copy.to_str().unwrap();
    assert!(stdout(&["convert", SAE, copy]).contains("written to"));
    let top = |sae: &str| stdout(&["features", sae, "-p", "A cat sat.", "--position", "all"]);
    assert_eq!(top(copy), top(SAE));
    let again = run(&["convert", SAE, copy]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    stdout(&["convert", SAE, copy, "--force"]);
    let record = json(&[
        "convert",
        "tests/golden/saes/saelens_gated",
        copy,
        "--force",
        "--json",
    ]);
    assert_eq!(record["record"]["format"], "saelens");
}

#[test]
fn info_tells_an_autoencoder_and_whether_it_fits() {
    check("info-sae", &["info", SAE]);
    check(
        "info-sae-without-model",
        &["info", "tests/golden/saes/gemma_scope_2_res"],
    );
    let fvu = |more: &[&str]| {
        let record = json(&[&["info", SAE, "--json"], more].concat());
        let fit = &record["fit"];
        assert_eq!(fit["mismatch"], fit["fvu"].as_f64().unwrap() > 1.0);
        fit["fvu"].as_f64().unwrap()
    };
    let (fits, elsewhere) = (fvu(&[]), fvu(&["--site", "mlp_out.0"]));
    assert!(fits < 0.2 && elsewhere > 1.0, "{fits} {elsewhere}");
    check("info-sae-mismatch", &["info", SAE, "--site", "mlp_out.0"]);
    check(
        "error-info-model-of-a-model",
        &["info", MODEL, "--model", MODEL],
    );
}

#[test]
fn bench_sae_compares_rows_and_times_an_opening() {
    let file = "tests/golden/saes/openai_v5/resid_post_mlp_v5_32k/autoencoders/8.pt";
    let record = json(&[
        "bench", "sae", "--tiny", "--quick", "--open", file, "--json",
    ]);
    assert_eq!(record["rows_checked"], 16);
    for key in ["tokens_per_s", "gflops_equivalent", "peak_share"] {
        assert!(record[key].as_f64() > Some(0.0), "{key}");
    }
    assert!(record["opened"]["bytes"].as_u64() > Some(0));
}

#[test]
fn a_coloured_text_is_drawn_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coloured.svg");
    let svg = path.to_str().unwrap();
    let text = ["-p", "She was <very> happy", "--feature", "87"];
    let call = [&["features", "tests/data/sae"][..], &text, &["--plot", svg]].concat();
    let printed = stdout(&call);
    let svg = std::fs::read_to_string(&path).unwrap();
    let coloured = svg.matches("fill-opacity").count();
    // Without colours, a number follows each piece that would be coloured.
    assert!(
        coloured > 0 && coloured == printed.matches('[').count(),
        "{printed}{svg}"
    );
    assert!(
        svg.contains("fill-opacity=\"1.00\"") && svg.contains("&lt;"),
        "{svg}"
    );
}

#[test]
fn a_feature_warns_of_texts_that_are_cut_and_of_edits_after_its_site() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.txt");
    let long = "Lily and Tom were playing in the park. ".repeat(60);
    std::fs::write(&texts, format!("Lily was sad.\n{long}\n")).unwrap();
    let edits = folder.path().join("edits.json");
    let direction = vec![1.0; 64];
    let edit = serde_json::json!({
        "site": "resid_post.4",
        "op": { "add": { "direction": direction, "scale": 1.0 } },
    });
    std::fs::write(&edits, serde_json::json!({ "edits": [edit] }).to_string()).unwrap();
    let [texts, edits] = [&texts, &edits].map(|path| path.to_str().unwrap());
    let output = run(&[
        "feature",
        "tests/data/sae",
        "1",
        "--texts",
        texts,
        "--edits",
        edits,
    ]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    for part in [
        "texts are cut to 512 tokens (longer ones: 1)",
        "all edits come after resid_post.2",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    let missing = run(&["feature", "tests/data/sae", "1", "--texts", "no.txt"]);
    let stderr = String::from_utf8(missing.stderr).unwrap();
    assert!(stderr.contains("--texts: no.txt"), "{stderr}");
}
