//! Conversations with tools and documents.

use std::path::Path;

use serde_json::{Value, json};

use crate::{MODEL, json, run};

/// Letters and signs of a vocabulary that a model of 64 tokens has room for.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ<>[]().:?!|";

/// Writes a small model with a tokenizer of single letters and a chat template.
fn model(folder: &Path, template: &str) -> String {
    let root = crate::root();
    for file in ["config.json", "model.safetensors"] {
        let from = root.join("tests/golden/models/llama").join(file);
        std::fs::copy(from, folder.join(file)).unwrap();
    }
    let vocab: serde_json::Map<String, Value> = LETTERS
        .chars()
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), id.into()))
        .collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let write = |name: &str, value: &Value| {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    };
    write("tokenizer.json", &tokenizer);
    write("tokenizer_config.json", &json!({"chat_template": template}));
    folder.to_str().unwrap().to_owned()
}

/// The text that the model reads.
fn prompt(args: &[&str]) -> String {
    let letters: Vec<char> = LETTERS.chars().collect();
    let ids = json(args)["prompt_tokens"].clone();
    let ids = ids.as_array().unwrap().iter();
    ids.map(|id| letters[id.as_u64().unwrap() as usize])
        .collect()
}

#[test]
fn tools_and_documents_come_into_the_prompt_as_the_template_says() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}\
        {% for d in documents or [] %}[{{ d.title }}:{{ d.text }}]{% endfor %}\
        {% for m in messages %}({{ m.role }}){{ m.content }}{% endfor %}\
        {% if add_generation_prompt %}!{% endif %}";
    let model = model(folder.path(), template);
    let list = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tools = list(
        "tools.json",
        r#"[{"type": "function", "function": {"name": "find"}}]"#,
    );
    let documents = list(
        "documents.json",
        r#"[{"title": "a", "text": "b"}, {"text": "c", "title": "d"}]"#,
    );
    let base = ["run", &model, "-p", "hi?", "-n", "1", "--json"];
    let with = |more: &[&str]| prompt(&[&base[..], more].concat());
    assert_eq!(with(&["--chat"]), "(user)hi?!");
    assert_eq!(with(&["--tools", &tools]), "<find>(user)hi?!");
    assert_eq!(
        with(&["--documents", &documents, "--system", "be"]),
        "[a:b][d:c](system)be(user)hi?!"
    );
    let both = with(&["--tools", &tools, "--documents", &documents]);
    assert_eq!(both, "<find>[a:b][d:c](user)hi?!");
    let refused = |more: &[&str]| {
        let output = run(&[&base[..], more].concat());
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let object = list("object.json", r#"{"name": "find"}"#);
    let error = refused(&["--tools", &object]);
    assert!(
        error.contains("object.json") && error.contains("list of objects"),
        "{error}"
    );
    let error = refused(&["--documents", "nowhere.json"]);
    assert!(error.contains("nowhere.json"), "{error}");
}

#[test]
fn lists_that_the_model_would_not_see_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), "{{ messages[0].content }}");
    let path = folder.path().join("tools.json");
    std::fs::write(&path, "[{}]").unwrap();
    let path = path.to_str().unwrap();
    for (model, flag, part) in [
        (model.as_str(), "--tools", "no place for tools"),
        (model.as_str(), "--documents", "no place for documents"),
        (MODEL, "--tools", "not trained to chat"),
    ] {
        let output = run(&["run", model, "-p", "hi", "-n", "1", flag, path]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part), "{error}");
    }
}
