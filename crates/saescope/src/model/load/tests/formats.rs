//! The same models as GGUF and llama2.c files, converted as llama.cpp and llama2.c convert them.

use super::*;

/// A GGUF file of f32 tensors. Numbers are stored as u32 or, with a fraction, as f32.
fn gguf(keys: &[(&str, Value)], tensors: &[Named]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        text(&mut out, key);
        match value {
            Value::String(s) => {
                out.extend(8u32.to_le_bytes());
                text(&mut out, s);
            }
            Value::Bool(b) => out.extend([7, 0, 0, 0, u8::from(*b)]),
            Value::Number(n) if n.is_u64() => {
                out.extend(4u32.to_le_bytes());
                out.extend((n.as_u64().unwrap() as u32).to_le_bytes());
            }
            Value::Array(all) => {
                out.extend([9u32, 7].iter().flat_map(|n| n.to_le_bytes()));
                out.extend((all.len() as u64).to_le_bytes());
                out.extend(all.iter().map(|b| u8::from(b.as_bool().unwrap())));
            }
            number => {
                out.extend(6u32.to_le_bytes());
                out.extend((number.as_f64().unwrap() as f32).to_le_bytes());
            }
        }
    }
    let (mut offset, mut data) = (0, Vec::new());
    for (name, shape, values) in tensors {
        text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|&d| (d as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
        offset = data.len();
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// llama.cpp's `permute`: `[heads, 2, d / 2, cols]` becomes `[heads, d / 2, 2, cols]`.
fn permute(values: &[f32], n_heads: usize, rows: usize) -> Vec<f32> {
    let (d, cols) = (rows / n_heads, values.len() / rows);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..n_heads {
        for pair in 0..d / 2 {
            for half in 0..2 {
                let row = head * d + half * (d / 2) + pair;
                out.extend(&values[row * cols..][..cols]);
            }
        }
    }
    out
}

fn transpose(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let (rows, cols) = (shape[0], shape[1]);
    let transposed = (0..rows * cols)
        .map(|i| values[i % rows * cols + i / rows])
        .collect();
    (vec![cols, rows], transposed)
}

/// llama.cpp's reordering of Bloom-style heads: `[heads, 3, d, cols]` becomes `[3, heads, d, cols]`.
fn ungroup(values: &[f32], n_heads: usize) -> Vec<f32> {
    let run = values.len() / n_heads / 3;
    let part = |part: usize| (0..n_heads).flat_map(move |h| &values[(h * 3 + part) * run..][..run]);
    (0..3).flat_map(part).copied().collect()
}

/// Hugging Face's names on the left, llama.cpp's on the right; first match wins.
const RENAMED: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("transformer.wte", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("transformer.ln_f", "output_norm"),
    ("transformer.h.", "blk."),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("ln_1", "attn_norm"),
    ("ln_2", "ffn_norm"),
    ("gpt_neox.embed_in", "token_embd"),
    ("gpt_neox.layers.", "blk."),
    ("gpt_neox.final_layer_norm", "output_norm"),
    ("attention.query_key_value", "attn_qkv"),
    ("attention.dense", "attn_output"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
    ("embed_out", "output"),
];

fn convert(case: &str, architecture: &str, config: &Config) -> Vec<Named> {
    let gemma = architecture.starts_with("gemma");
    let post_norm = if gemma {
        "post_attention_norm"
    } else {
        "ffn_norm"
    };
    let kept = |name: &str| !super::super::names::is_buffer(name);
    let tensors = tensors(&golden(case))
        .into_iter()
        .filter(|(name, ..)| kept(name));
    let converted = tensors.map(|(mut name, mut shape, mut values)| {
        name = name.replace("post_attention_layernorm", post_norm);
        for (theirs, ours) in RENAMED {
            name = name.replace(theirs, ours);
        }
        if gemma && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        if architecture == "llama" && name.contains("attn_q.") {
            values = permute(&values, config.n_heads, shape[0]);
        } else if architecture == "llama" && name.contains("attn_k.") {
            values = permute(&values, config.n_kv_heads, shape[0]);
        } else if architecture == "gptneox" && name.contains("attn_qkv") {
            values = ungroup(&values, config.n_heads);
        } else if architecture == "gpt2" && shape.len() == 2 && name.starts_with("blk") {
            (shape, values) = transpose(&shape, &values);
        }
        (name, shape, values)
    });
    converted.collect()
}

/// The keys that every architecture has, and those of its own.
fn metadata<'a>(config: &Config, own: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    let mut keys = vec![
        ("context_length", json!(config.n_ctx)),
        ("embedding_length", json!(config.d_model)),
        ("block_count", json!(config.n_layers())),
        ("feed_forward_length", json!(config.d_mlp)),
        ("attention.head_count", json!(config.n_heads)),
        ("attention.head_count_kv", json!(config.n_kv_heads)),
    ];
    keys.extend_from_slice(own);
    keys
}

/// Writes a golden case as GGUF and loads it; `extra` are tensors that only a GGUF has.
fn as_gguf(
    case: &str,
    architecture: &str,
    own: &[(&str, Value)],
    extra: Vec<Named>,
) -> (Config, Config) {
    let (expected_config, expected) = loaded(&golden(case));
    let keys = metadata(&expected_config, own);
    let named: Vec<(String, Value)> = keys
        .into_iter()
        .map(|(key, value)| (format!("{architecture}.{key}"), value))
        .chain([
            ("general.architecture".to_owned(), json!(architecture)),
            ("general.license".to_owned(), json!("mit")),
        ])
        .collect();
    let keys: Vec<(&str, Value)> = named.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let mut tensors = convert(case, architecture, &expected_config);
    tensors.extend(extra);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, gguf(&keys, &tensors)).unwrap();
    let (config, weights, source) = load(&file, Precision::F32).unwrap();
    assert_eq!(
        (source.format.as_str(), source.licence.as_deref()),
        ("gguf", Some("mit"))
    );
    assert_same_weights(&listed(&weights), &expected);
    (config, expected_config)
}

