use std::path::Path;

use serde_json::{Value, json};

use super::hf::parse;
use super::*;

fn read(config: &Value) -> Result<Parsed> {
    parse(Path::new("config.json"), config.to_string().as_bytes())
}

/// `base` with the keys of `edits` set.
fn with(base: &Value, edits: Value) -> Value {
    let mut config = base.clone();
    if let (Value::Object(config), Value::Object(edits)) = (&mut config, edits) {
        config.extend(edits);
    }
    config
}

/// openai-community/gpt2
fn gpt2() -> Value {
    json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-5, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768,
        "n_head": 12, "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1,
        "summary_activation": null, "summary_first_dropout": 0.1, "summary_proj_to_labels": true,
        "summary_type": "cls_index", "summary_use_proj": true,
        "task_specific_params": {"text-generation": {"do_sample": true, "max_length": 50}},
        "vocab_size": 50257
    })
}

/// EleutherAI/pythia-70m
fn pythia() -> Value {
    json!({
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
        "hidden_act": "gelu", "hidden_size": 512, "initializer_range": 0.02,
        "intermediate_size": 2048, "layer_norm_eps": 1e-5, "max_position_embeddings": 2048,
        "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false,
        "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
        "use_parallel_residual": true, "vocab_size": 50304
    })
}

/// meta-llama/Llama-3.2-1B
fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"
        },
        "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256
    })
}

/// mistralai/Mistral-7B-v0.1
fn mistral() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000
    })
}

/// Qwen/Qwen2.5-0.5B
fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896,
        "initializer_range": 0.02, "intermediate_size": 4864, "max_position_embeddings": 32768,
        "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
        "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true,
        "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936
    })
}

/// google/gemma-3-4b-pt, whose text model states only values that differ from the defaults.
fn gemma3_4b() -> Value {
    json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
        "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144,
        "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024
        },
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"}
    })
}

#[test]
fn published_configurations_are_read() {
    let distilled = json!({
        "_num_labels": 1, "n_layer": 6, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}
    });
    let smollm2 = json!({
        "is_llama_config": true, "rope_interleaved": false, "rope_scaling": null,
        "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}}
    });
    let llama2 = json!({"_name_or_path": "meta-llama/Llama-2-7b-hf", "rope_scaling": null});
    let qwen3 = json!({
        "model_type": "qwen3", "attention_bias": false, "head_dim": 128, "rope_scaling": null,
        "sliding_window": null
    });
    let configs = [
        gpt2(),
        with(&gpt2(), distilled),
        pythia(),
        llama(),
        with(&llama(), smollm2),
        with(&llama(), llama2),
        mistral(),
        with(
            &mistral(),
            json!({"sliding_window": null, "head_dim": null}),
        ),
        qwen2(),
        with(&qwen2(), qwen3),
        gemma3_4b(),
    ];
    for config in configs {
        read(&config).unwrap_or_else(|error| panic!("{error}\n{config:#}"));
    }
}

#[test]
fn absent_keys_have_the_defaults_of_the_family() {
    let Parsed { config, tensors } = read(&gemma3_4b()).unwrap();
    assert_eq!((config.d_vocab, config.n_ctx), (262_208, 131_072));
    assert_eq!(
        (config.n_heads, config.n_kv_heads, config.d_head),
        (8, 4, 256)
    );
    assert_eq!(
        (config.attn_scale, config.logit_softcap),
        (1.0 / 16.0, None)
    );
    assert_eq!(tensors.tied, Presence::Yes);
    let windows: Vec<_> = config.layers.iter().map(|layer| layer.window).collect();
    assert_eq!(windows[4..7], [Some(1024), None, Some(1024)]);
    // Linear scaling applies only to the layers without a window.
    assert_eq!(config.layers[0].rope_frequencies[0], 1.0);
    assert_eq!(config.layers[5].rope_frequencies[0], 0.125);

    let Parsed { config, tensors } = read(&gpt2()).unwrap();
    assert_eq!((config.d_mlp, tensors.tied), (3072, Presence::Yes));
    let Parsed { config, tensors } = read(&pythia()).unwrap();
    assert_eq!(config.positions, Positions::Rotary { d_rot: 16 });
    assert_eq!(
        (tensors.tied, tensors.qkv_bias),
        (Presence::No, Presence::Yes)
    );
    let mut mistral = mistral();
    mistral.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(read(&mistral).unwrap().config.layers[31].window, Some(4096));
}

