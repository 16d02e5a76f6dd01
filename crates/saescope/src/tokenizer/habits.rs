//! Spaces that a tokenizer's class decides, whatever `tokenizer.json` says.
//!
//! In transformers 5 some classes take only vocabulary and merges from `tokenizer.json` and set the rest
//! themselves. The spaces before words are such a part: the class sets them from `tokenizer_config.json`.

use serde_json::{Value, json};

use super::config::CompanionFiles;

/// Classes that set a byte-level tokenizer's `add_prefix_space`, false by default.
const BYTE_LEVEL: [&str; 7] = [
    "GPT2Tokenizer",
    "GPTNeoXTokenizer",
    "Qwen2Tokenizer",
    "Qwen3_5Tokenizer",
    "CodeGenTokenizer",
    "CohereTokenizer",
    "RobertaTokenizer",
];

/// Sets the spaces in `tokenizer`, the contents of `tokenizer.json`, as its class sets them. True if the
/// class does so.
pub(super) fn set_spaces(tokenizer: &mut Value, beside: &CompanionFiles) -> bool {
    let Some(class) = class(beside) else {
        return false;
    };
    if BYTE_LEVEL.contains(&class) {
        let prefix = beside.add_prefix_space.unwrap_or(false);
        set_byte_level(&mut tokenizer["pre_tokenizer"], prefix);
        return true;
    }
    is_metaspace(tokenizer) && set_llama_spaces(tokenizer, beside)
}

/// Sets the spaces of a SentencePiece-like `tokenizer` if its class is Llama's. True if it is.
pub(super) fn set_llama_spaces(tokenizer: &mut Value, beside: &CompanionFiles) -> bool {
    let is_llama = class(beside) == Some("LlamaTokenizer");
    if is_llama {
        set_metaspace(tokenizer, beside);
    }
    is_llama
}

/// The class that transformers opens the files with; `None` for the general one, which takes
/// `tokenizer.json` as it is.
pub(super) fn class(beside: &CompanionFiles) -> Option<&str> {
    match (beside.model_type.as_deref(), beside.class.as_deref()) {
        // The class that Mistral's files name is not believed.
        (Some("mistral"), _) => None,
        // Nor is that of Qwen2's.
        (Some("qwen2"), _) | (Some("qwen3"), None) => Some("Qwen2Tokenizer"),
        (Some("gpt2"), None) => Some("GPT2Tokenizer"),
        (Some("gpt_neox"), None) => Some("GPTNeoXTokenizer"),
        (_, class) => class,
    }
}

/// Sets `add_prefix_space` of every byte-level step.
fn set_byte_level(step: &mut Value, prefix: bool) {
    match step["type"].as_str() {
        Some("ByteLevel") => step["add_prefix_space"] = prefix.into(),
        Some("Sequence") => {
            let steps = step.get_mut("pretokenizers").and_then(Value::as_array_mut);
            for step in steps.into_iter().flatten() {
                set_byte_level(step, prefix);
            }
        }
        _ => {}
    }
}

/// True if words begin with `▁` by one of the two ways in which Llama's files say it: a normaliser that
/// puts it before a text and in the place of spaces, or the step `Metaspace`.
fn is_metaspace(tokenizer: &Value) -> bool {
    let replaces = |step: &Value| match step["type"].as_str() {
        Some("Prepend") => step["prepend"] == "▁",
        Some("Replace") => step["pattern"]["String"] == " " && step["content"] == "▁",
        _ => false,
    };
    let normalizer = &tokenizer["normalizer"];
    let before = &tokenizer["pre_tokenizer"];
    match normalizer["normalizers"].as_array() {
        Some(steps) => before.is_null() && steps.iter().all(replaces),
        None if before.is_null() => replaces(normalizer),
        None => normalizer.is_null() && before["type"] == "Metaspace",
    }
}

/// Llama's spaces: one before a text by default, and with `legacy` one after every special token too.
fn set_metaspace(tokenizer: &mut Value, beside: &CompanionFiles) {
    let prefix = beside.add_prefix_space.unwrap_or(true);
    let scheme = match (prefix, beside.legacy == Some(true)) {
        (false, _) => "never",
        (true, true) => "always",
        (true, false) => "first",
    };
    tokenizer["normalizer"] = Value::Null;
    tokenizer["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    tokenizer["decoder"] = json!({"type": "Sequence", "decoders": steps});
}
