//! Harvests and their stores as users meet them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::{command, json, run, stdout};

const HARVEST: [&str; 8] = [
    "harvest",
    "tests/data/sae",
    "--corpus",
    "tests/data/text/stories-en.txt",
    "--document",
    "line",
    "--tokens",
    "3k",
];

/// The stores that examples of the documentation name, made once.
fn stores() -> &'static Path {
    static STORES: OnceLock<PathBuf> = OnceLock::new();
    STORES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stores");
        // Those of an earlier run would hide what has changed.
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).unwrap();
        for (name, shard) in [("store", "1/1"), ("part-1", "1/2"), ("part-2", "2/2")] {
            let path = folder.join(format!("{name}.db"));
            let path = path.to_str().unwrap();
            stdout(&[&HARVEST[..], &["--shard", shard, "-o", path]].concat());
        }
        folder
    })
}

/// Puts the stores that a line names into a folder.
pub(crate) fn provide(line: &str, folder: &Path) {
    for name in ["store.db", "part-1.db", "part-2.db"] {
        let reads = !line.contains("saescope harvest");
        if reads && line.split_whitespace().any(|word| word == name) {
            std::fs::copy(stores().join(name), folder.join(name)).unwrap();
        }
    }
}

fn store() -> String {
    stores().join("store.db").to_str().unwrap().to_owned()
}

/// What a store shows of all its features, and of some words.
fn shown(path: &str) -> Vec<Value> {
    let mut shown = vec![json(&[
        "store", "features", path, "--top", "1000", "--json",
    ])];
    for feature in ["1", "93", "269"] {
        shown.push(json(&["store", "show", path, feature, "--json"]));
    }
    shown.push(json(&["search", path, "--words", "happy", "--json"]));
    shown
}

#[test]
fn a_feature_has_the_keys_that_other_programs_read() {
    let report = json(&["store", "show", &store(), "269", "--json"]);
    let keys = [
        "feature",
        "density",
        "count",
        "max",
        "mean",
        "histogram",
        "top",
        "promoted",
        "suppressed",
        "nearest",
        "classes",
    ];
    for key in keys {
        assert!(!report[key].is_null(), "{key}");
    }
    for key in ["text", "tokens", "activations", "source", "position"] {
        assert!(!report["top"][0][key].is_null(), "{key}");
    }
    let found = json(&["search", &store(), "--text", "Lily was sad", "--json"]);
    assert!(found[0]["feature"].is_u64() && found[0]["activation"].is_f64());
    let places = json(&["search", &store(), "--words", "happy", "--json"]);
    assert!(places[0]["text"].as_str().unwrap().contains("happy"));
}

#[test]
fn activations_on_a_text_are_those_of_features() {
    let text = "Lily was sad";
    let found = json(&["search", &store(), "--text", text, "--top", "5", "--json"]);
    let features = json(&[
        "features",
        "tests/data/sae",
        "-p",
        text,
        "--position",
        "max",
        "--top",
        "5",
        "--json",
    ]);
    let pairs = |list: &Value| -> Vec<(u64, f64)> {
        let list = list.as_array().unwrap().iter();
        list.map(|f| {
            (
                f["feature"].as_u64().unwrap(),
                f["activation"].as_f64().unwrap(),
            )
        })
        .collect()
    };
    let features = if features.is_array() {
        &features[0]["features"]
    } else {
        &features["features"]
    };
    assert_eq!(pairs(&found), pairs(features));
}

#[test]
fn a_killed_harvest_continues_to_the_same_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.db");
    let path = path.to_str().unwrap();
    let args = [&HARVEST[..], &["-o", path, "--checkpoint-seconds", "0"]].concat();
    let mut killed = 0;
    for round in 0..20_u64 {
        let mut child = command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments spread over start, pass and end.
        std::thread::sleep(Duration::from_millis(60 + (round * 137) % 700));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
    }
    assert!(killed >= 3, "{killed}");
    stdout(&args);
    // The same call again finds everything done.
    stdout(&args);
    assert_eq!(shown(path), shown(&store()));
}

#[test]
fn merged_parts_show_what_the_whole_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged.db");
    let path = path.to_str().unwrap();
    let parts =
        ["part-1.db", "part-2.db"].map(|name| stores().join(name).to_str().unwrap().to_owned());
    stdout(&["store", "merge", &parts[1], &parts[0], "-o", path]);
    assert_eq!(shown(path), shown(&store()));
}