const RMS_EPS: &str = "attention.layer_norm_rms_epsilon";

#[test]
fn a_gguf_llama_has_its_rotary_pairs_separated() {
    let keys = [
        (RMS_EPS, json!(1e-3)),
        ("rope.freq_base", json!(1000.0)),
        ("attention.key_length", json!(12)),
        ("attention.value_length", json!(12)),
        ("rope.dimension_count", json!(12)),
        ("vocab_size", json!(64)),
    ];
    let (found, expected) = as_gguf("llama_head_dim", "llama", &keys, Vec::new());
    assert_eq!(found, expected);
    let keys = [(RMS_EPS, json!(1e-5)), ("rope.freq_base", json!(100000.0))];
    let (found, expected) = as_gguf("smollm2", "llama", &keys, Vec::new());
    assert_eq!(found, expected);
}

#[test]
fn the_rope_factors_of_a_gguf_are_the_scaling_of_llama3() {
    let plain = 1000f32;
    let (expected, _) = loaded(&golden("llama_gqa_llama3"));
    let scaled = &expected.layers[0].rope_frequencies;
    let n_pairs = scaled.len() as f32;
    let factors = scaled
        .iter()
        .enumerate()
        .map(|(i, scaled)| plain.powf(-(i as f32) / n_pairs) / scaled);
    let factors: Vec<f32> = factors.collect();
    assert!(factors.iter().any(|f| *f > 1.5), "{factors:?}");
    let keys = [
        (RMS_EPS, json!(1e-3)),
        ("rope.freq_base", json!(1000.0)),
        ("attention.key_length", json!(8)),
    ];
    let extra = vec![("rope_freqs.weight".to_owned(), vec![factors.len()], factors)];
    let (found, expected) = as_gguf("llama_gqa_llama3", "llama", &keys, extra);
    let (found, expected) = (&found.layers[1], &expected.layers[1]);
    for (f, e) in found
        .rope_frequencies
        .iter()
        .zip(&expected.rope_frequencies)
    {
        assert!((f - e).abs() <= 1e-6 * e, "{f} {e}");
    }
}

