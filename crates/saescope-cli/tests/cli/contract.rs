//! What other programs rely on: names and shapes here do not change without a new major version.

use safetensors::SafeTensors;
use serde_json::Value;

use crate::{MODEL, json, stdout};

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn ids(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap())
        .collect()
}

#[test]
fn run_prints_one_object_for_one_prompt() {
    let one = json(&[
        "run",
        MODEL,
        "-p",
        "Once upon a",
        "-n",
        "5",
        "--temperature",
        "0",
        "--json",
    ]);
    assert_eq!(
        keys(&one),
        [
            "model",
            "dtype",
            "bos",
            "seed",
            "prompt",
            "text",
            "tokens",
            "prompt_tokens",
            "temperature",
            "stopped_by",
            "tokens_per_s"
        ]
    );
    assert_eq!(one["prompt"], "Once upon a");
    assert_eq!(ids(&one["tokens"]).len(), 5);
    assert_eq!(one["stopped_by"], "length");
    // The ids of the continuation only: those of prompt and continuation make the whole text.
    let whole = format!("Once upon a{}", one["text"].as_str().unwrap());
    let both = json(&["tokens", MODEL, "-p", &whole, "--json"]);
    let expected = [ids(&one["prompt_tokens"]), ids(&one["tokens"])].concat();
    assert_eq!(ids(&both["tokens"]), expected);
}

#[test]
fn run_prints_a_list_for_several_prompts() {
    let several = json(&["run", MODEL, "-p", "a", "-p", "b", "-n", "2", "--json"]);
    assert_eq!(several.as_array().unwrap().len(), 2);
    assert_eq!(several[1]["prompt"], "b");
}

#[test]
fn tokens_prints_ids_and_their_pieces() {
    let tokens = json(&["tokens", MODEL, "-p", "Once upon", "--json"]);
    assert_eq!(keys(&tokens), ["model", "text", "tokens", "pieces"]);
    let pieces = tokens["pieces"].as_array().unwrap();
    assert_eq!(pieces.len(), ids(&tokens["tokens"]).len());
    let bare = json(&[
        "tokens",
        MODEL,
        "-p",
        "Once upon",
        "--bos",
        "never",
        "--json",
    ]);
    assert_eq!(ids(&bare["tokens"]), ids(&tokens["tokens"])[1..]);
}

#[test]
fn capture_writes_one_tensor_per_site_with_tokens_and_logits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let file = path.to_str().unwrap();
    let text = "Once upon a time";
    stdout(&[
        "capture",
        MODEL,
        "-p",
        text,
        "--site",
        "resid_post.*",
        "--site",
        "embed",
        "--site",
        "attn_pattern.1",
        "--site",
        "attn_z.0",
        "--site",
        "mlp_act.4",
        "--logits",
        "-o",
        file,
    ]);
    let bytes = std::fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let tokens = read.tensor("tokens").unwrap();
    let n = tokens.shape()[0];
    assert_eq!(tokens.dtype(), safetensors::Dtype::I64);
    let shown = json(&["tokens", MODEL, "-p", text, "--json"]);
    let stored: Vec<u64> = tokens
        .data()
        .chunks(8)
        .map(|id| u64::from_le_bytes(id.try_into().unwrap()))
        .collect();
    assert_eq!(stored, ids(&shown["tokens"]));

    let expected = [
        ("embed", 64),
        ("resid_post.0", 64),
        ("resid_post.4", 64),
        ("attn_pattern.1", 8 * n),
        ("attn_z.0", 64),
        ("mlp_act.4", 172),
        ("logits", 512),
    ];
    for (name, width) in expected {
        let tensor = read.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [n, width], "{name}");
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
    }
    assert_eq!(read.names().len(), 1 + 5 + 5);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(
        (metadata["model"].as_str(), metadata["dtype"].as_str()),
        (MODEL, "f32")
    );
}

/// The last row of the lens is what the model says: its likeliest token is the greedy continuation.
#[test]
fn the_last_row_of_the_lens_is_the_model() {
    let text = "Once upon a time, there was a little";
    let lens = json(&["lens", MODEL, "-p", text, "--top", "3", "--json"]);
    let last = lens["rows"].as_array().unwrap().last().unwrap();
    assert_eq!(last["site"], "resid_post.4");
    let guesses = last["positions"].as_array().unwrap().last().unwrap();
    assert_eq!(guesses.as_array().unwrap().len(), 3);
    let run = json(&[
        "run",
        MODEL,
        "-p",
        text,
        "-n",
        "1",
        "--temperature",
        "0",
        "--json",
    ]);
    assert_eq!(guesses[0]["token"], run["tokens"][0]);
}

#[test]
fn info_names_every_site() {
    let info = json(&["info", MODEL, "--json"]);
    assert_eq!(info["family"], "llama");
    assert_eq!(info["sites"].as_array().unwrap().len(), 5 * 10 + 2);
    assert_eq!(info["shapes"]["d_vocab"], 512);
    let rope = serde_json::json!([
        {"base": 10_000.0, "d_rot": 8, "scaling": null, "factor": null, "n_layers": 5}
    ]);
    assert_eq!(info["rope"], rope);
}

#[test]
fn an_instruction_set_can_be_chosen_before_and_behind_the_command() {
    let bench = [
        "--isa", "portable", "bench", "lm", "--tiny", "--quick", "--dtype", "f32", "--json",
    ];
    assert_eq!(json(&bench)["instruction_set"], "portable");
    let text = |args: &[&str]| json(&[&["run", MODEL, "-p", "Once", "-n", "20"], args].concat());
    let args = ["--temperature", "0", "--json"];
    let fallback = text(&[&args[..], &["--isa", "portable"]].concat());
    assert_eq!(fallback["text"], text(&args)["text"]);
}

#[test]
fn bench_train_prints_rows_with_their_names() {
    let bench = json(&["bench", "train", "--tiny", "--quick", "--json"]);
    let rows = bench["rows"].as_array().unwrap();
    let named = |row: &Value| {
        let part = |key: &str| row[key].as_str().unwrap().to_owned();
        (part("name"), part("dtype"))
    };
    let compared: Vec<(String, String)> = rows[..3].iter().map(named).collect();
    let expected = [
        ("topk_32_128_k32_b64", "f32"),
        ("relu_l1_32_32_b32", "f32"),
        ("relu_l1_32_32_b32", "bf16"),
    ];
    assert_eq!(
        compared,
        expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert!(rows.len() > 3, "how it scales");
    for row in rows {
        assert!(row["tokens_per_s"].as_f64().unwrap() > 0.0);
        assert!(row["gflops"].as_f64().unwrap() > 0.0);
    }
    let alone = [
        "bench",
        "train",
        "--tiny",
        "--quick",
        "--no-scaling",
        "--json",
    ];
    assert_eq!(json(&alone)["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn bench_prints_rows_with_their_names() {
    let bench = json(&[
        "bench", "lm", "--tiny", "--quick", "--dtype", "bf16", "--json",
    ]);
    let rows = bench["rows"].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "forward_8x128",
            "forward_1x512",
            "stop6_8x128",
            "prompt_512_last",
            "generate_64"
        ]
    );
    for row in rows {
        assert_eq!(
            keys(row),
            [
                "name",
                "dtype",
                "tokens_per_s",
                "gflops",
                "peak_share",
                "peak_rss_mb"
            ]
        );
        assert!(row["tokens_per_s"].as_f64().unwrap() > 0.0);
    }
}
