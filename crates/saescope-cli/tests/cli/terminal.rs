//! Nothing that a prompt, a model or a file says reaches a terminal as a command to it.

use std::path::Path;

use saescope::edit::{DirectionOp, Document, Edit, Unit};
use saescope::site::Site;
use saescope::vector::{Vector, VectorRecord};

use crate::{MODEL, run};

/// An escape sequence, a C1 control, a carriage return and an override of direction.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}1m\r\u{202e}b";

/// Runs a command, whatever its end, and checks that its text is harmless and shows the escape.
fn harmless(args: &[&str]) {
    let output = run(args);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for c in text.iter().flat_map(|text| text.chars()) {
        let is_control = c.is_control() && c != '\n' && c != '\t';
        let overrides = ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!is_control && !overrides, "{args:?}: {c:?} in {text:?}");
    }
    assert!(text.concat().contains("\\u{1b}"), "{args:?}: {text:?}");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// Length of the change, beside which the activation itself is nothing.
const LENGTH: f64 = 1e6;

/// Edits under which the model writes the token of the escape character alone.
fn writes_escapes(folder: &Path) -> String {
    // The file of llama2.c begins with seven numbers and the embedding, which is the unembedding too.
    let bytes = std::fs::read(Path::new("../..").join(MODEL).join("stories260K.bin")).unwrap();
    let (escape, tokens, width) = (3 + 0x1b, 512, 64);
    let numbers = bytes[28..][..tokens * width * 4].chunks_exact(4);
    let numbers: Vec<f64> = numbers
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into())
        .collect();
    let rows: Vec<&[f64]> = numbers.chunks_exact(width).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let along =
        |direction: &[f64]| -> Vec<f64> { rows.iter().map(|row| dot(row, direction)).collect() };
    // A perceptron finds a direction along which no other token reaches as far. The rows of rare tokens are
    // nearly the same, so that it takes thousands of steps; products of rows are made once.
    let mut direction = rows[escape].to_vec();
    let own = along(rows[escape]);
    let mut reach = own.clone();
    let mut of_rivals: Vec<Option<Vec<f64>>> = vec![None; tokens];
    loop {
        let others = (0..tokens).filter(|&token| token != escape);
        let rival = others.max_by(|&a, &b| reach[a].total_cmp(&reach[b]));
        let rival = rival.unwrap();
        // The least lead of the token's logit.
        if (reach[escape] - reach[rival]) * LENGTH > 50.0 * dot(&direction, &direction).sqrt() {
            break;
        }
        let products = of_rivals[rival].get_or_insert_with(|| along(rows[rival]));
        for (reach, (own, other)) in reach.iter_mut().zip(own.iter().zip(products.iter())) {
            *reach += own - other;
        }
        for (x, (own, other)) in direction
            .iter_mut()
            .zip(rows[escape].iter().zip(rows[rival]))
        {
            *x += own - other;
        }
    }
    let scale = LENGTH / dot(&direction, &direction).sqrt();
    let direction = direction.iter().map(|&x| x as f32).collect();
    let op = DirectionOp::Add {
        direction,
        scale: scale as f32,
        unit: Unit::Raw,
    };
    let mut edit = Edit::new(Site::FinalNorm, op);
    edit.label = Some(HOSTILE.to_owned());
    let document = Document {
        model: Some(HOSTILE.to_owned()),
        edits: vec![edit],
    };
    let file = folder.join("edits.json");
    document.save(&file).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn prompts_and_tokens_are_shown_without_commands() {
    for command in [
        &["tokens", MODEL][..],
        &["run", MODEL, "-n", "1"],
        &["run", MODEL, "-n", "1", "-p", "b"],
        &["lens", MODEL],
        &["features", "tests/data/sae"],
        &["features", "tests/data/sae", "--feature", "1"],
        &["feature", "tests/data/sae", "1"],
        &[
            "steer",
            "tests/data/sae",
            "-f",
            "1",
            "--scale",
            "1",
            "-n",
            "2",
        ],
    ] {
        harmless(&[command, &["-p", HOSTILE]].concat());
    }
}

#[test]
fn what_a_model_writes_is_shown_without_commands() {
    let folder = tempfile::tempdir().unwrap();
    let edits = writes_escapes(folder.path());
    let greedy = [
        "-n",
        "3",
        "--temperature",
        "0",
        "-p",
        "Lily",
        "--edits",
        &edits,
    ];
    harmless(&[&["run", MODEL][..], &greedy].concat());
    let shown = crate::stdout(&[&["run", MODEL][..], &greedy].concat());
    assert_eq!(shown, "Lily\\u{1b}\\u{1b}\\u{1b}\n");
    harmless(&[&["run", MODEL, "--samples", "2"][..], &greedy].concat());
    harmless(&[&["steer", "--model", MODEL][..], &greedy].concat());
    let turned = ["steer", "tests/data/sae", "-f", "1", "--sweep", "0,1"];
    harmless(&[&turned[..], &greedy].concat());
    // JSON escapes by itself.
    let json = crate::json(&[&["run", MODEL, "--json"][..], &greedy].concat());
    assert_eq!(json["text"], "\u{1b}\u{1b}\u{1b}");
    assert_eq!(json["edits"][0]["label"], HOSTILE);
}

#[test]
fn the_metadata_of_files_is_shown_without_commands() {
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    std::fs::create_dir(&sae).unwrap();
    let own = Path::new("../../tests/data/sae");
    std::fs::copy(
        own.join("sae_weights.safetensors"),
        sae.join("sae_weights.safetensors"),
    )
    .unwrap();
    let config = std::fs::read_to_string(own.join("cfg.json")).unwrap();
    let model = serde_json::to_string(HOSTILE).unwrap();
    let config = config.replacen("\"tests/data/stories260K\"", &model, 1);
    std::fs::write(sae.join("cfg.json"), config).unwrap();
    let sae = sae.to_str().unwrap();
    harmless(&["info", sae]);
    harmless(&["info", sae, "--model", MODEL]);
    harmless(&["convert", sae, &path(folder.path(), "converted")]);
    harmless(&["features", sae, "-p", "Lily"]);
    harmless(&["features", sae, "-p", "Lily", "--model", MODEL]);

    let vector = Vector {
        directions: [(Site::ResidPost(1), vec![1.0; 64])].into(),
        record: VectorRecord {
            model: Some(HOSTILE.to_owned()),
            dataset: vec![HOSTILE.to_owned()],
            ..VectorRecord::default()
        },
    };
    let file = folder.path().join("v.safetensors");
    vector.save(&file).unwrap();
    harmless(&["vector", "info", file.to_str().unwrap()]);
}

#[test]
fn errors_show_texts_of_files_without_commands() {
    let folder = tempfile::tempdir().unwrap();
    let key = serde_json::to_string(HOSTILE).unwrap();
    let edits = path(folder.path(), "e.json");
    std::fs::write(&edits, format!("{{\"edits\": [], {key}: 1}}")).unwrap();
    harmless(&["run", MODEL, "-p", "a", "--edits", &edits]);
    let texts = path(folder.path(), "t.jsonl");
    std::fs::write(&texts, format!("{{{key}: \"b\"}}\n")).unwrap();
    harmless(&["train", MODEL, "--site", "resid_post.1", "--corpus", &texts]);
    harmless(&["run", HOSTILE, "-p", "a"]);
}