#[test]
fn the_other_architectures_of_gguf_load_as_their_originals() {
    let base = ("rope.freq_base", json!(1_000_000.0));
    let qwen2 = [(RMS_EPS, json!(1e-6)), base.clone()];
    let (found, expected) = as_gguf("qwen2", "qwen2", &qwen2, Vec::new());
    assert_eq!(found, expected);
    let width = ("attention.key_length", json!(8));
    let qwen3 = [(RMS_EPS, json!(1e-6)), base.clone(), width.clone()];
    let (found, expected) = as_gguf("qwen3", "qwen3", &qwen3, Vec::new());
    assert_eq!(found, expected);

    let eps = ("attention.layer_norm_epsilon", json!(1e-3));
    let (found, expected) = as_gguf("gpt2", "gpt2", std::slice::from_ref(&eps), Vec::new());
    assert_eq!(found, expected);
    let neox = [
        eps,
        ("rope.dimension_count", json!(4)),
        ("use_parallel_residual", json!(true)),
    ];
    let (found, expected) = as_gguf("gpt_neox", "gptneox", &neox, Vec::new());
    assert_eq!(found, expected);

    // A GGUF does not store the scale of scores, and that of these models is unusual on purpose.
    let window = ("attention.sliding_window", json!(8));
    let gemma3 = [(RMS_EPS, json!(1e-6)), base, width.clone(), window.clone()];
    let (found, expected) = as_gguf("gemma3", "gemma3", &gemma3, Vec::new());
    let attn_scale = 8f32.powf(-0.5);
    assert_eq!(
        found,
        Config {
            attn_scale,
            ..expected
        }
    );
    let gemma2 = [
        (RMS_EPS, json!(1e-6)),
        width,
        window,
        ("attn_logit_softcapping", json!(2.0)),
        ("final_logit_softcapping", json!(5.0)),
    ];
    let (found, expected) = as_gguf("gemma2", "gemma2", &gemma2, Vec::new());
    assert_eq!(
        found,
        Config {
            attn_scale,
            ..expected
        }
    );
}

/// The error of loading a model that has one tensor and the usual keys, of which one is edited.
fn refused(edit: (&str, Value)) -> String {
    let base = json!("llama");
    let mut keys = vec![
        ("general.architecture", base),
        ("llama.context_length", json!(8)),
        ("llama.embedding_length", json!(4)),
        ("llama.block_count", json!(1)),
        ("llama.feed_forward_length", json!(4)),
        ("llama.attention.head_count", json!(1)),
        ("llama.attention.layer_norm_rms_epsilon", json!(1e-5)),
    ];
    keys.retain(|(key, _)| *key != edit.0);
    keys.push(edit);
    let tensor = ("token_embd.weight".to_owned(), vec![2, 4], vec![0.0; 8]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, gguf(&keys, &[tensor])).unwrap();
    load(&file, Precision::F32).err().unwrap().to_string()
}