#[test]
fn scores_are_divided_by_the_layer_where_the_configuration_says_so() {
    let scales = |edits: Value| -> [f32; 3] {
        let config = read(&with(&gpt2(), edits)).unwrap().config;
        [0, 1, 11].map(|layer| config.attn_scale_at(layer))
    };
    assert_eq!(scales(json!({})), [0.125; 3]);
    let by_layer =
        json!({"scale_attn_by_inverse_layer_idx": true, "reorder_and_upcast_attn": true});
    assert_eq!(scales(by_layer), [0.125, 0.0625, 0.125 / 12.0]);
    let bare = json!({"scale_attn_by_inverse_layer_idx": true, "scale_attn_weights": false});
    assert_eq!(scales(bare), [1.0, 0.5, 1.0 / 12.0]);
    assert_eq!(scales(json!({"scale_attn_weights": false})), [1.0; 3]);
}

#[test]
fn both_spellings_of_rotary_settings_mean_the_same() {
    let mut new = llama();
    let keys = new.as_object_mut().unwrap();
    let base = keys.shift_remove("rope_theta").unwrap();
    let scaling = keys.shift_remove("rope_scaling").unwrap();
    let new = with(
        &new,
        json!({"rope_parameters": with(&scaling, json!({"rope_theta": base}))}),
    );
    assert_eq!(read(&new).unwrap(), read(&llama()).unwrap());
}

#[test]
fn windows_follow_the_layers_in_the_configuration() {
    let windows = |config: &Value| -> Vec<bool> {
        let layers = read(config).unwrap().config.layers;
        layers.iter().map(|layer| layer.window.is_some()).collect()
    };
    let qwen = with(
        &qwen2(),
        json!({"use_sliding_window": true, "max_window_layers": 1, "num_hidden_layers": 3}),
    );
    assert_eq!(windows(&qwen), [false, true, true]);
    let listed = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    assert_eq!(
        windows(&with(&qwen, json!({"layer_types": listed}))),
        [true, false, true]
    );
}

/// Reads `base` with each of the edits and expects a refusal that names what is refused.
fn assert_refused(base: &Value, cases: &[(Value, &str)]) {
    for (edits, name) in cases {
        match read(&with(base, edits.clone())) {
            Err(Error::Unsupported { reason, .. }) => {
                assert!(reason.contains(name), "{edits}: {reason}");
            }
            other => panic!("{edits}: {other:?}"),
        }
    }
}

#[test]
fn rotary_settings_that_are_not_understood_are_refused_by_name() {
    let scaled = |kind: &str| json!({"rope_scaling": {"rope_type": kind, "factor": 2.0}});
    let old = json!({"rope_scaling": {"type": "su", "factor": 2.0}});
    let more = json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 1}});
    let part = json!({"rope_parameters": {"partial_rotary_factor": 0.5}, "rope_scaling": null});
    let cases = [
        (scaled("yarn"), "yarn"),
        (scaled("dynamic"), "dynamic"),
        (scaled("longrope"), "longrope"),
        (old, "rope_scaling.rope_type"),
        (more, "rope_scaling.beta_fast"),
        (part, "partial_rotary_factor"),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (json!({"rope_interleaved": true}), "rope_interleaved"),
    ];
    assert_refused(&llama(), &cases);
    let flat = json!({"text_config": {"rope_parameters": {"rope_theta": 1.0}}});
    assert_refused(
        &gemma3_4b(),
        &[(flat, "text_config.rope_parameters.rope_theta")],
    );
}

