//! Steering as its users meet it.

use std::path::Path;

use serde_json::{Value, json as value};

use crate::{MODEL, check, json, run, stdout};

/// An autoencoder of the model in the repository.
const SAE: &str = "tests/data/sae";

/// `steer` with an autoencoder, twelve tokens, and the rest of the arguments.
fn steer<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["steer", SAE, "-n", "12", "--temperature", "0"], rest].concat()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

#[test]
fn one_setting_shows_both_texts_side_by_side() {
    check(
        "steer",
        &steer(&["-p", "Once upon", "-f", "61", "--scale", "4"]),
    );
}

#[test]
fn a_sweep_is_a_table_whose_row_of_scale_zero_is_the_plain_text() {
    let args = steer(&["-p", "Lily", "-f", "93", "-f", "75=0.5", "--sweep", "0,2,4"]);
    check("steer-sweep", &args);
    let found = json(&[&args[..], &["--json"]].concat());
    let zero = &found["steered"][0];
    assert_eq!(zero["text"], found["plain"]["text"]);
    assert_eq!(
        (&zero["kl"], &zero["unchanged"]),
        (&value!(0.0), &value!(true))
    );
    let four = &found["steered"][2];
    assert!(four["kl"].as_f64() > found["steered"][1]["kl"].as_f64());
    // The weight of a feature multiplies the scale.
    let scale = |edit: usize| four["edits"][edit]["op"]["add"]["scale"].as_f64().unwrap();
    assert_eq!((scale(0), scale(1)), (4.0, 2.0));
}

#[test]
fn combinations_are_every_subset_once() {
    let args = steer(&[
        "-p",
        "Lily",
        "-f",
        "93",
        "-f",
        "75",
        "-f",
        "61",
        "--combinations",
    ]);
    let args = [&args[..], &["--scale", "2", "--unit", "activation"]].concat();
    check("steer-combinations", &args);
    let found = json(&[&args[..], &["--json"]].concat());
    let rows = found["steered"].as_array().unwrap();
    let features: Vec<Vec<u64>> = rows
        .iter()
        .map(|row| serde_json::from_value(row["features"].clone()).unwrap())
        .collect();
    let expected: [&[u64]; 7] = [
        &[93],
        &[75],
        &[61],
        &[93, 75],
        &[93, 61],
        &[75, 61],
        &[93, 75, 61],
    ];
    assert_eq!(features, expected);
    // A subset is what it would be alone.
    let alone = steer(&[
        "-p",
        "Lily",
        "-f",
        "75",
        "--scale",
        "2",
        "--unit",
        "activation",
    ]);
    let alone = json(&[&alone[..], &["--json"]].concat());
    assert_eq!(alone["steered"][0]["text"], rows[1]["text"]);
    assert_eq!(alone["steered"][0]["edits"], rows[1]["edits"]);
}

#[test]
fn a_slot_with_the_real_activation_stands_beside_one_with_one() {
    let args = steer(&[
        "-p",
        "Lily",
        "-f",
        "42",
        "--scale",
        "1",
        "--unit",
        "activation",
    ]);
    let slot = [
        "--slot",
        "actual",
        "--reference-prompt",
        "The dog was scary",
    ];
    let args = [&args[..], &slot].concat();
    check("steer-slot", &args);
    let found = json(&[&args[..], &["--json"]].concat());
    let activation = found["plain"]["activations"][0]["activation"]
        .as_f64()
        .unwrap();
    let scale = |row: usize| found["steered"][row]["edits"][0]["op"]["add"]["scale"].as_f64();
    assert_eq!(scale(0), Some(1.0));
    assert!((scale(1).unwrap() - activation).abs() < 1e-6);
    assert!(activation > 1.0, "{activation}");
}

#[test]
fn multiples_of_the_largest_activation_are_of_the_reference_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "texts.txt");
    std::fs::write(&file, "The dog was scary\n\nThe dog was big\n").unwrap();
    let args = steer(&[
        "-p", "Lily", "-f", "42", "--scale", "0.5", "--unit", "max", "--json",
    ]);
    for reference in [&["--reference", file.as_str()][..], &[]] {
        let found = json(&[&args[..], reference].concat());
        let largest = found["plain"]["activations"][0]["activation"]
            .as_f64()
            .unwrap();
        let scale = found["steered"][0]["edits"][0]["op"]["add"]["scale"].as_f64();
        assert!((scale.unwrap() - 0.5 * largest).abs() < 1e-6);
    }
}