#[test]
fn keys_of_ollama_mean_what_its_own_runtime_takes_them_for() {
    let pattern = "attention.sliding_window_pattern";
    let listed: Vec<bool> = (0..6).map(|layer| (layer + 1) % 6 != 0).collect();
    let width = ("attention.key_length", json!(8));
    let plain = [width, ("attention.sliding_window", json!(8))];
    // Also those without an epsilon, whose default is 1e-6.
    let (expected, _) = as_gguf("gemma3", "gemma3", &plain, Vec::new());
    let cap = ("final_logit_softcapping", json!(30.0));
    let local = ("rope.local.freq_base", json!(10_000.0));
    let cases = [
        vec![local.clone()],
        vec![(pattern, json!(listed))],
        vec![
            local.clone(),
            (pattern, json!(listed)),
            (RMS_EPS, json!(1e-6)),
        ],
        vec![
            local.clone(),
            ("rope.global.freq_base", json!(1_000_000.0)),
            cap,
        ],
        vec![local, ("rope.freq_base_swa", json!(10_000.0))],
        vec![
            ("mm.tokens_per_image", json!(256)),
            ("vision.block_count", json!(27)),
        ],
        vec![
            ("rope.scaling.attn_factor", json!(1.0)),
            ("attention.scale", json!(8f32.powf(-0.5))),
        ],
    ];
    for more in cases {
        let (found, _) = as_gguf(
            "gemma3",
            "gemma3",
            &[&plain[..], &more].concat(),
            Vec::new(),
        );
        assert_eq!(found, expected, "{more:?}");
    }
}

#[test]
fn unusual_keys_of_ollama_are_taken() {
    let pattern = "attention.sliding_window_pattern";
    let plain = [
        ("attention.key_length", json!(8)),
        ("attention.sliding_window", json!(8)),
    ];
    let cap = ("final_logit_softcapping", json!(30.0));
    let local = ("rope.local.freq_base", json!(10_000.0));
    let (expected, _) = as_gguf("gemma3", "gemma3", &plain, Vec::new());
    let other = [
        local,
        (pattern, json!([true, false, true, false, true, false])),
        cap,
    ];
    let (found, _) = as_gguf(
        "gemma3",
        "gemma3",
        &[&plain[..], &other].concat(),
        Vec::new(),
    );
    let windows: Vec<bool> = found
        .layers
        .iter()
        .map(|layer| layer.window.is_some())
        .collect();
    assert_eq!(windows, [true, false, true, false, true, false]);
    assert_eq!(found.logit_softcap, Some(30.0));
    assert_eq!(found.layers[1].rope, expected.layers[5].rope);
    let base = [("rope.local.freq_base", json!(500.0))];
    let (found, _) = as_gguf(
        "gemma3",
        "gemma3",
        &[&plain[..], &base].concat(),
        Vec::new(),
    );
    assert_eq!(found.layers[0].rope.as_ref().unwrap().base, 500.0);

    let qwen2 = [
        (RMS_EPS, json!(1e-6)),
        ("rope.freq_base", json!(1_000_000.0)),
    ];
    let more = [
        ("rope.dimension_count", json!(4)),
        ("pooling_type", json!(3)),
        ("attention.layer_norm_epsilon", json!(1e-5)),
    ];
    let (found, expected) = as_gguf("qwen2", "qwen2", &[&qwen2[..], &more].concat(), Vec::new());
    assert_eq!(found, expected);
}

#[test]
fn a_factor_of_a_gguf_without_a_kind_scales_linearly() {
    let (expected, _) = loaded(&golden("llama_linear"));
    let keys = [(RMS_EPS, json!(1e-3)), ("rope.freq_base", json!(1000.0))];
    for factor in ["rope.scaling.factor", "rope.scale_linear"] {
        let keys = [&keys[..], &[(factor, json!(4.0))]].concat();
        let (found, _) = as_gguf("llama_linear", "llama", &keys, Vec::new());
        assert_eq!(found, expected);
    }
}

#[test]
fn unsupported_settings_of_a_gguf_are_refused_by_name() {
    for (key, value) in [
        ("general.architecture", json!("mamba")),
        ("llama.rope.scaling.type", json!("yarn")),
        ("llama.attention.value_length", json!(8)),
        ("llama.rope.dimension_count", json!(2)),
        ("llama.expert_count", json!(8)),
        ("llama.attention.causal", json!(false)),
        ("llama.frobnicate", json!(1)),
        ("llama.attention.head_dim", json!(2)),
        ("llama.attention.scale", json!(0.1)),
        ("llama.logit_scale", json!(0.5)),
        ("llama.rope.freq_scale", json!(0.25)),
        ("llama.rope.scaling.attn_factor", json!(2.0)),
    ] {
        let message = refused((key, value.clone()));
        assert!(message.contains(key), "{key}: {message}");
    }
}

