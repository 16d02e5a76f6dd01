//! A chat template and the conversation that it renders, separated by zero bytes: the template, then
//! the role and the content of each message. Rendering has to end within the template's limits; run
//! the target with `-timeout=10 -rss_limit_mb=2048` so that libFuzzer notices when it does not.
#![no_main]

use saescope::chat::{ChatTemplate, Message};

/// Bytes that a template may build; `chat/jinja/limits.rs` sets the bound.
const BUDGET: usize = 64 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let source = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let messages: Vec<Message> = parts
        .chunks_exact(2)
        .map(|turn| Message::new(turn[0], turn[1]))
        .collect();
    let ends = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let ends = ends.map(|(name, token)| (name.to_owned(), token.to_owned()));
    if let Ok(template) = ChatTemplate::new(source, ends.to_vec()) {
        // Variables that tools and documents bring: values of every kind, nested.
        let values = serde_json::json!({
            "messages": messages,
            "tools": [{ "name": "f", "items": { "a": [1, 2.5, null, true] } }],
            "documents": null,
        });
        let variables = values.as_object().cloned().unwrap_or_default();
        let texts = [
            template.render(&messages),
            template.render_prompt(&messages),
            template.render_variables(variables),
        ];
        for prompt in texts.into_iter().flatten() {
            assert!(prompt.len() <= BUDGET);
        }
    }
});