#[test]
fn json_has_the_plain_text_and_one_entry_per_setting_and_seed() {
    let args = [
        "steer", SAE, "-p", "Lily", "-f", "93", "--scale", "2", "-n", "8", "--json",
    ];
    let found = json(&[&args[..], &["--samples", "2", "--seed", "3"]].concat());
    assert_eq!(keys(&found), ["plain", "steered"]);
    let plain = &found["plain"];
    for key in [
        "text",
        "tokens",
        "model",
        "sae",
        "dtype",
        "bos",
        "prompt",
        "temperature",
    ] {
        assert!(!plain[key].is_null(), "{key}");
    }
    assert_eq!(
        (&plain["seed"], plain["samples"].as_array().unwrap().len()),
        (&value!(3), 2)
    );
    let steered = found["steered"].as_array().unwrap();
    assert_eq!(steered.len(), 2);
    for (entry, seed) in steered.iter().zip([3, 4]) {
        assert_eq!(keys(entry)[..2], ["edits", "text"]);
        assert_eq!(entry["seed"], seed);
        let per_token = entry["kl_per_token"].as_array().unwrap();
        let mean = per_token.iter().map(|kl| kl.as_f64().unwrap()).sum::<f64>() / 8.0;
        assert_eq!(per_token.len(), 8);
        assert!((mean - entry["kl"].as_f64().unwrap()).abs() < 1e-9);
        assert!(entry["shift"]["resid_post.2"].as_f64().unwrap() > 0.0);
    }
    // The plain text is that of `run` with the same seed.
    let same = [
        "run", MODEL, "-p", "Lily", "-n", "8", "--seed", "3", "--json",
    ];
    assert_eq!(json(&same)["text"], plain["text"]);
}

#[test]
fn saved_edits_do_the_same_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "edits.json");
    for (name, how) in [
        ("add", &["--unit", "norm", "--scale", "0.5"][..]),
        ("clamp", &["--clamp", "--scale", "3", "--span", "1.."]),
        ("ablate", &["--ablate", "--span", "prompt"]),
    ] {
        let prompt = ["-p", "The dog was scary", "-f", "42"];
        let args = [&steer(&prompt)[..], how].concat();
        let saved = [&args[..], &["--json", "--save", &file]].concat();
        let steered = json(&saved)["steered"][0].clone();
        let edits = ["-p", "The dog was scary", "--edits", &file];
        let greedy = ["-n", "12", "--temperature", "0", "--json"];
        let run = json(&[&["run", MODEL][..], &edits, &greedy].concat());
        assert_eq!(run["text"], steered["text"], "{name}");
        // The document names model and autoencoder.
        let again = json(&[&["steer"][..], &edits, &greedy].concat());
        assert_eq!(again["steered"][0]["edits"], steered["edits"], "{name}");
        assert_eq!(again["steered"][0]["kl"], steered["kl"], "{name}");
        // A change at layer 2 shows from there on.
        let lens = |edits: &[&str]| json(&[&["lens", MODEL, "--json"], edits].concat());
        let (plain, edited) = (lens(&edits[..2]), lens(&edits));
        assert_eq!(plain["rows"][1], edited["rows"][1], "{name}");
        assert_ne!(plain["rows"][2], edited["rows"][2], "{name}");
        let tensors = path(folder.path(), "a.safetensors");
        let capture = ["capture", MODEL, "--site", "resid_post.2", "-o", &tensors];
        stdout(&[&capture[..], &edits[..2]].concat());
        let plain = std::fs::read(&tensors).unwrap();
        stdout(&[&capture[..], &edits].concat());
        assert_ne!(plain, std::fs::read(&tensors).unwrap(), "{name}");
    }
}

const SETS: [&str; 4] = [
    "--positive",
    "tests/data/happy.txt",
    "--negative",
    "tests/data/sad.txt",
];

/// A file of edits in `folder`, and what it holds as JSON prints it.
fn saved_edits(folder: &Path) -> (String, Value) {
    let file = path(folder, "edits.json");
    let turned = ["-p", "Lily", "-f", "42", "--unit", "norm", "--scale", "2"];
    stdout(&[&steer(&turned)[..], &["--save", &file]].concat());
    let steered = json(&["steer", "--edits", &file, "-p", "Lily", "-n", "1", "--json"]);
    (file, steered["steered"][0]["edits"].clone())
}