/// A llama2.c file of a golden case.
fn llama2c(case: &str, config: &Config, tied: bool) -> Vec<u8> {
    let vocab = config.d_vocab as i32;
    let header = [
        config.d_model as i32,
        config.d_mlp as i32,
        config.n_layers() as i32,
        config.n_heads as i32,
        config.n_kv_heads as i32,
        if tied { vocab } else { -vocab },
        config.n_ctx as i32,
    ];
    let mut out: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    let stored = convert(case, "llama", config);
    let mut append = |name: &str| {
        let (_, _, values) = stored.iter().find(|tensor| tensor.0 == name).unwrap();
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    append("token_embd.weight");
    for part in [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_down",
        "ffn_up",
    ] {
        for layer in 0..config.n_layers() {
            append(&format!("blk.{layer}.{part}.weight"));
        }
    }
    append("output_norm.weight");
    let tables = config.n_ctx * config.d_head * 4;
    if tied {
        out.resize(out.len() + tables, 0);
    } else {
        let head = stored
            .iter()
            .find(|tensor| tensor.0 == "output.weight")
            .unwrap();
        out.resize(out.len() + tables, 0);
        out.extend(head.2.iter().flat_map(|value| value.to_le_bytes()));
    }
    out
}

#[test]
fn a_llama2c_file_loads_as_its_original() {
    for (case, tied) in [("llama", false), ("smollm2", true)] {
        let (original, expected) = loaded(&golden(case));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.bin");
        std::fs::write(&file, llama2c(case, &original, tied)).unwrap();
        let (config, weights, source) = load(&file, Precision::F32).unwrap();
        assert_eq!((source.format.as_str(), source.tied), ("llama2c", tied));
        assert_eq!(config.attn_scale, original.attn_scale);
        assert_same_weights(&listed(&weights), &expected);
    }
}

#[test]
fn settings_of_a_gguf_that_contradict_each_other_are_refused_with_both() {
    let both = |case: &str, keys: &[(&str, Value)]| -> String {
        let (config, _) = loaded(&golden(case));
        let named: Vec<(String, Value)> = metadata(&config, keys)
            .into_iter()
            .map(|(key, value)| (format!("gemma3.{key}"), value))
            .collect();
        let mut keys: Vec<(&str, Value)> =
            named.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        keys.push(("general.architecture", json!("gemma3")));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        std::fs::write(&file, gguf(&keys, &convert(case, "gemma3", &config))).unwrap();
        load(&file, Precision::F32).err().unwrap().to_string()
    };
    let plain = [
        ("attention.key_length", json!(8)),
        ("attention.sliding_window", json!(8)),
    ];
    let bases = [
        ("rope.local.freq_base", json!(1.0)),
        ("rope.freq_base_swa", json!(2.0)),
    ];
    let message = both("gemma3", &[&plain[..], &bases].concat());
    assert!(
        message.contains("rope.local.freq_base") && message.contains("rope.freq_base_swa"),
        "{message}"
    );
    let short = [("attention.sliding_window_pattern", json!([true, false]))];
    let message = both("gemma3", &[&plain[..], &short].concat());
    assert!(
        message.contains("lists 2 layers, but the model has 6"),
        "{message}"
    );
}

#[test]
fn files_of_gguf_that_are_no_model_are_named() {
    for (key, value, part) in [
        ("general.type", "adapter", "llama-export-lora"),
        ("general.type", "mmproj", "image encoder"),
        ("general.type", "imatrix", "importance matrix"),
        ("general.architecture", "clip", "image encoder"),
        ("general.architecture", "controlvector", "steering vector"),
    ] {
        let message = refused((key, json!(value)));
        assert!(message.contains(part), "{message}");
    }
}
