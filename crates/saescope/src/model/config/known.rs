//! Keys of published configurations: those that never change the maths, and those that may.

use serde_json::Value;

/// Keys about training, generation, tokens and bookkeeping, found in published configurations.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "_num_labels",
    // Repeats layer_types or sliding_window_pattern; transformers 4.53 writes it.
    "_sliding_window_pattern",
    "architectures",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    // Feed-forward in chunks gives the same sums.
    "chunk_size_feed_forward",
    "custom_pipelines",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "is_decoder",
    "initializer_factor",
    "initializer_range",
    // SmolLM2's training framework.
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "predict_special_tokens",
    "prefix",
    // Splits a product into slices that are summed again.
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    // Makes GPT-2 compute its scores in f32, as saescope always does.
    "reorder_and_upcast_attn",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "vocab_file",
];

/// GPT-2's classification heads; in a GGUF the image encoder, which text does not pass through.
const HARMLESS_PREFIXES: &[&str] = &["summary_", "vision.", "mm."];

const HARMLESS_SUFFIXES: &[&str] = &[
    "_dropout",
    "_dropout_prob",
    "_dropout_rate",
    "_pdrop",
    "_token_id",
    "_token_ids",
    "_token_index",
];

/// True if no value of `key` changes the maths.
pub(super) fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key)
        || HARMLESS_PREFIXES
            .iter()
            .any(|prefix| key.starts_with(prefix))
        || HARMLESS_SUFFIXES.iter().any(|suffix| key.ends_with(suffix))
        || key == "dropout"
}

/// A key that changes the maths unless its value is neutral.
pub(super) struct Rule {
    key: &'static str,
    pub(super) is_neutral: fn(&Value) -> bool,
    /// Ends the message "`key` is value, ...".
    pub(super) why: &'static str,
}

const fn rule(key: &'static str, why: &'static str) -> Rule {
    Rule {
        key,
        is_neutral: is_empty,
        why,
    }
}

const QUANTIZED: &str = "a quantisation that saescope cannot read; use the unquantised checkpoint or a \
     GGUF of it";
const EXPERTS: &str = "a mixture of experts, which saescope does not run";
const UNUSED_CAP: &str = "but this family's own implementation applies no soft cap";
const CROSS: &str = "which asks for an encoder; saescope runs decoders only";

const CAUSAL: Rule = Rule {
    key: "is_causal",
    is_neutral: |value| matches!(value, Value::Null | Value::Bool(true)),
    why: "which lets tokens attend to later ones; saescope is causal",
};

/// Factors of other architectures of GGUF, of which 1 changes nothing.
const FACTOR: Rule = Rule {
    key: "",
    is_neutral: |value| is_empty_or(value, 1.0),
    why: "a factor that saescope does not apply in this family",
};

/// Keys of features that other families have, or that saescope does not implement.
const RULES: &[Rule] = &[
    rule("add_cross_attention", CROSS),
    rule("cross_attention_hidden_size", CROSS),
    rule("is_encoder_decoder", CROSS),
    rule("quantization_config", QUANTIZED),
    rule("compression_config", QUANTIZED),
    rule("num_experts", EXPERTS),
    rule("num_local_experts", EXPERTS),
    rule("n_routed_experts", EXPERTS),
    rule("num_experts_per_tok", EXPERTS),
    rule("expert_count", EXPERTS),
    rule("expert_used_count", EXPERTS),
    rule("attn_logit_softcapping", UNUSED_CAP),
    rule("final_logit_softcapping", UNUSED_CAP),
    rule(
        "scale_attn_by_inverse_layer_idx",
        "but this family does not divide scores by the number of the layer",
    ),
    rule("use_bidirectional_attention", CAUSAL.why),
    rule(
        "rope_interleaved",
        "which rotates neighbouring entries as pairs; saescope pairs the halves of a head",
    ),
    rule(
        "use_qk_norm",
        "but this family does not norm queries and keys",
    ),
    rule(
        "qk_layernorm",
        "but this family does not norm queries and keys",
    ),
    rule("pruned_heads", "and pruned heads are not supported"),
    Rule {
        key: "partial_rotary_factor",
        is_neutral: |value| is_empty_or(value, 1.0),
        why: "but this family rotates whole heads",
    },
    Rule {
        key: "rope.scaling.attn_factor",
        ..FACTOR
    },
    Rule {
        key: "rope.freq_scale",
        ..FACTOR
    },
    Rule {
        key: "embedding_scale",
        ..FACTOR
    },
    Rule {
        key: "residual_scale",
        ..FACTOR
    },
    Rule {
        key: "logit_scale",
        ..FACTOR
    },
    CAUSAL,
    Rule {
        key: "attention.causal",
        ..CAUSAL
    },
    Rule {
        key: "position_embedding_type",
        is_neutral: |value| value.is_null() || value == "absolute" || value == "rope",
        why: "which saescope does not know",
    },
];

/// True for null, false, 0, "", [] and {}, with which a key says that its feature is not used.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn is_empty_or(value: &Value, neutral: f64) -> bool {
    is_empty(value) || value.as_f64() == Some(neutral)
}

pub(super) fn rule_of(key: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.key == key)
}