#[test]
fn every_command_through_which_texts_go_reads_edits_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (edits, saved) = saved_edits(folder.path());
    let vector = path(folder.path(), "v.safetensors");
    let difference = ["vector", "difference", MODEL, "-o", &vector];
    stdout(&[&difference[..], &SETS].concat());
    let eval = [
        "eval",
        SAE,
        "--corpus",
        "tests/data/text/stories-en.txt",
        "--document",
        "line",
        "--tokens",
        "256",
        "--model",
        MODEL,
    ];
    let trial = [
        "--questions",
        "tests/data/caa/refusal.json",
        "--limit",
        "4",
        "--multipliers=1",
    ];
    for call in [
        &[&["contrast", SAE][..], &SETS].concat()[..],
        &["feature", SAE, "1", "-p", "Lily was"],
        &["lens", MODEL, "-p", "Lily was"],
        &["run", MODEL, "-p", "Lily was", "-n", "8"],
        &eval,
        &[&["vector", "evaluate", MODEL, &vector][..], &trial].concat(),
    ] {
        let plain = json(&[call, &["--json"]].concat());
        let edited = json(&[call, &["--json", "--edits", &edits]].concat());
        assert!(plain.get("edits").is_none(), "{call:?}");
        assert_eq!(edited["edits"], saved, "{call:?}");
        let mut rest = edited.clone();
        rest.as_object_mut().unwrap().remove("edits");
        assert_ne!(rest, plain, "{call:?}");
    }
    let result = json(&[&eval[..], &["--json-core", "--edits", &edits]].concat());
    let named = &result["eval_result_unstructured"]["edits"];
    assert_eq!(named[0]["label"], "feature 42");
    // The list of `features` is what other programs know, and holds nothing else.
    let features = ["features", SAE, "-p", "Lily was", "--json"];
    let edited = json(&[&features[..], &["--edits", &edits]].concat());
    assert_ne!(json(&features), edited);
}

#[test]
fn what_is_made_under_edits_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let (edits, saved) = saved_edits(folder.path());
    let vector = path(folder.path(), "v.safetensors");
    let difference = ["vector", "difference", MODEL, "-o", &vector];
    let under = ["--edits", &edits, "--json"];
    let report = json(&[&difference[..], &SETS, &under].concat());
    assert_eq!(report["record"]["edits"], saved);
    let info = json(&["vector", "info", &vector, "--json"]);
    assert_eq!(info["record"]["edits"], saved);
    assert!(stdout(&["vector", "info", &vector]).contains("1 while texts were read"));
    let tensors = path(folder.path(), "a.safetensors");
    let capture = [
        "capture",
        MODEL,
        "-p",
        "a",
        "--site",
        "resid_post.2",
        "-o",
        &tensors,
    ];
    stdout(&[&capture[..], &["--edits", &edits]].concat());
    let bytes = std::fs::read(&tensors).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let named = &header.metadata().as_ref().unwrap()["edits"];
    assert_eq!(serde_json::from_str::<Value>(named).unwrap(), saved);
}

#[test]
fn edits_that_do_not_fit_are_told_by_file_and_number_and_others_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "edits.json");
    let write = |model: &str, site: &str, op: &Value| {
        let edit = value!({ "site": site, "op": op });
        let document = value!({ "model": model, "edits": [edit] });
        std::fs::write(&file, document.to_string()).unwrap();
    };
    let features = [
        "features", SAE, "-p", "Lily was", "--top", "1", "--edits", &file,
    ];
    let add = |width: usize| value!({ "add": { "direction": vec![1.0; width], "scale": 2.0 } });
    let set = value!({ "set": { "sae": "/nowhere/sae", "feature": 1, "activation": 2.0 } });
    for (code, site, op, parts) in [
        (1, "resid_post.2", add(7), ["edit 1, at resid_post.2", "64"]),
        (
            2,
            "resid_post.77",
            add(64),
            ["edit 1, at resid_post.77", "edits.json"],
        ),
        (
            1,
            "resid_post.2",
            set,
            ["edit 1, at resid_post.2", "/nowhere/sae"],
        ),
    ] {
        write(MODEL, site, &op);
        let output = run(&features);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
    }
    for (model, site, part) in [
        ("org/other", "resid_post.1", "made for org/other"),
        (MODEL, "resid_post.4", "after resid_post.2"),
        (MODEL, "resid_post.2", ""),
    ] {
        write(model, site, &add(64));
        let output = run(&features);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.contains(part), "{stderr}");
        assert_eq!(part.is_empty(), stderr.is_empty(), "{stderr}");
    }
}