#[test]
fn labels_and_lists_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.db");
    let path = path.to_str().unwrap();
    stdout(&["store", "copy", &store(), path]);
    stdout(&[
        "store",
        "label",
        path,
        "93",
        "a happy face",
        "--note",
        "smiles",
    ]);
    assert_eq!(
        json(&["store", "show", path, "93", "--json"])["label"]["label"],
        "a happy face"
    );
    let found = run(&["search", path, "--words", "smiles"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("labelled: 93  a happy face"));
    stdout(&["store", "list", path, "joy", "--add", "93", "12"]);
    assert_eq!(
        json(&["store", "list", path, "--json"])[0]["features"],
        serde_json::json!([93, 12])
    );
    stdout(&["store", "list", path, "joy", "--remove"]);
    assert_eq!(
        json(&["store", "list", path, "--json"]),
        serde_json::json!([])
    );
    stdout(&["store", "label", path, "93", "--remove"]);
    assert_eq!(
        json(&["store", "label", path, "--json"]),
        serde_json::json!([])
    );
}

#[test]
fn mistakes_are_named() {
    let store = store();
    let refused = |args: &[&str], code: i32, says: &str| {
        let output = run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    };
    refused(
        &["store", "show", &store, "99999"],
        2,
        "there is no feature 99999",
    );
    refused(
        &["store", "show", "tests/data/happy.txt", "1"],
        1,
        "no store",
    );
    refused(&["store", "show", "nosuch.db", "1"], 1, "nosuch.db");
    refused(&["search", &store], 2, "nothing to search for");
    refused(&["search", &store, "--class", "joy"], 2, "class");
    refused(
        &["search", &store, "--promotes", "xylophone"],
        2,
        "no token",
    );
    refused(
        &["store", "features", &store, "--filter", "size>3"],
        2,
        "density<0.01",
    );
    refused(&["harvest", "tests/data/sae", "-o", "x.db"], 2, "--corpus");
    let other = [&HARVEST[..6], &["--tokens", "1k", "-o", &store]].concat();
    refused(&other, 1, "another harvest");
    let shard = [&HARVEST[..], &["--shard", "3/2", "-o", "x.db"]].concat();
    refused(&shard, 2, "1/4");
}

#[test]
fn exports_hold_what_the_store_shows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let shown = json(&["store", "show", &store(), "269", "--top", "20", "--json"]);
    stdout(&[
        "store",
        "export",
        &store(),
        "269",
        "93",
        "--html",
        &at("a.html"),
    ]);
    let page = std::fs::read_to_string(at("a.html")).unwrap();
    assert!(page.contains("Feature 269") && page.contains("<mark") && !page.contains("<script"));
    let first =
        shown["top"][0]["tokens"][shown["top"][0]["peak"].as_u64().unwrap() as usize].as_str();
    assert!(page.contains(first.unwrap().trim()));

    stdout(&[
        "store",
        "export",
        &store(),
        "--sae-dashboard",
        &at("batches"),
    ]);
    let batch = std::fs::read_to_string(folder.path().join("batches/batch-0.json")).unwrap();
    let batch: Value = serde_json::from_str(&batch).unwrap();
    let features = batch["features"].as_array().unwrap();
    let own = features.iter().find(|f| f["feature_index"] == 269);
    if let Some(own) = own {
        assert_eq!(own["frac_nonzero"], shown["density"]);
        assert_eq!(own["activations"][0]["bin_contains"], -1.0);
        let (tokens, values) = (
            &own["activations"][0]["tokens"],
            &own["activations"][0]["values"],
        );
        assert_eq!(
            tokens.as_array().unwrap().len(),
            values.as_array().unwrap().len()
        );
    }
    assert_eq!(features.len(), 128);
    stdout(&[
        "store",
        "export",
        &store(),
        "269",
        "--neuronpedia",
        &at("np"),
    ]);
    assert!(
        folder
            .path()
            .join("np/activations/batch-0.jsonl.gz")
            .exists()
    );
    let refused = run(&["store", "export", &store(), "--html", &at("b.html")]);
    assert_eq!(refused.status.code(), Some(2));
}