#[test]
fn attention_that_is_not_implemented_is_refused_by_name() {
    let cases = [(json!({"add_cross_attention": true}), "add_cross_attention")];
    assert_refused(&gpt2(), &cases);
    let cases = [
        (
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "scale_attn_by_inverse_layer_idx",
        ),
        (json!({"use_qk_norm": true}), "use_qk_norm"),
        (
            json!({"attn_logit_softcapping": 50.0}),
            "attn_logit_softcapping",
        ),
        (json!({"is_causal": false}), "is_causal"),
        (
            json!({"layer_types": vec!["sliding_attention"; 16]}),
            "layer_types",
        ),
    ];
    assert_refused(&llama(), &cases);
    let full = json!({"layer_types": vec!["full_attention"; 32]});
    assert_refused(&mistral(), &[(full, "layer_types")]);
    let chunks = json!({"dual_chunk_attention_config": {"chunk_size": 1}});
    assert_refused(&qwen2(), &[(chunks, "dual_chunk_attention_config")]);
    let both_ways = json!({"text_config": {"use_bidirectional_attention": true}});
    let chunked = json!({"text_config": {"layer_types": vec!["chunked_attention"; 26]}});
    let cases = [
        (both_ways, "text_config.use_bidirectional_attention"),
        (chunked, "text_config.layer_types"),
    ];
    assert_refused(&gemma3_4b(), &cases);
}

#[test]
fn other_families_and_unknown_keys_are_refused_by_name() {
    let cases = [
        (json!({"model_type": "mamba"}), "mamba"),
        (
            json!({"activation_function": "tanh"}),
            "activation_function",
        ),
    ];
    assert_refused(&gpt2(), &cases);
    assert_refused(&pythia(), &[(json!({"hidden_act": "relu2"}), "hidden_act")]);
    let cases = [
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
        (json!({"num_experts": 8}), "num_experts"),
        (json!({"frobnicate": 1}), "frobnicate"),
    ];
    assert_refused(&llama(), &cases);
    assert_refused(&mistral(), &[(json!({"mlp_bias": true}), "mlp_bias")]);
    let cases = [
        (json!({"frobnicate": 1}), "frobnicate"),
        (
            json!({"text_config": {"frobnicate": 1}}),
            "text_config.frobnicate",
        ),
        (
            json!({"text_config": {"model_type": "gemma3n_text"}}),
            "gemma3n_text",
        ),
    ];
    assert_refused(&gemma3_4b(), &cases);
}

#[test]
fn unknown_keys_with_empty_values_are_ignored() {
    for unused in [
        json!(null),
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
    ] {
        read(&with(&llama(), json!({"frobnicate": unused}))).unwrap();
    }
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_allocated() {
    let huge = 1_u64 << 60;
    let cases = [
        json!({"num_hidden_layers": huge}),
        json!({"num_hidden_layers": 0}),
        json!({"num_hidden_layers": -1}),
        json!({"hidden_size": huge}),
        json!({"vocab_size": "many"}),
        json!({"num_attention_heads": 0, "head_dim": null}),
        json!({"num_key_value_heads": 0}),
        json!({"num_key_value_heads": 7}),
        json!({"head_dim": 63}),
        json!({"head_dim": huge}),
        json!({"rms_norm_eps": 0.0}),
        json!({"rope_theta": -1.0}),
        json!({"layer_types": ["full_attention"]}),
        json!({"model_type": null}),
    ];
    for edits in cases {
        let refused = read(&with(&llama(), edits.clone()));
        assert!(
            matches!(refused, Err(Error::Format { .. })),
            "{edits}: {refused:?}"
        );
    }
    for text in ["", "[]", "{", "{\"model_type\": 3}"] {
        let refused = parse(Path::new("config.json"), text.as_bytes());
        assert!(
            matches!(refused, Err(Error::Format { .. })),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn what_lies_in_place_of_a_configuration_is_named() {
    for (text, part) in [
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("<!doctype html>", "HTML"),
        ("Entry not found", "the answer of a server"),
        ("", "an empty file"),
    ] {
        let error = parse(Path::new("config.json"), text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_configuration_prints_as_json() {
    let config = read(&pythia()).unwrap().config;
    let printed = serde_json::to_value(&config).unwrap();
    assert_eq!(printed["family"], "gpt_neox");
    assert_eq!(
        printed["mlp"],
        json!({"activation": "gelu", "gated": false})
    );
    assert_eq!(printed["positions"], json!({"rotary": {"d_rot": 16}}));
}