#[test]
fn a_vector_needs_no_autoencoder() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "a.safetensors");
    // One token at one site is a matrix of one row; a vector is one row of it.
    let direction: Vec<u8> = (0..64_u8)
        .flat_map(|i| f32::from(i % 5).to_le_bytes())
        .collect();
    let write = |name: &str| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![64], &direction);
        safetensors::serialize_to_file([(name, view.unwrap())], None, Path::new(&file)).unwrap();
    };
    let args = [
        "steer", "--model", MODEL, "-p", "Lily", "--vector", &file, "--unit", "norm",
    ];
    let args = [&args[..], &["--scale", "0.6", "-n", "8", "--json"]].concat();
    write("resid_post.1");
    let named = json(&args)["steered"][0].clone();
    assert!((named["shift"]["resid_post.1"].as_f64().unwrap() - 0.6).abs() < 1e-5);
    write("vector");
    let placed = json(&[&args[..], &["--site", "resid_post.1"]].concat())["steered"][0].clone();
    assert_eq!(placed["edits"], named["edits"]);
    let stderr = String::from_utf8(run(&args).stderr).unwrap();
    assert!(stderr.contains("--site"), "{stderr}");
}

#[test]
fn what_changes_nothing_is_said() {
    // The feature is not active on this prompt.
    check(
        "steer-nothing",
        &steer(&["-p", "Lily", "-f", "42", "--ablate"]),
    );
}

#[test]
fn what_does_not_fit_is_refused_with_both_sides_named() {
    let other = "tests/golden/saes/openai_v5/resid_post_mlp_v5_32k/autoencoders/8.pt";
    let golden = ["steer", other, "-p", "a", "-f", "1", "--scale", "1"];
    let ended = |args: &[&str], code: i32| {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let message = |args: &[&str]| ended(args, 2);
    let family = message(&[&golden[..], &["--model", MODEL]].concat());
    for part in ["gpt2", MODEL, other] {
        assert!(family.contains(part), "{family}");
    }
    // The cache does not hold the model, which is no fault of the call.
    let missing = ended(&golden, 1);
    assert!(missing.contains("--model"), "{missing}");
    let width = message(&steer(&[
        "-p",
        "a",
        "-f",
        "1",
        "--scale",
        "1",
        "--site",
        "mlp_act.2",
    ]));
    for part in ["mlp_act.2", "172 wide", "64 wide", MODEL, SAE] {
        assert!(width.contains(part), "{width}");
    }
    let site = message(&steer(&[
        "-p",
        "a",
        "-f",
        "1",
        "--scale",
        "1",
        "--site",
        "resid_post.9",
    ]));
    assert!(
        site.contains("resid_post.9") && site.contains("layers 0 to 4"),
        "{site}"
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (name, args, code) in [
        ("no feature", "-p a --scale 1", 2),
        ("unknown feature", "-p a -f 512 --scale 1", 2),
        ("no scale", "-p a -f 1", 2),
        ("two scales", "-p a -f 1 --scale 1 --sweep 1", 2),
        ("slot", "-p a -f 1 --scale 1 --slot actual", 2),
        ("weight", "-p a -f 1=x --scale 1", 2),
        ("span", "-p a -f 1 --scale 1 --span 3-5", 2),
        ("clamp", "-p a -f 1 --scale 1 --clamp --unit raw", 2),
        ("save", "-p a -f 1 --sweep 1,2 --save x", 2),
        ("a feature twice", "-p a -f 1 -f 1=2 --scale 1", 2),
        ("a scale twice", "-p a -f 1 --sweep 1,2,1", 2),
        ("reference", "-p a -f 1 --scale 1 --reference x", 2),
        (
            "reference prompt",
            "-p a -f 1 --scale 1 --reference-prompt x",
            2,
        ),
        ("weight of nothing", "-p a -f 1=2 --ablate", 2),
    ] {
        let output = run(&steer(&args.split(' ').collect::<Vec<_>>()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
        assert!(stderr.starts_with("error: "), "{name}: {stderr}");
    }
}

#[test]
fn a_sweep_is_drawn_with_a_line_for_each_set() {
    let folder = tempfile::tempdir().unwrap();
    let svg = path(folder.path(), "sweep.svg");
    let call = "-p Lily -f 93 -f 75 --combinations --sweep 0,2 --brief --plot";
    let args: Vec<&str> = call.split(' ').chain([svg.as_str()]).collect();
    assert!(run(&steer(&args)).status.success());
    let svg = std::fs::read_to_string(svg).unwrap();
    for name in [
        ">93<",
        ">75<",
        ">93+75<",
        "perplexity",
        "repetition",
        "KL(steered || plain)",
    ] {
        assert!(svg.contains(name), "{name}: {svg}");
    }
    assert_eq!(svg.matches("<polyline").count(), 9, "{svg}");
}
